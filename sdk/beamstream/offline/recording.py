"""A stream that lies in files: what every format of them has to give, and how it is opened.

A path stands in place of an address where it is a `pathlib.Path`, begins with ``/``, ``./``, ``../`` or ``~``, or is a
folder with segments. `beamtime/source/stream` is an address as long as no such folder is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from beamstream.address import Address
from beamstream.errors import CorruptDataError, PayloadGoneError
from beamstream.frame import Frame, Gap
from beamstream.receipt import Contents
from beamstream.segments import list_segments
from beamstream.state import StreamState

from .errors import NoRecordingError

Item = Frame | Gap | CorruptDataError | PayloadGoneError
"""What stands at one place of a stream: a message, a gap, or why there is a message that cannot be given."""


class Recording(Protocol):
    """A stream in files."""

    path: Path
    address: Address

    def items(self, start_id: int) -> Iterator[Item]:
        """Yield what there is from this message id on, in the order of the index."""
        ...

    def contents(self, *, verify: bool) -> Contents:
        """Return what was received, as far as it is whole where that is to be verified."""
        ...

    def find(self, message_id: int) -> Frame | None:
        """Return a message by its id; None where it is not there. Raises what kept it from being read."""
        ...

    def last(self) -> Frame | None:
        """Return the last message that can be read; None where there is none."""
        ...

    def metadata(self) -> Mapping[str, Any]:
        """Return the stream metadata; empty where there are none."""
        ...

    def state(self) -> StreamState:
        """Return where the stream stands, as far as the files say."""
        ...

    def close(self) -> None:
        """Let the files go."""
        ...


def open_recording(where: str | os.PathLike[str], part: int | None = None) -> Recording:
    """Open the stream that lies at a path; of datasets only one part if it is named.

    Raises
    ------
    NoRecordingError
        If there is none.
    SegmentFormatError, SegmentReadError
        If there is one that cannot be read.
    UsageError
        If its messages have no such part.
    """
    from .segment_recording import SegmentRecording

    path = Path(where).expanduser()
    if not path.exists():
        raise NoRecordingError(path, "there is nothing of this name")
    if list_segments(path):
        return SegmentRecording(path, part)
    raise NoRecordingError(path, "it is no folder with segments (000001.seg, …)")
