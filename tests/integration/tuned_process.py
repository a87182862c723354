"""A small handler with a parameter as a service of its own: what the tests of tuning start and kill.

It counts the pixels from a threshold on, and publishes the count under the frame's id.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamstream import Frame, Gap, Producer
from beamstream.errors import BeamstreamError
from beamstream.parameters import Parameters, Value, tunable
from beamstream.service import StreamEnd, StreamStart, run_handler
from beamstream.service.processor import derived_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be tuned."""

    threshold: int = tunable(5, minimum=0, maximum=1000, unit="photons", help="Least intensity.")


class CountingHandler:
    """Publishes how many pixels reach the threshold."""

    name = "count"

    def __init__(self, settings: Settings) -> None:
        self.parameters = Parameters.of(settings)
        self._settings = settings
        self._producer: Producer | None = None

    def tune(self, values: Mapping[str, Value]) -> None:
        self._settings = Settings(**values)  # type: ignore[arg-type]

    def open(self, stream: StreamStart) -> None:
        self._tuning = stream.tuning
        self._producer = Producer(derived_address(stream.address, "count"), broker=stream.broker, patience_s=30)

    def handle(self, frame: Frame) -> None:
        assert self._producer is not None
        assert self._tuning is not None
        count = np.array([(frame.array() >= self._settings.threshold).sum()])
        metadata = self._tuning.stamp(frame.metadata, str(self._producer.address))
        self._producer.send_array(frame.message_id, count, codec="none", metadata=metadata)

    def gap(self, gap: Gap) -> None: ...

    def commit(self) -> None:
        assert self._producer is not None
        assert self._producer.flush(30)

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        assert self._producer is not None
        if end is not None:
            self._producer.finish(end.last_id)
        self._producer.close()
        return None

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
        handler = CountingHandler(Settings(threshold=options.threshold))
        return run_handler(handler, options.where, broker=options.broker, follow=True)
    except BeamstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
