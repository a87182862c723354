"""A process of a run: the producer, or one of the readers.

    PYTHON worker.py PEER '{"role": "produce" | "read", "which": 0, "run": {…}, "where": {…}}'

Orders come as lines of JSON on standard input, answers leave so on standard output; whatever else a library prints goes
to standard error. It ends when it is told to, and when its standard input ends, as it does with whoever started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from all_peers import find_peer
from peer import Message, Peer, Run
from workload import Payloads, Tally

IDLE_S = 10.0
"""After what silence a reader gives up once all are sent [s]."""

IDLE_DROPPED_S = 1.0
"""The same where messages may be lost: nothing is kept anywhere that could take longer [s]."""


class Orders:
    """What this process is told; a thread of its own listens."""

    def __init__(self, lines: TextIO) -> None:
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.sent_phase = 0
        threading.Thread(target=self._listen, args=(lines,), name="orders", daemon=True).start()

    def next(self) -> dict[str, Any]:
        """Wait for the next phase, or the end."""
        return self._orders.get()

    def _listen(self, lines: TextIO) -> None:
        for line in lines:
            order = json.loads(line)
            if order["do"] == "sent":
                self.sent_phase = order["phase"]
            else:
                self._orders.put(order)
        os._exit(1)  # nobody is there any more for whom to go on, or to clean up


class Answers:
    """What this process tells."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(self, **what: Any) -> None:
        """Print a line."""
        print(json.dumps(what), file=self._file, flush=True)


def produce(peer: Peer, settings: dict[str, Any], orders: Orders, answers: Answers) -> None:
    """Send the messages of each phase."""
    run = Run(**settings["run"])
    payloads = Payloads(run.size_bytes)
    with peer.sending(settings["where"], run) as outlet:
        answers.say(where=outlet.where, versions=versions(peer))
        while (order := orders.next())["do"] == "begin":
            began_ns = 0

            def messages(order: dict[str, Any] = order) -> Any:
                nonlocal began_ns
                for message in payloads.messages(order["first"], order["n_messages"], order["rate_hz"]):
                    began_ns = began_ns or time.monotonic_ns()
                    yield message

            outlet.send(messages())
            answers.say(began_ns=began_ns, sent_ns=time.monotonic_ns())


def read(peer: Peer, settings: dict[str, Any], orders: Orders, answers: Answers) -> None:
    """Read the messages of each phase and tell what came."""
    run = Run(**settings["run"])
    checksums = Payloads(run.size_bytes).checksums()
    idle_s = IDLE_DROPPED_S if peer.drops else IDLE_S
    with peer.reading(settings["where"], run, settings["which"]) as receive:
        answers.say(ready=True)
        while (order := orders.next())["do"] == "begin":
            tally = Tally(order["first"], order["n_messages"])
            heard_s = time.monotonic()
            while tally.n_left > 0:
                messages: list[Message] = list(receive(tally.n_left))
                for number, payload in messages:
                    tally.add(number, payload, checksums)
                now_s = time.monotonic()
                if messages or orders.sent_phase < order["phase"]:
                    heard_s = now_s
                elif now_s - heard_s > idle_s:
                    break
            answers.say(
                n_received=tally.n_received,
                n_missing=max(0, tally.n_left),
                n_duplicated=tally.n_duplicated,
                n_corrupt=tally.n_corrupt,
                n_bytes=tally.n_bytes,
                ended_ns=tally.ended_ns,
            )


def versions(peer: Peer) -> dict[str, str]:
    """Return the versions of what a peer has installed."""
    found = {}
    for name in (requirement.partition(">=")[0] for requirement in peer.requirements):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us decides
    answers, orders = Answers(), Orders(sys.stdin)
    peer, settings = find_peer(sys.argv[1]), json.loads(sys.argv[2])
    try:
        (produce if settings["role"] == "produce" else read)(peer, settings, orders, answers)
    except Exception as error:
        answers.say(error=f"{type(error).__name__}: {error}")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
