"""A folder, files for it, and a source that is driven step by step, without a broker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamstream import codecs
from beamstream.service import Event, Produced, StreamClosed, StreamLeft, StreamOpened
from beamstream.stop import Stop
from beamstream_producers.cbf import CbfOptions, CbfSource, Folders
from beamstream_producers.formats import cbf
from beamstream_producers.formats.cbf.image import MAGIC

SHAPE = (12, 10)
LONGEST_S = 30.0


def image_of(number: int) -> np.ndarray:
    """Return pixels that no other number has."""
    pixels = np.full(SHAPE, number, "<i4")
    pixels[0], pixels[1, 1] = -1, -2
    return pixels


def file_of(number: int, codec: str = "byte-offset", time: str = "2020-07-15T12:00:00.250") -> bytes:
    pixels = image_of(number)
    lines = ["Detector: PILATUS 300K, S/N 3-0118", time, f"Start_angle {number / 10} deg", "Exposure_time 0.1 s"]
    return cbf.encode(codecs.encode(pixels, codec), shape=SHAPE, dtype=pixels.dtype, codec=codec, lines=lines)


def half_of(number: int) -> bytes:
    """Return the beginning of a file, up to some of its pixels."""
    data = file_of(number)
    return data[: data.index(MAGIC) + 40]


def put(folder: Path, name: str, data: bytes | None = None, number: int = 0) -> Path:
    """Let a file come as a camserver does: written under another name, and renamed."""
    path = folder / name
    temporary = folder / f".{name}.tmp"
    temporary.write_bytes(file_of(number or int(path.stem.rpartition("_")[2])) if data is None else data)
    temporary.rename(path)
    return path


def age(path: Path, seconds: float) -> None:
    """Let a file be so much older than now."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@dataclass
class Run:
    """What a source said."""

    source: CbfSource
    events: list[Event] = field(default_factory=list)

    @property
    def opened(self) -> list[StreamOpened]:
        return [event for event in self.events if isinstance(event, StreamOpened)]

    @property
    def produced(self) -> list[Produced]:
        return [event for event in self.events if isinstance(event, Produced)]

    @property
    def ended(self) -> list[tuple[str, str]]:
        """Name of each stream that was closed or left, and why."""
        return [
            (event.stream, event.reason if isinstance(event, StreamClosed) else "left")
            for event in self.events
            if isinstance(event, StreamClosed | StreamLeft)
        ]

    @property
    def ids(self) -> list[int]:
        return [event.message_id for event in self.produced]

    @property
    def names(self) -> list[str]:
        return [event.metadata["file_name"] for event in self.produced]

    @property
    def counted(self) -> dict[str, int]:
        """What was counted, without what was not."""
        return {name: count for name, count in self.source.counters().items() if count}


Step = tuple[Callable[[Run], bool], Callable[[], object]]


@pytest.fixture
def run() -> Callable[..., Run]:
    """Run a source over folders; `steps` are pairs of (when, what to do), done in order whenever nothing comes."""

    def start(*folders: Path, steps: list[Step] | None = None, pattern: str = "*.cbf", recursive: bool = False,
              until: Callable[[Run], bool] | None = None, **options: Any) -> Run:  # fmt: skip
        settings = CbfOptions(**{"patience_s": 0.5, "settle_s": 0.3, **options})
        stop = Stop()
        running = Run(CbfSource(Folders(folders, pattern, recursive=recursive), settings))
        left = list(steps or [])
        deadline_s = time.monotonic() + LONGEST_S
        for event in running.source.events(stop):
            assert time.monotonic() < deadline_s, (running.events, running.counted)
            if event is not None:
                running.events.append(event)
                continue
            if left and left[0][0](running):
                left.pop(0)[1]()
            elif not left and until is not None and until(running):
                stop.set()
        assert not left, "the source ended before everything was done"
        running.source.close()
        return running

    return start
