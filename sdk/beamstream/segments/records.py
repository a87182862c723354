"""What a record stands for, and how it is made from an index entry and turned back into one; pure.

Header bytes are kept as they are in the index entry, so that an index restored from segments is the one that was there.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from beamstream.dataset import header_of_part, part_offset
from beamstream.errors import EntryError
from beamstream.frame import Gap, Payload
from beamstream.protocol import Entry, EntryKind, decode_header, decode_metadata

from .layout import EMPTY_CHECKSUM, RecordHead, checksum_of

_HEADER_START = struct.Struct(">xQQ")
"""XXH3-64 and length of the payload, as PROTOCOL.md places them in every message's header."""


class RecordKind(enum.IntEnum):
    """What a record is. Readers pass over kinds that they do not know."""

    MESSAGE = 1
    GAP = 2
    END = 3
    METADATA = 4
    STATE = 5
    INDEX = 6


class RecordFlags(enum.IntFlag):
    """Bits of a message's record."""

    NONE = 0
    LATE = 1  # it came after its gap had been passed over
    INLINE = 2  # its payload lay in the index entry itself
    GONE = 4  # its payload had left memory before it could be kept: the record has none


_LATE, _INLINE, _GONE = int(RecordFlags.LATE), int(RecordFlags.INLINE), int(RecordFlags.GONE)
"""The same as plain numbers, for what is done with each record: arithmetic with flags takes a microsecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a payload lies.

    Attributes
    ----------
    segment : int
        Number of the segment.
    offset, length : int
        Where the payload begins in the file, and how long it is [bytes].
    """

    segment: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it is appended.

    Attributes
    ----------
    kind : RecordKind
        Message, gap, end, metadata or state.
    position, sequence : int
        The two halves of the entry id; 0 and 0 where the record is no entry, or the entry is not placed yet.
    message_id : int
        The message's id; the last id of a gap; the last id of the stream for an end.
    header : bytes
        The header exactly as in the index entry; msgpack for a gap and an end.
    payload : bytes-like
        The payload, not copied.
    checksum : int
        XXH3-64 of the payload; of what it was, where it is gone.
    total_bytes : int
        Payload bytes of the stream up to and including this entry [bytes].
    flags : RecordFlags
        Late, inline, gone.
    """

    kind: RecordKind
    position: int = 0
    sequence: int = 0
    message_id: int = 0
    header: bytes = b""
    payload: Payload = b""
    checksum: int = EMPTY_CHECKSUM
    total_bytes: int = 0
    flags: RecordFlags = RecordFlags.NONE


def record_of_entry(
    entry_id: bytes | str, fields: Mapping[bytes, bytes], payload: Payload | None, *, is_dataset: bool = False
) -> Record:
    """Make a record from an index entry as the server gives it.

    Parameters
    ----------
    entry_id : bytes or str
        Its id, e.g. ``42-0``.
    fields : mapping of bytes to bytes
        Its fields. An end is made with `end_record`, because how a stream ended stands in its state.
    payload : bytes-like or None
        The payload of a message that is not inline; None where it is gone. Of a dataset the payloads of its parts, one
        behind the other.
    is_dataset : bool
        Whether the message is a dataset: its checksum is one of its parts' checksums, and none of the payload.

    Raises
    ------
    EntryError
        If it is neither message nor gap, or the payload is not as long as its header says.
    """
    text = entry_id.decode("ascii", "replace") if isinstance(entry_id, bytes) else entry_id
    try:
        position, sequence = (int(part) for part in text.split("-"))
        if fields.get(b"k") == b"g":
            return gap_record(
                Gap(first_id=int(fields[b"f"]), last_id=position, reason=fields[b"r"].decode("ascii", "replace")),
                int(fields[b"b"]),
            )
        checksum, payload_bytes = _HEADER_START.unpack_from(fields[b"h"])
        late = fields.get(b"i")
        total_bytes = int(fields[b"b"])
    except (KeyError, ValueError, struct.error) as error:
        raise EntryError(f"entry {text}", f"{type(error).__name__}: {error}") from error
    flags = RecordFlags.NONE if late is None else RecordFlags.LATE
    if (inline := fields.get(b"p")) is not None:
        payload, flags = inline, flags | RecordFlags.INLINE
    if payload is None:
        flags |= RecordFlags.GONE
    elif len(payload) != payload_bytes:
        raise EntryError(f"entry {text}", f"a payload of {len(payload)} bytes where its header says {payload_bytes}")
    if is_dataset and payload is not None:
        checksum = checksum_of(payload)
    return Record(
        kind=RecordKind.MESSAGE,
        position=position,
        sequence=sequence,
        message_id=position if late is None else int(late),
        header=fields[b"h"],
        payload=b"" if payload is None else payload,
        checksum=checksum,
        total_bytes=total_bytes,
        flags=flags,
    )


def gap_record(gap: Gap, total_bytes: int) -> Record:
    """Make the record of a gap."""
    return Record(
        kind=RecordKind.GAP,
        position=gap.last_id,
        message_id=gap.last_id,
        header=msgpack.packb({"f": gap.first_id, "r": gap.reason}),
        total_bytes=total_bytes,
    )


def end_record(
    last_id: int, total_bytes: int, *, reason: str, next_stream: str | None = None, n_expected: int | None = None
) -> Record:
    """Make the record of a stream's end."""
    fields = {"r": reason, "n": next_stream, "x": n_expected}
    return Record(
        kind=RecordKind.END,
        position=last_id + 1,
        message_id=last_id,
        header=msgpack.packb({key: value for key, value in fields.items() if value is not None}),
        total_bytes=total_bytes,
    )


def metadata_record(packed: bytes) -> Record:
    """Make the record of stream metadata, packed as the server keeps them."""
    return Record(kind=RecordKind.METADATA, payload=packed, checksum=checksum_of(packed))


def state_record(fields: Mapping[bytes, bytes]) -> Record:
    """Make a record of the stream's state hash as it is now."""
    packed: bytes = msgpack.packb(dict(fields))
    return Record(kind=RecordKind.STATE, payload=packed, checksum=checksum_of(packed))


def unpack_state(packed: bytes) -> dict[bytes, bytes]:
    """Read the payload of a state record.

    Raises
    ------
    EntryError
        If it is none.
    """
    fields = _unpack_map(packed, "state record")
    if not all(isinstance(one, bytes) for pair in fields.items() for one in pair):
        raise EntryError("state record", "keys and values have to be bytes")
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An index entry as a segment keeps it.

    Attributes
    ----------
    entry : Entry
        As the server would give it, but `inline` is left out: the payload lies in the segment.
    header : bytes
        The header as it was in the index entry.
    location : Location
        Where the payload lies.
    is_inline, is_gone : bool
        The payload lay in the index entry itself; it had left memory before it could be kept.
    """

    entry: Entry
    header: bytes
    location: Location
    is_inline: bool = False
    is_gone: bool = False

    def part_location(self, part: int) -> Location | None:
        """Return where the payload of one part of a dataset lies; None where that part is not here."""
        header = None if self.entry.header is None else header_of_part(self.entry.header, part)
        if header is None or self.entry.header is None or self.is_gone:
            return None
        begin = self.location.offset + part_offset(self.entry.header, part)
        return Location(segment=self.location.segment, offset=begin, length=header.payload_bytes)

    def fields(self, payload: bytes | None) -> dict[bytes, bytes]:
        """Return the fields of the index entry, as `XADD` takes them; `payload` is needed where it is inline."""
        total, n = b"%d" % self.entry.total_bytes, b"%d" % self.entry.n_messages
        if self.entry.gap is not None:
            gap = self.entry.gap
            return {b"k": b"g", b"f": b"%d" % gap.first_id, b"r": gap.reason.encode(), b"b": total, b"n": n}
        if self.entry.kind is EntryKind.END:
            return {b"k": b"e", b"b": total, b"n": n}
        fields = {b"h": self.header, b"b": total, b"n": n}
        if self.is_inline and payload is not None:
            fields[b"p"] = payload
        if self.entry.late:
            fields[b"i"] = b"%d" % self.entry.message_id
        return fields


def stored_entry(head: RecordHead, header: bytes, segment: int) -> StoredEntry:
    """Turn a record of kind message, gap or end back into its index entry.

    Raises
    ------
    EntryError
        If its header is none, or contradicts the fixed part.
    """
    flags = head.flags
    position = head.position or head.message_id
    entry_id = f"{position}-{head.sequence}"
    location = Location(segment=segment, offset=head.payload_offset, length=head.payload_bytes)
    if head.kind == RecordKind.MESSAGE:
        decoded = decode_header(header)
        if (decoded.checksum != head.payload_checksum and not decoded.parts) or (
            decoded.payload_bytes != head.payload_bytes and not flags & _GONE
        ):
            raise EntryError(f"record of entry {entry_id}", "its header speaks of another payload")
        entry = Entry(
            entry_id=entry_id,
            kind=EntryKind.MESSAGE,
            message_id=head.message_id,
            header=decoded,
            total_bytes=head.total_bytes,
            late=bool(flags & _LATE),
        )
        return StoredEntry(
            entry=entry,
            header=header,
            location=location,
            is_inline=bool(flags & _INLINE),
            is_gone=bool(flags & _GONE),
        )
    gap = _gap(head, header) if head.kind == RecordKind.GAP else None
    entry = Entry(
        entry_id=entry_id,
        kind=EntryKind.END if gap is None else EntryKind.GAP,
        message_id=head.message_id,
        total_bytes=head.total_bytes,
        gap=gap,
    )
    return StoredEntry(entry=entry, header=header, location=location)


def _gap(head: RecordHead, header: bytes) -> Gap:
    fields = _unpack_map(header, "gap record")
    first_id, reason = fields.get("f"), fields.get("r")
    if not isinstance(first_id, int) or not isinstance(reason, str):
        raise EntryError("gap record", "first id and reason are needed")
    return Gap(first_id=first_id, last_id=head.message_id, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnding:
    """How a stream ended: its last id, the reason, the stream after it, and how many messages were promised."""

    last_id: int
    reason: str
    next_stream: str | None
    n_expected: int | None


def unpack_ending(head: RecordHead, header: bytes) -> StreamEnding:
    """Read an end record.

    Raises
    ------
    EntryError
        If it is none.
    """
    fields = _unpack_map(header, "end record")
    reason, next_stream, n_expected = fields.get("r", ""), fields.get("n"), fields.get("x")
    if not (isinstance(reason, str) and isinstance(next_stream, str | None) and isinstance(n_expected, int | None)):
        raise EntryError("end record", f"fields {fields!r:.80}")
    return StreamEnding(last_id=head.message_id, reason=reason, next_stream=next_stream, n_expected=n_expected)


def unpack_metadata(packed: bytes) -> dict[str, Any]:
    """Read the payload of a metadata record; raises `EntryError` if it is none."""
    return decode_metadata(packed)


def _unpack_map(packed: bytes, what: str) -> dict[Any, Any]:
    try:
        fields = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise EntryError(what, f"no msgpack: {error}") from error
    if not isinstance(fields, dict):
        raise EntryError(what, f"a {type(fields).__name__} where a map is needed")
    return fields
