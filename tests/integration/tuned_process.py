"""A small processor with a parameter as a service of its own: what the tests of tuning start and kill.

It counts the pixels from a threshold on, and publishes the count under the frame's id.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beamstream import Frame
from beamstream.errors import BeamstreamError
from beamstream.parameters import Parameters, Value, tunable
from beamstream.service import Intake, Output, Result, Results, StreamStart, derived_address, run_processor


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be tuned."""

    threshold: int = tunable(5, minimum=0, maximum=1000, unit="photons", help="Least intensity.")


class Counting:
    """Counts the pixels that reach the threshold."""

    name = "count"

    def __init__(self, settings: Settings) -> None:
        self.parameters = Parameters.of(settings)
        self._settings = settings

    def tune(self, values: Mapping[str, Value]) -> None:
        self._settings = Settings(**values)  # type: ignore[arg-type]

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        return {"counts": Output(address=derived_address(stream.address, "count"))}

    def process(self, frame: Frame) -> Results:
        count = np.array([(frame.array() >= self._settings.threshold).sum()])
        return {"counts": Result(array=count, metadata=frame.metadata, codec="none")}

    def status(self) -> Mapping[str, int | float | str]:
        return {}


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser()
    parser.add_argument("where")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--threshold", type=int, default=5)
    options = parser.parse_args()
    try:
        settings = Settings(threshold=options.threshold)
        return run_processor(
            lambda: Counting(settings), options.where, broker=options.broker, intake=Intake(follow=True)
        )
    except BeamstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
