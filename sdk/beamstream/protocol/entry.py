"""Index entries: the header encoding and what comes back from the server.

Pure: bytes in, records out. Unknown header keys are ignored, so that a later writer can add some.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from beamstream.dataset import MAX_PARTS, dataset_header
from beamstream.errors import EntryError
from beamstream.frame import Gap, Header, new_header
from beamstream.location import LOCATION_BYTES, Location
from beamstream.location import PACKED as PACKED_LOCATION
from beamstream.records import maker

from .layouts import DTYPES, LAYOUT_KEYS, Layout, known_layout, layout_fields, pack_layout, remember_layout

HEADER_VERSION = 1
"""First byte of every header whose payload lies under its key, or in the entry."""

LOCATED_VERSION = 2
"""First byte of a header that says where in shared memory its payload lies: behind the fixed part."""

_FIXED = struct.Struct(">BQQQ")
"""Version, XXH3-64 of the payload, payload bytes, timestamp [ns since 1970]; a msgpack map follows. These four stand in
fixed places, because the scripts read the second and the third."""

_CHECKSUM = struct.Struct(">Q")
"""Of these the second."""

MAX_HEADER_BYTES = 1 << 20
"""Longest header [bytes]: per-message metadata belongs to the message, not to the index; 1 MiB is far beyond any."""

MAX_DIMENSIONS = 32
"""Most axes of an array; NumPy's own limit was 32 until version 2."""


class EntryKind(enum.Enum):
    """What an index entry stands for."""

    MESSAGE = "message"
    GAP = "gap"
    END = "end"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of an index.

    Attributes
    ----------
    entry_id : str
        Its id in the Redis stream, e.g. ``42-0``.
    kind : EntryKind
        Message, gap, the end of the stream, or what nobody can read.
    message_id : int
        The message's id; for a gap its last id, for an end the last id of the stream.
    header : Header or None
        Only of a message.
    total_bytes : int
        Payload bytes of the stream up to here, this entry's included; lag in bytes is a difference of two.
    n_messages : int
        Messages of the stream up to here, this one included; lag in messages is a difference of two.
    inline : bytes or None
        The payload itself where it lies in the entry.
    late : bool
        The message came after its gap had been passed over.
    gap : Gap or None
        Only of a gap.
    flaw : str
        Why it cannot be read, where it cannot.
    """

    entry_id: str
    kind: EntryKind
    message_id: int
    header: Header | None = None
    total_bytes: int = 0
    n_messages: int = 0
    inline: bytes | None = None
    late: bool = False
    gap: Gap | None = None
    flaw: str = ""


_new_entry = maker(Entry)
_MESSAGE = EntryKind.MESSAGE  # looked up for each message that would cost as much as all else of it


def encode_header(header: Header) -> bytes:
    """Pack a header.

    Raises
    ------
    EntryError
        If the metadata hold something that msgpack cannot carry, or the whole is over `MAX_HEADER_BYTES`.
    """
    first: dict[str, Any] = {}
    if header.parts:
        first["n"] = header.n_parts
        first["p"] = [[part.part, encode_header(part)] for part in header.parts]
        if header.is_addition:
            first["a"] = True
    return pack_header(
        header.payload_bytes,
        header.checksum,
        header.timestamp_ns,
        header.codec,
        header.shape,
        header.dtype,
        header.metadata,
        first,
    )


def pack_header(
    payload_bytes: int,
    checksum: int,
    timestamp_ns: int,
    codec: str = "none",
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    first: Mapping[str, Any] | None = None,
) -> bytes:
    """Pack what a header says, see `beamstream.Header`, without making one; `first` goes first in its map.

    Raises
    ------
    EntryError
        As `encode_header`.
    """
    try:
        fixed = _FIXED.pack(HEADER_VERSION, checksum, payload_bytes, timestamp_ns)
        packed: bytes
        if metadata or first or (shape is not None and type(shape) is not tuple):
            fields = {**(first or {}), **layout_fields(codec, shape, dtype)}
            if metadata:
                fields["m"] = metadata
            packed = fixed + msgpack.packb(fields)
        else:
            packed = fixed + pack_layout(codec, dtype, shape is None, *(shape or ()))
    except (TypeError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise EntryError("message metadata", str(error)) from error
    if len(packed) > MAX_HEADER_BYTES - LOCATION_BYTES:
        limit = MAX_HEADER_BYTES - LOCATION_BYTES
        raise EntryError("message metadata", f"{len(packed)} bytes packed, the limit is {limit}")
    return packed


def state_checksum(packed: bytes, checksum: int) -> bytes:
    """Return a packed header with another checksum of the payload."""
    return packed[:1] + _CHECKSUM.pack(checksum) + packed[1 + _CHECKSUM.size :]


def locate_header(packed: bytes, location: Location) -> bytes:
    """Return a packed header that says where in shared memory the payload lies."""
    return bytes((LOCATED_VERSION,)) + packed[1 : _FIXED.size] + PACKED_LOCATION.pack(*location) + packed[_FIXED.size :]


def is_located(packed: bytes) -> bool:
    """Whether a packed header says that its payload, which is one, lies in shared memory."""
    return packed[0] == LOCATED_VERSION


def stated_bytes(packed: bytes) -> int:
    """Return how long a packed header says that its payload is [bytes], without reading the rest.

    Raises
    ------
    EntryError
        If it is too short for that.
    """
    if len(packed) < _FIXED.size:
        raise EntryError("header", f"{len(packed)} bytes, at least {_FIXED.size} are possible")
    n_bytes: int = _FIXED.unpack_from(packed)[2]
    return n_bytes


def unlocate_header(packed: bytes) -> bytes:
    """Return a packed header without what it, or one of its parts, says of shared memory: as it goes to disk.

    Raises
    ------
    EntryError
        If the bytes are no header.
    """
    header = decode_header(packed)
    if header.location is not None:
        return _unlocate(packed)
    if all(part.location is None for part in header.parts):
        return packed
    # Everything else stays as it is, whoever wrote it.
    fields = {**_unpack_map(packed[_FIXED.size :])}
    fields["p"] = [[number, _unlocate(part)] for number, part in fields["p"]]
    return packed[: _FIXED.size] + bytes(msgpack.packb(fields))


def _unlocate(packed: bytes) -> bytes:
    if packed[0] != LOCATED_VERSION:
        return packed
    return bytes((HEADER_VERSION,)) + packed[1 : _FIXED.size] + packed[_FIXED.size + LOCATION_BYTES :]


def decode_header(packed: bytes) -> Header:
    """Read a header; the inverse of `encode_header`.

    Raises
    ------
    EntryError
        If the bytes are no header.
    """
    return _decode(packed)


def _decode(packed: bytes, *, part: int = 0) -> Header:
    if not _FIXED.size < len(packed) <= MAX_HEADER_BYTES:
        raise EntryError(
            "header", f"{len(packed)} bytes, between {_FIXED.size + 1} and {MAX_HEADER_BYTES} are possible"
        )
    version, checksum, payload_bytes, timestamp_ns = _FIXED.unpack_from(packed)
    location = None
    map_at = _FIXED.size
    if version == LOCATED_VERSION and len(packed) > _FIXED.size + LOCATION_BYTES:
        location = Location._make(PACKED_LOCATION.unpack_from(packed, _FIXED.size))
        map_at += LOCATION_BYTES
    elif version != HEADER_VERSION:
        raise EntryError("header", f"version {version}, this program reads {HEADER_VERSION} and {LOCATED_VERSION}")
    packed_map = packed[map_at:]
    layout, metadata = known_layout(packed_map), {}
    if layout is None:
        fields = _unpack_map(packed_map)
        if "p" in fields:
            if part:
                raise EntryError("header", f"part {part} of a dataset has parts itself")
            return _decode_dataset(fields, (checksum, payload_bytes, timestamp_ns))
        layout = Layout(_typed(fields, "c", str, "none"), _shape(fields), _dtype(fields))
        metadata = _typed(fields, "m", dict, {})
        if fields.keys() <= LAYOUT_KEYS:
            remember_layout(packed_map, layout)
    codec, shape, dtype = layout
    return new_header(
        payload_bytes, checksum, timestamp_ns, codec, shape, dtype, metadata, 1, (), part, False, location
    )


def _decode_dataset(fields: Mapping[str, Any], fixed: tuple[int, int, int]) -> Header:
    """Read the header of a dataset from its map, and check that the fixed part is what the parts make it."""
    n_parts = _typed(fields, "n", int, 0)
    parts = []
    for one in _typed(fields, "p", list, []):
        if not (isinstance(one, list) and len(one) == 2 and type(one[0]) is int and isinstance(one[1], bytes)):
            raise EntryError("header", "a part of a dataset is its number and its header")
        if not 0 < one[0] <= min(n_parts, MAX_PARTS):
            raise EntryError("header", f"part {one[0]} of {n_parts}")
        parts.append(_decode(one[1], part=one[0]))
    numbers = [part.part for part in parts]
    if not parts or n_parts > MAX_PARTS or sorted(set(numbers)) != numbers:
        raise EntryError("header", f"parts {numbers!r:.80} of {n_parts}")
    header = dataset_header(n_parts, parts, is_addition=bool(fields.get("a")))
    if (header.checksum, header.payload_bytes, header.timestamp_ns) != fixed:
        raise EntryError("header", "checksum, bytes or time of a dataset are not what its parts make them")
    return header


def _unpack_map(packed: bytes) -> Mapping[str, Any]:
    try:
        fields = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise EntryError("header", f"no msgpack: {error}") from error
    if not isinstance(fields, dict):
        raise EntryError("header", f"a {type(fields).__name__} where a map is needed")
    return fields


def _typed(fields: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = fields.get(key, default)
    if value is not default and not isinstance(value, kind):
        raise EntryError("header", f"field {key!r} is a {type(value).__name__} where a {kind.__name__} is needed")
    return value


def _dtype(fields: Mapping[str, Any]) -> str | None:
    name: str | None = _typed(fields, "d", str, None)
    if name is not None and name not in DTYPES:
        raise EntryError("header", f"dtype {name!r:.40} is no kind of number")
    return name


def _shape(fields: Mapping[str, Any]) -> tuple[int, ...] | None:
    shape = _typed(fields, "s", list, None)
    if shape is None:
        return None
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise EntryError("header", f"shape {shape!r:.80}")
    return tuple(shape)


def fields_of(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Turn the flat list that a server answers into a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def decode_entry(entry_id: bytes | str, fields: Mapping[bytes, bytes]) -> Entry:
    """Read one entry as the server gives it.

    Raises
    ------
    EntryError
        If the entry is none of ours.
    """
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    try:
        kind = fields.get(b"k")
        if kind is None:
            return _decode_message(text, fields)
        if kind == b"g":
            return _decode_gap(text, fields)
        if kind == b"e":
            return Entry(
                entry_id=text,
                kind=EntryKind.END,
                message_id=int(text.partition("-")[0]) - 1,
                total_bytes=int(fields[b"b"]),
                n_messages=int(fields.get(b"n", 0)),
            )
    except (KeyError, ValueError) as error:
        raise EntryError(f"entry {text}", f"{type(error).__name__}: {error}") from error
    raise EntryError(f"entry {text}", f"unknown kind {kind!r:.40}")


EXPIRED = "expired"
"""Reason of a gap that stands for messages that have left the index; it is in no index itself."""


def expired_entry(first_id: int, last_id: int, n_messages: int) -> Entry:
    """Return what stands, for a reader, in the place of messages that grew too old before it came to them."""
    gap = Gap(first_id=first_id, last_id=last_id, reason=EXPIRED)
    return Entry(entry_id="", kind=EntryKind.GAP, message_id=last_id, n_messages=n_messages, gap=gap)


def read_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Read one entry; one that is none of ours comes as unreadable, so that readers can pass it by and say so."""
    try:
        return decode_entry(entry_id, fields)
    except EntryError as error:
        text = entry_id.decode("ascii", "replace")
        position = int(text.partition("-")[0])
        return Entry(entry_id=text, kind=EntryKind.UNREADABLE, message_id=position, flaw=str(error))


def read_answer(raw: Sequence[Sequence[Any]]) -> list[Entry]:
    """Read entries as a server gives them, each an id and a flat list of fields; see `read_entry`."""
    return [_read_plain(entry_id, flat) or read_entry(entry_id, fields_of(flat)) for entry_id, flat in raw]


_PLAIN_FIELDS = {6: [b"h", b"b", b"n"], 8: [b"h", b"b", b"n", b"p"]}


def _read_plain(entry_id: bytes, flat: Sequence[bytes]) -> Entry | None:
    """Read what nearly every entry is: a message in its place, fields in the order of the scripts; None of others."""
    if flat[::2] != _PLAIN_FIELDS.get(len(flat)):
        return None
    try:
        text = entry_id.decode()
        message_id = int(text.removesuffix("-0"))
        header = decode_header(flat[1])
        return _new_entry(
            text,
            _MESSAGE,
            message_id,
            header,
            int(flat[3]),
            int(flat[5]),
            flat[7] if len(flat) == 8 else None,
        )
    except (EntryError, ValueError):
        return None  # read in the usual way it says what is wrong


def _decode_message(entry_id: str, fields: Mapping[bytes, bytes]) -> Entry:
    late = fields.get(b"i")
    return Entry(
        entry_id=entry_id,
        kind=EntryKind.MESSAGE,
        message_id=int(entry_id.partition("-")[0]) if late is None else int(late),
        header=decode_header(fields[b"h"]),
        total_bytes=int(fields[b"b"]),
        n_messages=int(fields.get(b"n", 0)),
        inline=fields.get(b"p"),
        late=late is not None,
    )


def _decode_gap(entry_id: str, fields: Mapping[bytes, bytes]) -> Entry:
    last_id = int(entry_id.partition("-")[0])
    return Entry(
        entry_id=entry_id,
        kind=EntryKind.GAP,
        message_id=last_id,
        total_bytes=int(fields[b"b"]),
        n_messages=int(fields.get(b"n", 0)),
        gap=Gap(first_id=int(fields[b"f"]), last_id=last_id, reason=fields[b"r"].decode("ascii", "replace")),
    )
