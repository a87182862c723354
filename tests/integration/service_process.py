"""A small source and a small handler as a service of their own: what the tests of the service loops start and kill.

`python service_process.py source …` counts, `python service_process.py handler …` writes down what it is given.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beamstream.address import SourceAddress
from beamstream.errors import BeamstreamError, RetryLaterError
from beamstream.frame import Frame, Gap
from beamstream.service import (
    Event,
    Intake,
    Produced,
    StreamClosed,
    StreamEnd,
    StreamOpened,
    StreamStart,
    run_handler,
    run_source,
)

STREAM = "run"


class CountingSource:
    """Messages 1 to `n`, as fast as they go; without `n`, one a millisecond until it is to stop."""

    name = "counting"

    def __init__(self, n: int, payload_bytes: int) -> None:
        self._n = n
        self._payload = bytes(payload_bytes)
        self._n_made = 0

    def events(self, stop: threading.Event) -> Iterator[Event | None]:
        yield StreamOpened(stream=STREAM, n_expected=self._n or None)
        while not stop.is_set() and (not self._n or self._n_made < self._n):
            self._n_made += 1
            payload = self._n_made.to_bytes(8, "big") + self._payload
            yield Produced(stream=STREAM, message_id=self._n_made, payload=payload)
            if not self._n:
                stop.wait(0.001)
        yield StreamClosed(stream=STREAM, last_id=self._n_made, reason="aborted" if stop.is_set() else "complete")

    def counters(self) -> Mapping[str, int]:
        return {"made": self._n_made}

    def close(self) -> None:
        print("source closed", flush=True)


class RecordingHandler:
    """Appends a line to a file for everything that it is told."""

    name = "recording"

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._n = 0

    def _note(self, *words: object) -> None:
        with self._options.notes.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def open(self, stream: StreamStart) -> None:
        if self._options.cannot_open:
            raise BeamstreamError("the place is taken")
        self._n = 0
        self._note("open", stream.address)

    def handle(self, frame: Frame) -> None:
        if frame.message_id in self._options.hold and not self._options.release.exists():
            self._note("hold", frame.message_id, frame.n_deliveries)
            raise RetryLaterError("there is no room")
        if frame.message_id in self._options.fail:
            self._note("fail", frame.message_id, frame.n_deliveries)
            raise ValueError(f"no use for message {frame.message_id}")
        if frame.message_id in self._options.stuck:
            self._note("stuck", frame.message_id, frame.n_deliveries)
            threading.Event().wait()
        self._n += 1
        self._note("message", frame.message_id, frame.n_deliveries)

    def gap(self, gap: Gap) -> None:
        self._note("gap", gap.first_id, gap.last_id)

    def commit(self) -> None:
        if self._options.fail_commits:
            self._options.fail_commits -= 1
            raise OSError("the disk is on fire")

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        if end and self._options.die_at_end:
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("close", end.reason if end else "early")
        return {"n_noted": self._n}

    def status(self) -> Mapping[str, int | float | str]:
        return {"noted": self._n, "file": self._options.notes.name}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["source", "handler"])
    parser.add_argument("where")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--metrics-port", type=int)
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--payload-bytes", type=int, default=0)
    parser.add_argument("--drain-timeout", type=float, default=30.0)
    parser.add_argument("--notes", type=Path)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--required", action="store_true")
    parser.add_argument("--fail", type=int, action="append", default=[])
    parser.add_argument("--hold", type=int, action="append", default=[])
    parser.add_argument("--stuck", type=int, action="append", default=[])
    parser.add_argument("--release", type=Path)
    parser.add_argument("--fail-commits", type=int, default=0)
    parser.add_argument("--die-at-end", action="store_true")
    parser.add_argument("--cannot-open", action="store_true")
    return parser.parse_args()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    options = read_options()
    try:
        if options.what == "source":
            return run_source(
                CountingSource(options.n, options.payload_bytes),
                SourceAddress(*options.where.split("/")),
                broker=options.broker,
                metrics_port=options.metrics_port,
                drain_timeout_s=options.drain_timeout,
            )
        return run_handler(
            RecordingHandler(options),
            options.where,
            broker=options.broker,
            intake=Intake(follow=options.follow, required=options.required),
            metrics_port=options.metrics_port,
        )
    except BeamstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
