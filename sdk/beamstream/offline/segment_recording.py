"""A stream that lies in segments, as a `Recording`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beamstream.consumer.parts import check_part, merge_entries, only_part
from beamstream.dataset import PayloadId, make_frame, payload_ids, split_payload
from beamstream.errors import CorruptDataError, PayloadGoneError
from beamstream.frame import Frame, Payload
from beamstream.protocol import Entry, EntryKind, decode_metadata
from beamstream.receipt import Contents
from beamstream.segments import SegmentStream, StoredEntry, list_segments
from beamstream.state import StreamState, decode_state

from .recording import Item


def open_segments(path: Path, part: int | None) -> SegmentRecording | None:
    """Open a folder with segments; None where there are none. An entry point of `beamstream.recordings`."""
    return SegmentRecording(path, part) if list_segments(path) else None


class SegmentRecording:
    """The segments in one folder."""

    def __init__(self, path: Path, part: int | None = None) -> None:
        self.path = path
        self._part = part
        self.segments = SegmentStream(path)
        self.address = self.segments.address
        if part is not None:
            check_part(str(path), int(self.segments.recorded_state().get(b"n_parts", 1)), part)
        self._state: StreamState | None = None

    def items(self, start_id: int) -> Iterator[Item]:
        """Yield messages and gaps; the end is not one."""
        for stored in self.segments.entries(start_id):
            entry = only_part(stored.entry, self._part)
            if entry.gap is not None:
                yield entry.gap
            elif entry.kind is EntryKind.MESSAGE:
                yield self._item(stored, entry)

    def _item(self, stored: StoredEntry, entry: Entry) -> Item:
        try:
            return self._frame(entry, self._payloads(stored, entry))
        except (CorruptDataError, PayloadGoneError) as error:
            return error

    def _payloads(self, stored: StoredEntry, entry: Entry) -> Sequence[Payload]:
        """Read the payload of an entry in one piece, that of each part of a dataset as a view of it."""
        if stored.is_gone or entry.header is None:
            raise PayloadGoneError(str(self.address), entry.message_id)
        location = stored.part_location(entry.header.part) if entry.header.part else stored.location
        if location is None:
            raise PayloadGoneError(str(self.address), entry.message_id)
        if entry.header.parts:
            return split_payload(entry.header, self.segments.read(location))
        return [self.segments.read(location, entry.header.checksum)]

    def _frame(self, entry: Entry, payloads: Sequence[Payload]) -> Frame:
        if entry.header is None:
            raise TypeError(f"entry {entry.entry_id} is no message")
        return make_frame(
            self.address, entry.message_id, entry.header, payloads, late=entry.late, entry_id=entry.entry_id
        )

    def contents(self, *, verify: bool) -> Contents:
        """Return what was received; payloads are read back if they are to be verified."""
        contents = Contents()
        for stored in self.segments.entries():
            header = stored.entry.header
            if header is not None and (not verify or isinstance(self._item(stored, stored.entry), Frame)):
                contents.add(stored.entry.message_id, header)
            elif stored.entry.gap is not None:
                contents.add_gap(stored.entry.gap)
        return contents

    def find(self, message_id: int) -> Frame | None:
        """Read one message, a dataset with all that came of it."""
        found = list(self.segments.find_all(message_id))
        if not found:
            return None
        entry = only_part(merge_entries([stored.entry for stored in found]), self._part)
        if entry.header is None:
            return None
        if len(found) == 1:
            return self._frame(entry, self._payloads(found[0], entry))
        return self._frame(entry, [self._read(payload_id) for payload_id in payload_ids(message_id, entry.header)])

    def _read(self, payload_id: PayloadId) -> bytes:
        location = self.segments.locate(payload_id)
        if location is None:
            raise PayloadGoneError(str(self.address), payload_id[0])
        return self.segments.read(location, payload_id[1])

    def last(self) -> Frame | None:
        """Read the last message that is whole."""
        for stored in self.segments.messages_backwards():
            entry = only_part(stored.entry, self._part)
            item = self._item(stored, entry) if entry.header is not None else None
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
