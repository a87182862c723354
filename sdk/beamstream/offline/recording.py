"""A stream that lies in files: what every format of them has to give, and how it is opened.

A path stands in place of an address where it is a `pathlib.Path`, begins with ``/``, ``./``, ``../`` or ``~``, ends
with ``/``, is a folder with segments, or has a dot in it and is there (``run.h5#threshold_2`` where ``run.h5`` is).
`beamtime/source/stream` is an address as long as nothing such is there.

Formats are plug-ins: an entry point in the group ``beamstream.recordings`` names a function that is given a path and
opens what is there as a `Recording`, or returns None where that is not its format. Another package's formats are read
in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from beamstream.address import Address, path_exists
from beamstream.errors import CorruptDataError, PayloadGoneError
from beamstream.frame import Frame, Gap
from beamstream.receipt import Contents
from beamstream.state import StreamState

from .errors import NoRecordingError

Item = Frame | Gap | CorruptDataError | PayloadGoneError
"""What stands at one place of a stream: a message, a gap, or why there is a message that cannot be given."""


FORMATS = "beamstream.recordings"
"""The group of entry points that open recordings: functions of (path, part or None), see `open_recording`."""


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
    SegmentFormatError, SegmentReadError, RecordingFormatError
        If there is one that cannot be read.
    ChannelError
        If ``path#channel`` names a channel that is not there.
    UsageError
        If its messages have no such part.
    """
    path = Path(where).expanduser()
    if not path_exists(path):
        raise NoRecordingError(path, "there is nothing of this name")
    known = sorted(entry_points(group=FORMATS), key=lambda point: point.name)
    for point in known:
        recording: Recording | None = point.load()(path, part)
        if recording is not None:
            return recording
    names = ", ".join(point.name for point in known)
    raise NoRecordingError(path, f"it is in none of the formats that are known: {names}")
