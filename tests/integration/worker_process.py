"""A processor as a service with several workers: what the tests of workers start and kill.

`worker_process.py BROKER WHERE NOTES N_WORKERS [FLAW]` writes a line to NOTES for each frame: its id, the worker's
process, and the supervisor's. FLAW: `open` cannot open, `make` cannot be made, `crash` dies with each frame.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from beamstream import Frame
from beamstream.errors import BeamstreamError, ShapeError, UsageError
from beamstream.service import Output, Result, Results, StreamStart, derived_address, run_processor

FRAME_S = 0.002
"""How long a frame takes: long enough that all workers get some."""


class Noting:
    """Notes each frame; every second one has a result."""

    name = "noting"

    def __init__(self, notes: Path, flaw: str) -> None:
        if flaw == "make":
            raise UsageError("it is asked for what cannot be")
        self._notes = notes.open("a", buffering=1)
        self._flaw = flaw

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        if self._flaw == "open":
            raise ShapeError("the geometry does not fit")
        return {"out": Output(address=derived_address(stream.address, "out"))}

    def process(self, frame: Frame) -> Results:
        if self._flaw == "crash":
            os.abort()
        time.sleep(FRAME_S)
        print(frame.message_id, os.getpid(), os.getppid(), file=self._notes)
        return {"out": Result(metadata={"pid": os.getpid()})} if frame.message_id % 2 else {}

    def status(self) -> Mapping[str, int | float | str]:
        return {"noted": 1, "rate": 0.5}


def main(broker: str, where: str, notes: str, n_workers: str, flaw: str = "") -> int:
    """Run the service."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        return run_processor(partial(Noting, Path(notes), flaw), where, broker=broker, workers=int(n_workers))
    except BeamstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
