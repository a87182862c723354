"""The segments below one folder, found by a stream's address and time of creation; never by a path from outside.

Not thread-safe.
"""

from __future__ import annotations

import errno
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from beamstream.address import Address
from beamstream.dataset import PayloadId
from beamstream.errors import CorruptDataError
from beamstream.fetch import ItemStatus
from beamstream.frame import Payload
from beamstream.segments import SegmentError, SegmentFormatError, SegmentStream, stream_folder

MAX_OPEN_STREAMS = 16
"""Streams kept open at a time; each has up to 16 files open, and a row of 56 bytes in memory for each record."""

Item = tuple[ItemStatus, Payload | None]
Stream = tuple[Address, int]
"""A stream's address, and when it was made [ns since 1970]."""


class Archive:
    """The streams below one folder.

    Parameters
    ----------
    root : Path
        Where the broker spills to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._streams: OrderedDict[Stream, SegmentStream] = OrderedDict()

    def find(self, which: Stream) -> SegmentStream | None:
        """Return the segments of one stream; None where there are none.

        Raises
        ------
        SegmentError
            If the disk cannot be read at all.
        """
        stream = self._streams.get(which)
        if stream is None:
            stream = self._open(*which)
            if stream is None:
                return None
            self._streams[which] = stream
            if len(self._streams) > MAX_OPEN_STREAMS:
                self._streams.popitem(last=False)[1].close()
        self._streams.move_to_end(which)
        return stream

    def _open(self, address: Address, created_ns: int) -> SegmentStream | None:
        """Open the segments of this very stream: a name may have come again."""
        for folder in self._folders(address):
            try:
                stream = SegmentStream(folder)
            except SegmentFormatError:
                continue  # none in it, or none that can be read
            if stream.address == address and stream.recorded_state().get(b"created_ns") == b"%d" % created_ns:
                return stream
            stream.close()
        return None

    def _folders(self, address: Address) -> Iterator[Path]:
        plain = stream_folder(self._root, address)
        for number in itertools.count(1):
            folder = plain if number == 1 else plain.with_name(f"{plain.name}_{number}")
            if not folder.is_dir():
                return
            if folder.resolve().is_relative_to(self._root.resolve()):  # and not a link to somewhere else
                yield folder

    def close(self) -> None:
        """Let all files go."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()


def read_payload(stream: SegmentStream, payload_id: PayloadId, fits: Callable[[int], bool]) -> tuple[Item, str]:
    """Read a payload, and return what is wrong, where something is.

    Parameters
    ----------
    fits : callable
        Is told how large it is [bytes] before it is read; one that does not fit is left for later.
    """
    try:
        location = stream.locate(payload_id)
        if location is None and stream.refresh():
            location = stream.locate(payload_id)
        if location is None:
            return (ItemStatus.ABSENT, None), ""
        if not fits(location.length):
            return (ItemStatus.LATER, None), ""
        return (ItemStatus.HERE, stream.read(location, payload_id[1])), ""
    except CorruptDataError as error:
        return (ItemStatus.DAMAGED, None), str(error)
    except SegmentError as error:
        if error.errno == errno.ENOENT:  # deleted, because all in it was too old
            return (ItemStatus.ABSENT, None), ""
        return (ItemStatus.FAILED, None), str(error)
