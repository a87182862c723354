"""Going through the records of a segment without an index, and finding them again behind damage.

A damaged fixed part or header ends the trust in its lengths: the next record is then looked for by its magic, which is
believed only with the segment's own id, its own offset and a right checksum. What stands behind the last whole record
is the torn tail: the rest of an append that a crash cut off, or one that is being written now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import xxhash

from .layout import (
    ALIGNMENT,
    FILE_FIXED_BYTES,
    RECORD_FIXED_BYTES,
    RECORD_MAGIC,
    TRAILER_BYTES,
    RecordHead,
    aligned,
    record_header,
    unpack_record_head,
    unpack_trailer,
)
from .records import RecordFlags, RecordKind

SMALL_WINDOW_BYTES = 4096
"""What is read at once where records are large [bytes]: fixed part and any usual header, little of the payload."""

LARGE_WINDOW_BYTES = 256 << 10
"""What is read at once where records are small [bytes]: a thousand of them."""

SEARCH_BYTES = 1 << 20
"""What is searched at once for the next record [bytes]."""

VERIFY_BYTES = 4 << 20
"""What is read at once to compute a payload's checksum [bytes]."""

MAX_DAMAGES = 1000
"""Damaged places that are described; further ones are only counted."""


class ByteSource(Protocol):
    """A file's bytes, or those of something that stands for one."""

    @property
    def length(self) -> int:
        """How long it is [bytes]."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return what is there from `offset`, at most `length` bytes [bytes]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A place that is not what it should be.

    Attributes
    ----------
    offset, length : int
        Where it begins and how far it goes [bytes].
    reason : str
        What is wrong with it.
    message_id : int
        The message whose payload is damaged; 0 where a fixed part or header is, and nobody can tell.
    """

    offset: int
    length: int
    reason: str
    message_id: int = 0


@dataclass(slots=True)
class ScanReport:
    """What a scan found.

    Attributes
    ----------
    end : int
        End of the last whole record [bytes].
    n_records, n_damaged : int
        Whole records, without the index; damaged places.
    damages : list of Damage
        The first `MAX_DAMAGES` of them.
    torn_bytes : int
        Length of the torn tail [bytes].
    torn_reason : str
        What is wrong with it.
    closed : bool
        Whether a whole trailer ends the file.
    """

    end: int = 0
    n_records: int = 0
    n_damaged: int = 0
    damages: list[Damage] = field(default_factory=list)
    torn_bytes: int = 0
    torn_reason: str = ""
    closed: bool = False

    def note(self, damage: Damage) -> None:
        """Count a damaged place."""
        self.n_damaged += 1
        if len(self.damages) < MAX_DAMAGES:
            self.damages.append(damage)

    def note_payload(self, head: RecordHead, reason: str) -> None:
        """Count a damaged payload."""
        self.note(
            Damage(offset=head.payload_offset, length=head.payload_bytes, reason=reason, message_id=head.message_id)
        )


class Window:
    """A piece of a file in memory, so that many small records cost one read."""

    def __init__(self, source: ByteSource) -> None:
        self.data = b""
        self._source = source
        self._offset = 0

    def load(self, offset: int, needed_bytes: int, window_bytes: int) -> int:
        """See to it that it holds what is needed, as far as the file goes; return where in it that begins."""
        at = offset - self._offset
        if at < 0 or at + needed_bytes > len(self.data):
            self.data = self._source.read_at(offset, max(needed_bytes, window_bytes))
            self._offset, at = offset, 0
        return at

    def clear(self) -> None:
        """Forget what it holds."""
        self.data = b""

    def peek(self, offset: int, length: int) -> bytes | None:
        """Return bytes that it happens to hold, else None."""
        at = offset - self._offset
        return self.data[at : at + length] if 0 <= at <= len(self.data) - length else None


class Scanner:
    """Walks over the records of one segment.

    Parameters
    ----------
    source : ByteSource
        The file.
    begin : int
        Where the first record is expected [bytes].
    segment_id : int or None
        Whose records they are; None where the file header is damaged: the first whole record then says it.
    """

    def __init__(self, source: ByteSource, begin: int, segment_id: int | None) -> None:
        self.report = ScanReport(end=begin)
        self.segment_id = segment_id
        self._source = source
        self._file_bytes = source.length
        self._window = Window(source)

    def records(self) -> Iterator[tuple[RecordHead, bytes]]:
        """Yield fixed part and header of each whole record; the report is right once all were taken."""
        offset = self.report.end
        if self.segment_id is None:
            offset = self._search(offset) or offset
        n_small = 0
        while not self._is_end(offset):
            found = self._read(offset, LARGE_WINDOW_BYTES if n_small > 0 else SMALL_WINDOW_BYTES)
            if isinstance(found, str):
                next_offset = self._search(offset + ALIGNMENT)
                if next_offset is None:
                    self.report.torn_bytes = self._file_bytes - offset
                    self.report.torn_reason = found
                    return
                self.report.note(Damage(offset=offset, length=next_offset - offset, reason=found))
                offset = next_offset
                continue
            head, _ = found
            self.segment_id = head.segment_id
            self.report.n_records += head.kind != RecordKind.INDEX
            n_small = 1 if head.end - head.offset < SMALL_WINDOW_BYTES else 0
            yield found
            offset = self.report.end = head.end

    def _is_end(self, offset: int) -> bool:
        """Whether the file ends here, whole: with nothing more, or with its trailer."""
        left = self._file_bytes - offset
        if left == 0:
            return True
        if left != TRAILER_BYTES:
            return False
        trailer = unpack_trailer(self._source.read_at(offset, TRAILER_BYTES), self._file_bytes)
        self.report.closed = trailer is not None and trailer.segment_id == self.segment_id
        return self.report.closed

    def _read(self, offset: int, window_bytes: int) -> tuple[RecordHead, bytes] | str:
        at = self._window.load(offset, RECORD_FIXED_BYTES, window_bytes)
        head = unpack_record_head(self._window.data, at, offset, self.segment_id, self._file_bytes)
        if isinstance(head, str):
            return head
        at = self._window.load(offset, RECORD_FIXED_BYTES + head.header_bytes, window_bytes)
        header = record_header(self._window.data, at, head)
        return header if isinstance(header, str) else (head, header)

    def _search(self, begin: int) -> int | None:
        """Return where the next whole record begins at or behind `begin`."""
        while begin < self._file_bytes:
            block = self._source.read_at(begin, SEARCH_BYTES + len(RECORD_MAGIC) - 1)
            if not block:
                return None
            at = block.find(RECORD_MAGIC)
            while at >= 0:
                offset = begin + at
                if offset % ALIGNMENT == 0 and not isinstance(self._read(offset, SMALL_WINDOW_BYTES), str):
                    return offset
                at = block.find(RECORD_MAGIC, at + 1)
            begin += SEARCH_BYTES
        return None


def first_record_offset() -> int:
    """Return the earliest place where a record can begin, for files whose header is damaged [bytes]."""
    return aligned(FILE_FIXED_BYTES)


def payload_flaw(source: ByteSource, head: RecordHead) -> str:
    """Compute the checksum of a record's payload; what is wrong with it, or an empty text."""
    if head.flags & RecordFlags.GONE:
        return ""
    digest = xxhash.xxh3_64()
    offset, end = head.payload_offset, head.payload_offset + head.payload_bytes
    while offset < end:
        block = source.read_at(offset, min(VERIFY_BYTES, end - offset))
        if not block:
            return f"the file ends at byte {offset}, within its payload"
        digest.update(block)
        offset += len(block)
    if digest.intdigest() == head.payload_checksum:
        return ""
    return f"its payload has XXH3 {digest.intdigest():016x}, it says {head.payload_checksum:016x}"
