"""A stream that lies in segments, as a `Recording`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beamstream.errors import CorruptDataError, PayloadGoneError
from beamstream.frame import Frame
from beamstream.protocol import EntryKind, decode_metadata
from beamstream.segments import SegmentStream, StoredEntry
from beamstream.state import StreamState, decode_state

from .recording import Item


class SegmentRecording:
    """The segments in one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments = SegmentStream(path)
        self.address = self.segments.address
        self._state: StreamState | None = None

    def items(self, start_id: int) -> Iterator[Item]:
        """Yield messages and gaps; the end is not one."""
        for stored in self.segments.entries(start_id):
            if stored.entry.gap is not None:
                yield stored.entry.gap
            elif stored.entry.kind is EntryKind.MESSAGE:
                yield self._item(stored)

    def _item(self, stored: StoredEntry) -> Item:
        try:
            return self._frame(stored)
        except (CorruptDataError, PayloadGoneError) as error:
            return error

    def _frame(self, stored: StoredEntry) -> Frame:
        entry, header = stored.entry, stored.entry.header
        if header is None:
            raise TypeError(f"entry {entry.entry_id} is no message")
        if stored.is_gone:
            raise PayloadGoneError(str(self.address), entry.message_id)
        return Frame(
            address=self.address,
            message_id=entry.message_id,
            header=header,
            payload=self.segments.read(stored.location, header.checksum),
            late=entry.late,
            entry_id=entry.entry_id,
        )

    def checksums(self, *, verify: bool) -> list[tuple[int, int]]:
        """Return message id and XXH3-64 of each payload; read back if they are to be verified."""
        checksums = []
        for stored in self.segments.entries():
            header = stored.entry.header
            if header is not None and (not verify or isinstance(self._item(stored), Frame)):
                checksums.append((stored.entry.message_id, header.checksum))
        return checksums

    def find(self, message_id: int) -> Frame | None:
        """Read one message."""
        stored = self.segments.find(message_id)
        return None if stored is None else self._frame(stored)

    def last(self) -> Frame | None:
        """Read the last message that is whole."""
        for stored in self.segments.messages_backwards():
            item = self._item(stored)
            if isinstance(item, Frame):
                return item
        return None

    def metadata(self) -> Mapping[str, Any]:
        """Read the stream metadata."""
        packed = self.segments.metadata()
        return decode_metadata(packed) if packed else {}

    def state(self) -> StreamState:
        """Draw up the state, once: it takes going through all entries."""
        if self._state is None:
            self._state = decode_state(self.segments.state(), str(self.path))
        return self._state

    def close(self) -> None:
        """Let the files go."""
        self.segments.close()
