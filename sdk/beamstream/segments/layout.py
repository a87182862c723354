"""The bytes of a segment, version 1: file header, fixed part of a record, trailer; pure.

docs/reference/segment-format.md specifies it. Little-endian; everything begins at a multiple of 8 bytes. Each record
names its segment and its own place in it, so that neither a copy of a segment that was sent as a payload nor old bytes
on a reused disk can be taken for a record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from beamstream.address import Address
from beamstream.errors import AddressError
from beamstream.frame import Payload
from beamstream.protocol.entry import MAX_HEADER_BYTES

from .errors import SegmentFormatError

VERSION = 1
"""Version of the format, in the file header, in each record and in the trailer."""

FILE_MAGIC = b"\x89BSSEG\r\n"
"""First bytes of a file; one is not ASCII and two are a line's end, so that a transfer as text shows."""

RECORD_MAGIC = b"\xb5BSREC"
"""First bytes of a record; what a scanner looks for behind damage."""

TRAILER_MAGIC = b"\xb5BSEND\r\n"
"""First bytes of the trailer."""

ALIGNMENT = 8
"""Records and payloads begin at multiples of this [bytes], so that a mapped payload can be used as an array."""

MAX_PAYLOAD_BYTES = 512 << 20
"""Largest payload of a record [bytes]: the server's own limit for one value, and the producer's."""

MAX_RECORDS = 1 << 20
"""Most records of one segment: its index stays under 60 MiB, also in the writer's memory."""

MAX_NUMBER = 2**32 - 1
"""Highest number of a segment: what its field holds."""

EMPTY_CHECKSUM = xxhash.xxh3_64_intdigest(b"")
"""XXH3-64 of nothing, for records without payload."""

_FILE = struct.Struct("<8sHHIQQH6x")
_RECORD = struct.Struct("<6sBBH2xIQQQQQQQQ")
_TRAILER = struct.Struct("<8sH6xQQQQ")
_CHECKSUM = struct.Struct("<Q")

FILE_FIXED_BYTES = _FILE.size + _CHECKSUM.size
"""Length of the file header without the address behind it [bytes]."""

RECORD_FIXED_BYTES = _RECORD.size + _CHECKSUM.size
"""Length of a record's fixed part [bytes]; its header follows."""

TRAILER_BYTES = _TRAILER.size + _CHECKSUM.size
"""Length of the trailer [bytes]."""

MAX_ADDRESS_BYTES = 3 * 128 + 2
"""Longest address [bytes]: three names of 128 characters and two slashes."""

MAX_FILE_HEADER_BYTES = FILE_FIXED_BYTES + MAX_ADDRESS_BYTES + ALIGNMENT
"""No file header is longer [bytes]."""


def padding(length: int) -> int:
    """Return how many bytes lead from `length` to the next multiple of `ALIGNMENT`."""
    return -length % ALIGNMENT


def aligned(length: int) -> int:
    """Return the next multiple of `ALIGNMENT`."""
    return length + padding(length)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What stands at the head of a segment.

    Attributes
    ----------
    address : Address
        The one stream whose records it holds.
    number : int
        Its place among the stream's segments, from 1.
    segment_id : int
        64 random bits that each of its records repeats.
    created_ns : int
        When it was made [ns since 1970, UTC].
    """

    address: Address
    number: int
    segment_id: int
    created_ns: int

    @property
    def length(self) -> int:
        """Bytes up to the first record."""
        return aligned(FILE_FIXED_BYTES + len(str(self.address)))


def pack_file_header(header: FileHeader) -> bytes:
    """Pack a file header, padding included."""
    address = str(header.address).encode("ascii")
    fixed = _FILE.pack(
        FILE_MAGIC, VERSION, header.length, header.number, header.segment_id, header.created_ns, len(address)
    )
    packed = fixed + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(fixed + address)) + address
    return packed + bytes(padding(len(packed)))


def unpack_file_header(data: bytes, where: str = "file") -> FileHeader:
    """Read a file header from the first bytes of a file; the inverse of `pack_file_header`.

    Raises
    ------
    SegmentFormatError
        If they are none, damaged, cut off, or of another version.
    """
    if len(data) < FILE_FIXED_BYTES:
        raise SegmentFormatError(where, f"{len(data)} bytes, its header alone has at least {FILE_FIXED_BYTES}")
    magic, version, length, number, segment_id, created_ns, address_bytes = _FILE.unpack_from(data)
    if magic != FILE_MAGIC:
        raise SegmentFormatError(where, f"it begins with {data[:8].hex()}, not with {FILE_MAGIC.hex()}")
    if version != VERSION:
        raise SegmentFormatError(where, f"version {version}, this program reads {VERSION}")
    end = FILE_FIXED_BYTES + address_bytes
    if address_bytes > MAX_ADDRESS_BYTES or len(data) < aligned(end) or length != aligned(end):
        raise SegmentFormatError(where, f"an address of {address_bytes} bytes in a header of {length}")
    address = data[FILE_FIXED_BYTES:end]
    if xxhash.xxh3_64_intdigest(data[: _FILE.size] + address) != _CHECKSUM.unpack_from(data, _FILE.size)[0]:
        raise SegmentFormatError(where, "the checksum of its header is wrong")
    try:
        return FileHeader(
            address=Address.parse(address.decode("ascii", "replace")),
            number=number,
            segment_id=segment_id,
            created_ns=created_ns,
        )
    except AddressError as error:
        raise SegmentFormatError(where, str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHead:
    """The fixed part of a record.

    Attributes
    ----------
    kind : int
        A value of `RecordKind`, or one that a later program writes.
    flags : int
        Bits of `RecordFlags`.
    header_bytes, payload_bytes : int
        Lengths of what follows [bytes].
    offset : int
        Where the record begins in its file [bytes].
    position, sequence : int
        The two halves of the entry id in the index; 0 and 0 where the record is no entry, or not placed yet.
    message_id : int
        As `Entry.message_id`; 0 where the record is no entry.
    total_bytes : int
        Payload bytes of the stream up to and including this entry [bytes].
    payload_checksum : int
        XXH3-64 of the payload; of what it was, where it is gone.
    """

    kind: int
    flags: int
    header_bytes: int
    payload_bytes: int
    segment_id: int
    offset: int
    position: int
    sequence: int
    message_id: int
    total_bytes: int
    payload_checksum: int

    @property
    def payload_offset(self) -> int:
        """Where its payload begins in the file [bytes]."""
        return self.offset + aligned(RECORD_FIXED_BYTES + self.header_bytes)

    @property
    def end(self) -> int:
        """Where the next record begins [bytes]."""
        return self.payload_offset + aligned(self.payload_bytes)


def pack_record_head(head: RecordHead, header: bytes) -> bytes:
    """Pack the fixed part of a record and its header, up to where the payload begins."""
    fixed = _RECORD.pack(
        RECORD_MAGIC,
        VERSION,
        head.kind,
        head.flags,
        head.header_bytes,
        head.payload_bytes,
        head.segment_id,
        head.offset,
        head.position,
        head.sequence,
        head.message_id,
        head.total_bytes,
        head.payload_checksum,
    )
    checksum = xxhash.xxh3_64_intdigest(fixed + header)
    return b"".join((fixed, _CHECKSUM.pack(checksum), header, bytes(padding(RECORD_FIXED_BYTES + len(header)))))


def unpack_record_head(data: bytes, at: int, offset: int, segment_id: int | None, file_bytes: int) -> RecordHead | str:
    """Read the fixed part of a record; the inverse of `pack_record_head`, but for the header and its checksum.

    Parameters
    ----------
    data : bytes
        Some bytes of the file.
    at : int
        Where the record begins in `data`.
    offset : int
        Where it begins in the file [bytes].
    segment_id : int or None
        Whose record it must be; None: not known.
    file_bytes : int
        Length of the file: no record reaches beyond it [bytes].

    Returns
    -------
    RecordHead or str
        The fixed part, or what is wrong with it.
    """
    if len(data) - at < RECORD_FIXED_BYTES:
        return f"the file ends {len(data) - at} bytes into its fixed part"
    magic, version, kind, flags, header_bytes, payload_bytes, owner, own_offset, *numbers = _RECORD.unpack_from(
        data, at
    )
    if magic != RECORD_MAGIC:
        return f"it begins with {data[at : at + 6].hex()}, not with {RECORD_MAGIC.hex()}"
    if version != VERSION:
        return f"it has version {version}, this program reads {VERSION}"
    if own_offset != offset or (segment_id is not None and owner != segment_id):
        return f"it says that it is of segment {owner:016x} at byte {own_offset}"
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        return f"it claims a header of {header_bytes} and a payload of {payload_bytes} bytes"
    position, sequence, message_id, total_bytes, payload_checksum = numbers
    head = RecordHead(
        kind=kind,
        flags=flags,
        header_bytes=header_bytes,
        payload_bytes=payload_bytes,
        segment_id=owner,
        offset=offset,
        position=position,
        sequence=sequence,
        message_id=message_id,
        total_bytes=total_bytes,
        payload_checksum=payload_checksum,
    )
    if head.end > file_bytes:
        return f"it would end at byte {head.end}, the file ends at {file_bytes}"
    return head


def record_header(data: bytes, at: int, head: RecordHead) -> bytes | str:
    """Return the header that follows a fixed part, once their checksum is right; else what is wrong."""
    begin = at + RECORD_FIXED_BYTES
    header = data[begin : begin + head.header_bytes]
    if len(header) < head.header_bytes:
        return f"the file ends {len(header)} bytes into its header"
    measured = xxhash.xxh3_64_intdigest(data[at : at + _RECORD.size] + header)
    expected = _CHECKSUM.unpack_from(data, at + _RECORD.size)[0]
    if measured != expected:
        return f"fixed part and header have XXH3 {measured:016x}, it says {expected:016x}"
    return header


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """What ends a closed segment.

    Attributes
    ----------
    index_offset : int
        Where the index record begins [bytes].
    n_records : int
        Rows of the index.
    file_bytes : int
        Length of the whole file [bytes].
    """

    segment_id: int
    index_offset: int
    n_records: int
    file_bytes: int


def pack_trailer(trailer: Trailer) -> bytes:
    """Pack a trailer."""
    packed = _TRAILER.pack(
        TRAILER_MAGIC, VERSION, trailer.segment_id, trailer.index_offset, trailer.n_records, trailer.file_bytes
    )
    return packed + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(packed))


def unpack_trailer(data: bytes, file_bytes: int) -> Trailer | None:
    """Read a trailer from the last bytes of a file of `file_bytes`; None where they are none."""
    if len(data) != TRAILER_BYTES or not data.startswith(TRAILER_MAGIC):
        return None
    _, version, segment_id, index_offset, n_records, length = _TRAILER.unpack_from(data)
    checksum = xxhash.xxh3_64_intdigest(data[: _TRAILER.size])
    if version != VERSION or length != file_bytes or checksum != _CHECKSUM.unpack_from(data, _TRAILER.size)[0]:
        return None
    return Trailer(segment_id=segment_id, index_offset=index_offset, n_records=n_records, file_bytes=length)


def checksum_of(payload: Payload) -> int:
    """Return the XXH3-64 of a payload."""
    return xxhash.xxh3_64_intdigest(payload)
