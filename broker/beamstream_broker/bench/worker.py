"""A process of the bench: does one job after the other, as lines of JSON on its standard input tell it.

It answers each with one line on its standard output. It ends with its input, in the middle of a job, too: whoever
started it is gone or wants it gone. Ctrl-C is its parent's affair.

    python -m beamstream_broker.bench.worker DESCRIPTOR
"""

from __future__ import annotations

import base64
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from beamstream import Consumer, Producer
from beamstream.errors import BeamstreamError

from .ceilings import listen, receive, set_and_get, transmit
from .progress_board import ProgressBoard
from .workload import Sending, make_payloads, open_consumer, open_producer, read, send

Job = dict[str, Any]


class Worker:
    """What is open between two jobs, and the jobs by name."""

    def __init__(self, board: ProgressBoard) -> None:
        self._board = board
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._payloads: list[bytes] = []
        self._failures: list[str] = []
        self._listener: Any = None
        self.jobs: dict[str, Callable[..., Job]] = {
            "open": self.open,
            "send": self.send,
            "join": self.join,
            "read": self.read,
            "listen": self.listen,
            "receive": self.receive,
            "transmit": transmit,
            "set_and_get": set_and_get,
        }

    def open(self, stream: str, broker: str, keep: Any, tier: str | None, size: int) -> Job:
        """Make a stream, and what is to be sent to it."""
        if not self._payloads or len(self._payloads[0]) != size:
            self._payloads = make_payloads(size)
        self._failures = []
        self._producer = open_producer(stream, broker, keep, tier, self._failures)
        return {}

    def send(self, **how: Any) -> Job:
        """Send to the open stream, and end it."""
        if self._producer is None:
            raise BeamstreamError("no stream is open")
        with self._producer as producer:
            told = send(producer, self._payloads, self._board, Sending(**how))
        return {**told, "failure": self._failures[0] if self._failures else ""}

    def join(self, stream: str, broker: str, group: str) -> Job:
        """Join a group of a stream."""
        self._consumer = open_consumer(stream, broker, group)
        return {}

    def read(self, slot: int, clock_offset_ns: int, after_id: int | None) -> Job:
        """Read as a member of the group to the stream's end."""
        if self._consumer is None:
            raise BeamstreamError("no stream is joined")
        with self._consumer as consumer:
            told, delays_ns = read(consumer, self._board, slot, clock_offset_ns, after_id)
        return {**told, "delays_ns": base64.b64encode(delays_ns.tobytes()).decode()}

    def listen(self, name: str) -> Job:
        """Open one end of a socket pair."""
        self._listener = listen(name)
        return {}

    def receive(self, size: int) -> Job:
        """Receive at that end."""
        return receive(self._listener, size)

    def do(self, job: Job) -> Job:
        """Do one job; an error of ours is an answer."""
        try:
            return self.jobs[job.pop("do")](**job)
        except BeamstreamError as error:
            return {"error": str(error), "kind": type(error).__name__}


def main() -> None:
    """Do jobs until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(ProgressBoard(int(sys.argv[1])))
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen_to_parent() -> None:
        for line in sys.stdin:
            jobs.put(line)
        os._exit(0)  # whatever is going on

    threading.Thread(target=listen_to_parent, daemon=True).start()
    while True:
        print(json.dumps(worker.do(json.loads(jobs.get()))), flush=True)


if __name__ == "__main__":
    main()
