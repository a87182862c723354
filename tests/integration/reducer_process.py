"""A small reducer as a service of its own: what the tests of reducers start and kill.

It adds up the numbers that messages carry, and how many there are of each. Run by itself it is a nursery: for each line
that it reads (JSON: where the log goes, then the options) it forks such a service and says its process id. Many of them
are born, and die, faster than Python starts. The exit status goes beside the log.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from beamstream import Frame
from beamstream.errors import BeamstreamError
from beamstream.service import Intake, Output, Result, StreamStart, run_handler
from beamstream.service.processing.processor import derived_address
from beamstream.service.reducing.handler import ReducerHandler

N_BINS = 16


class SumReducer:
    """Counts numbers by their last four bits, and adds them up."""

    name = "sums"

    def __init__(self, fail: int = 0, die: int = 0) -> None:
        self._fail, self._die = fail, die
        self.reset()

    def open(self, stream: StreamStart) -> Output:
        self.reset()
        return Output(address=derived_address(stream.address, "sums"), metadata={"n_bins": N_BINS})

    def restore(self, result: Frame) -> None:
        self._histogram = result.array().copy()
        self._sum = result.metadata["sum"]

    def add(self, frame: Frame) -> None:
        number = int.from_bytes(frame.payload[:8], "big")
        if number == self._fail:
            raise ValueError(f"no use for {number}")
        if number == self._die:
            os.kill(os.getpid(), signal.SIGKILL)
        self._histogram[number % N_BINS] += 1
        self._sum += number

    def result(self) -> Result:
        return Result(array=self._histogram, metadata={"sum": self._sum}, codec="none")

    def reset(self) -> None:
        self._histogram = np.zeros(N_BINS, np.int64)
        self._sum = 0

    def status(self) -> Mapping[str, int | float | str]:
        return {"sum": self._sum}


def main() -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        if not (child := os.fork()):
            live(Path(log), arguments)
        print(child, flush=True)
    return 0


def live(log: Path, arguments: list[str]) -> NoReturn:
    status = 1
    try:
        said = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", force=True)
        status = serve(arguments)
    finally:
        log.with_suffix(".status").write_text(str(status))
        os._exit(status)


def serve(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("where")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--period", type=float, default=0.02)
    parser.add_argument("--lease", type=float, default=0.2)
    parser.add_argument("--fail", type=int, default=0)
    parser.add_argument("--die", type=int, default=0)
    options = parser.parse_args(arguments)
    handler = ReducerHandler(SumReducer(options.fail, options.die), period_s=options.period, lease_s=options.lease)
    try:
        return run_handler(handler, options.where, broker=options.broker, intake=Intake(follow=True))
    except BeamstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
