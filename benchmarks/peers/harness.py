"""One run of one peer: its server, a producer and readers, each a process; what arrived, how fast, at what cost.

Every run begins anew: processes are started, and nothing is left of it. First a warm-up goes through, so that memory is
touched, connections stand and code is loaded; then the clock runs from the first message that the producer hands over
to the last one that a reader has read. CPU time is that of all processes, servers included, from the beginning to the
end of the measured part.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beamstream_broker.bench.processor_time import used_by_s
from peer import Peer, Run

WORKER = Path(__file__).with_name("worker.py")

TIMEOUT_S = 120.0
"""How long a process may say nothing before the run counts as failed [s]."""

END_TIMEOUT_S = 5.0
"""How long a process may take to end when it is told to, before it is killed [s]."""


class PeerError(Exception):
    """A run of a peer failed; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run showed.

    Attributes
    ----------
    rate_hz : float
        What the producer was held to [messages/s]; 0: as fast as it goes.
    n_messages : int
        How many the producer sent.
    sent_bytes : int
        What the producer sent, once [bytes].
    duration_s : float
        From the first message's sending to the last one's reading [s].
    readers : list of dict
        For each reader ``n_received``, ``n_missing``, ``n_duplicated``, ``n_corrupt``, ``n_bytes``.
    cpu_s : dict
        CPU time of ``producer``, ``readers``, ``servers`` [s].
    versions : dict
        Version of each package and program.
    """

    rate_hz: float
    n_messages: int
    sent_bytes: int
    duration_s: float
    readers: list[dict[str, int]]
    cpu_s: dict[str, float]
    versions: dict[str, str]

    def _sum(self, what: str) -> int:
        return sum(reader[what] for reader in self.readers)

    @property
    def gb_per_s(self) -> float:
        """What a reader got, on average [GB/s]."""
        return self._sum("n_bytes") / len(self.readers) / self.duration_s / 1e9

    @property
    def cpu_s_per_gb(self) -> float:
        """CPU time of all processes for each GB that was read, all readers together [s/GB]."""
        return sum(self.cpu_s.values()) / (max(1, self._sum("n_bytes")) / 1e9)

    @property
    def missing_share(self) -> float:
        """Share of messages that a reader did not get, on average."""
        return self._sum("n_missing") / len(self.readers) / self.n_messages

    @property
    def n_missing(self) -> int:
        """Messages that did not come, over all readers."""
        return self._sum("n_missing")

    @property
    def n_wrong(self) -> int:
        """Messages that came twice or with other bytes, over all readers."""
        return self._sum("n_duplicated") + self._sum("n_corrupt")

    def as_json(self) -> dict[str, Any]:
        """Return all of it, with the figures that follow from it."""
        return {**asdict(self), "gb_per_s": self.gb_per_s, "cpu_s_per_gb": self.cpu_s_per_gb}


class Worker:
    """A running producer or reader."""

    def __init__(self, python: str, peer: Peer, settings: dict[str, Any]) -> None:
        self.name = settings["role"] + (f" {settings['which']}" if settings["role"] == "read" else "")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._heard = b""
        self.process = subprocess.Popen(
            [python, str(WORKER), peer.name, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def fileno(self) -> int:
        """Where it answers, for `selectors`."""
        if self.process.stdout is None:
            raise PeerError(f"{self.name} has no output")
        return self.process.stdout.fileno()

    def order(self, **what: Any) -> None:
        """Tell it what to do."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.write(json.dumps(what).encode() + b"\n")
            except BrokenPipeError:
                raise self.failure() from None

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield what it has said; called when there is something to be read."""
        read = os.read(self.fileno(), 1 << 16)
        if not read:
            raise self.failure()
        *lines, self._heard = (self._heard + read).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "error" in answer:
                raise PeerError(f"{self.name}: {answer['error']}")
            yield answer

    def failure(self) -> PeerError:
        """Return how it ended, with its last line."""
        status = self.process.wait(END_TIMEOUT_S)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return PeerError(f"{self.name} ended with status {status}: {lines[-1] if lines else 'it said nothing'}")

    def end(self) -> None:
        """End it."""
        try:
            self.order(do="end")
            self.process.wait(END_TIMEOUT_S)
        except (PeerError, subprocess.TimeoutExpired):
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once; may be called again."""
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file is not None:
                file.close()


@contextmanager
def worker(python: str, peer: Peer, **settings: Any) -> Iterator[Worker]:
    """Run a producer or a reader; it is killed where the block fails."""
    running = Worker(python, peer, settings)
    try:
        yield running
        running.end()
    finally:
        running.kill()


def hear(workers: Iterable[Worker]) -> Iterator[tuple[Worker, dict[str, Any]]]:
    """Yield the next answer of each as it comes; whichever fails, fails the run, although others are waited for."""
    waiting = list(workers)
    with selectors.DefaultSelector() as selector:
        for one in waiting:
            selector.register(one, selectors.EVENT_READ)
        while waiting:
            ready = selector.select(TIMEOUT_S)
            if not ready:
                raise PeerError(f"{', '.join(one.name for one in waiting)}: nothing for {TIMEOUT_S:g} s")
            for key, _ in ready:
                one: Worker = key.fileobj  # type: ignore[assignment]
                for answer in one.answers():
                    waiting.remove(one)
                    selector.unregister(one)
                    yield one, answer


def measure(peer: Peer, python: str, run: Run, *, n_warm: int, n_messages: int, rate_hz: float = 0.0) -> Found:
    """Run a peer once.

    Parameters
    ----------
    peer, python
        Who, and the interpreter that has its packages.
    run : Run
        Size of payloads, number of readers, memory.
    n_warm, n_messages : int
        How many messages go through before, and while it is measured.
    rate_hz : float
        What the producer is held to [messages/s]; 0: as fast as it goes.

    Raises
    ------
    PeerError
        If a process fails, or nothing goes on.
    """
    shared = {"run": asdict(run)}
    with ExitStack() as stack:
        served = stack.enter_context(peer.serve(run))
        producer = stack.enter_context(worker(python, peer, role="produce", where=served.where, **shared))
        ((_, opened),) = hear([producer])
        where = {**served.where, **opened["where"]}
        readers = [
            stack.enter_context(worker(python, peer, role="read", which=which, where=where, **shared))
            for which in range(run.n_readers)
        ]
        for _ in hear(readers):
            pass
        roles = {"producer": [producer.pid], "readers": [one.pid for one in readers], "servers": list(served.pids)}
        _phase(producer, readers, phase=1, first=1, n_messages=n_warm, rate_hz=rate_hz)
        used_s = {role: sum(map(used_by_s, pids)) for role, pids in roles.items()}
        sent, read = _phase(producer, readers, phase=2, first=n_warm + 1, n_messages=n_messages, rate_hz=rate_hz)
        used_s = {role: sum(map(used_by_s, pids)) - used_s[role] for role, pids in roles.items()}
    ended_ns = max(one.pop("ended_ns") for one in read)
    return Found(
        rate_hz=rate_hz,
        n_messages=n_messages,
        sent_bytes=n_messages * run.size_bytes,
        duration_s=max(1, ended_ns - sent["began_ns"]) / 1e9,
        readers=read,
        cpu_s=used_s,
        versions={**served.versions, **opened["versions"]},
    )


def _phase(
    producer: Worker, readers: list[Worker], phase: int, **order: Any
) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """Let messages through; return what the producer says, and each reader."""
    for one in [*readers, producer]:
        one.order(do="begin", phase=phase, **order)
    found: dict[str, dict[str, Any]] = {}
    for one, answer in hear([producer, *readers]):
        found[one.name] = answer
        if one is producer:
            for reader in readers:
                reader.order(do="sent", phase=phase)
    return found[producer.name], [found[reader.name] for reader in readers]
