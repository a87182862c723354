"""`SegmentReader`: finds and reads the records of one segment, whether it is closed, being written or damaged.

Not thread-safe. Nothing is believed that no checksum covers: the index leads to records, whose own checksums are
computed when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from beamstream.errors import EntryError

from .errors import CorruptRecordError, SegmentFormatError
from .file import SegmentFile
from .layout import (
    MAX_FILE_HEADER_BYTES,
    RECORD_FIXED_BYTES,
    TRAILER_BYTES,
    FileHeader,
    RecordHead,
    aligned,
    checksum_of,
    record_header,
    unpack_file_header,
    unpack_record_head,
    unpack_trailer,
)
from .paths import segment_number
from .records import Location, RecordKind, StoredEntry, stored_entry
from .scan import (
    LARGE_WINDOW_BYTES,
    SMALL_WINDOW_BYTES,
    Damage,
    Scanner,
    ScanReport,
    Window,
    first_record_offset,
    payload_flaw,
)
from .table import ROW_BYTES, Table, make_table, unpack_table

_PLACE = ["offset", "header_bytes", "payload_bytes"]

ENTRY_KINDS = (RecordKind.MESSAGE, RecordKind.GAP, RecordKind.END)
"""Kinds of record that are entries of the index."""


class SegmentReader:
    """One segment, open for reading.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    header : FileHeader or None
        What stands at its head; None where that is damaged.
    header_flaw : str
        What is wrong with the head; empty where nothing is.
    number : int
        The number in its name; that of its header where the name has none.
    table : (n_records,) structured array
        A row for each record, in the order of the file.
    report : ScanReport
        What was found; `closed` says whether index and trailer are there and whole.

    Raises
    ------
    SegmentFormatError
        If the file is no segment: its head is damaged and no record in it is whole.
    SegmentReadError
        If the operating system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SegmentFile(path)
        self._window = Window(self._file)
        self.header: FileHeader | None = None
        self.header_flaw = ""
        try:
            self.header = unpack_file_header(self._file.read_at(0, MAX_FILE_HEADER_BYTES), str(path))
        except SegmentFormatError as error:
            self.header_flaw = error.reason
        except BaseException:
            self._file.close()
            raise
        self._segment_id = self.header.segment_id if self.header else None
        self._begin = self.header.length if self.header else first_record_offset()
        self.number = segment_number(path) or (self.header.number if self.header else 0)
        self.table: Table = make_table([])
        self.report = ScanReport(end=self._begin)
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> None:
        table = self._read_index()
        if table is not None:
            self.table = table
            self.report = ScanReport(end=self._file.length, n_records=len(table), closed=True)
        else:
            self._scan(self._begin)
        if self.header is None and not len(self.table):
            raise SegmentFormatError(self.path, self.header_flaw)

    def _read_index(self) -> Table | None:
        """Return the rows of the index that a trailer leads to; None where there is none, or it is damaged."""
        file_bytes = self._file.length
        if self._segment_id is None or file_bytes < self._begin + TRAILER_BYTES:
            return None
        trailer = unpack_trailer(self._file.read_at(file_bytes - TRAILER_BYTES, TRAILER_BYTES), file_bytes)
        if trailer is None or trailer.segment_id != self._segment_id:
            return None
        data = self._file.read_at(trailer.index_offset, RECORD_FIXED_BYTES)
        head = unpack_record_head(data, 0, trailer.index_offset, self._segment_id, file_bytes)
        if isinstance(head, str) or isinstance(record_header(data, 0, head), str) or head.kind != RecordKind.INDEX:
            return None
        packed = self._file.read_at(head.payload_offset, head.payload_bytes)
        if checksum_of(packed) != head.payload_checksum or len(packed) != trailer.n_records * ROW_BYTES:
            return None
        return unpack_table(packed, self._begin, trailer.index_offset)

    def _scan(self, begin: int) -> None:
        scanner = Scanner(self._file, begin, self._segment_id)
        heads = [head for head, _ in scanner.records() if head.kind != RecordKind.INDEX]
        self._segment_id = scanner.segment_id
        found = scanner.report
        if begin > self._begin:
            found.n_records += self.report.n_records
            for damage in self.report.damages:
                found.note(damage)
            found.n_damaged = max(found.n_damaged, self.report.n_damaged)
        self.report = found
        self.table = np.concatenate([self.table, make_table(heads)]) if len(self.table) else make_table(heads)

    def refresh(self) -> int:
        """Take in what was appended since; return how many records that is.

        A segment that became shorter is read anew.
        """
        if self.report.closed:
            return 0  # nothing is ever appended behind a trailer
        n_before = len(self.table)
        self._window.clear()
        if self._file.length < self.report.end:
            self.table = make_table([])
            self._load()
        else:
            self._scan(self.report.end)
        return max(0, len(self.table) - n_before)

    # --- records -----------------------------------------------------------------------------------------------

    def record(self, row: int) -> tuple[RecordHead, bytes]:
        """Read fixed part and header of a record, and check them.

        Raises
        ------
        CorruptRecordError
            If they are damaged.
        """
        offset, header_bytes, payload_bytes = self.table[_PLACE][row].tolist()
        is_small = header_bytes + payload_bytes < SMALL_WINDOW_BYTES
        begin = self._window.load(
            offset, RECORD_FIXED_BYTES + header_bytes, LARGE_WINDOW_BYTES if is_small else SMALL_WINDOW_BYTES
        )
        head = unpack_record_head(self._window.data, begin, offset, self._segment_id, 2**64)
        if isinstance(head, str):
            raise CorruptRecordError(self.path, offset, head)
        header = record_header(self._window.data, begin, head)
        if isinstance(header, str):
            raise CorruptRecordError(self.path, offset, header)
        return head, header

    def entry(self, row: int) -> StoredEntry:
        """Read a message, gap or end as the index entry that it was.

        Raises
        ------
        CorruptRecordError
            If it is damaged.
        """
        head, header = self.record(row)
        try:
            return stored_entry(head, header, self.number)
        except EntryError as error:
            raise CorruptRecordError(self.path, head.offset, str(error)) from error

    def entries(self) -> Iterator[StoredEntry]:
        """Yield the index entries in the order of the file, without reading payloads; damaged ones are passed over.

        The report counts those.
        """
        for row in np.flatnonzero(np.isin(self.table["kind"], ENTRY_KINDS)):
            try:
                yield self.entry(int(row))
            except CorruptRecordError as error:
                self.report.note(Damage(offset=error.offset, length=0, reason=error.reason))

    def rows_of(self, kind: RecordKind) -> list[int]:
        """Return the rows of one kind, in the order of the file."""
        return [int(row) for row in np.flatnonzero(self.table["kind"] == kind)]

    def find(self, message_id: int) -> int | None:
        """Return the row of a message by its id; None where it is not here."""
        return self._row((self.table["kind"] == RecordKind.MESSAGE) & (self.table["message_id"] == message_id))

    def find_entry(self, position: int, sequence: int = 0) -> int | None:
        """Return the row of an index entry by the two halves of its id; None where it is not here."""
        return self._row(
            np.isin(self.table["kind"], ENTRY_KINDS)
            & (self.table["position"] == position)
            & (self.table["sequence"] == sequence)
        )

    @staticmethod
    def _row(matches: Any) -> int | None:
        rows = np.flatnonzero(matches)
        return int(rows[0]) if len(rows) else None

    # --- payloads ----------------------------------------------------------------------------------------------

    def location(self, row: int) -> Location:
        """Return where the payload of a record lies."""
        found = self.table[row]
        header_end = int(found["offset"]) + RECORD_FIXED_BYTES + int(found["header_bytes"])
        return Location(segment=self.number, offset=aligned(header_end), length=int(found["payload_bytes"]))

    def read(self, location: Location, checksum: int | None = None) -> bytes:
        """Read a payload in one piece.

        Parameters
        ----------
        location : Location
            Where it lies.
        checksum : int, optional
            Its XXH3-64; without it, nobody has looked whether these are the right bytes.

        Raises
        ------
        CorruptRecordError
            If the file ends within it, or the checksum is another.
        """
        payload = self._window.peek(location.offset, location.length)
        if payload is None:
            file_bytes = self._file.length
            if location.offset + location.length > file_bytes:
                raise CorruptRecordError(
                    self.path, location.offset, f"{location.length} bytes of payload in a file of {file_bytes}"
                )
            payload = self._file.read_at(location.offset, location.length)
        if checksum is not None and (measured := checksum_of(payload)) != checksum:
            raise CorruptRecordError(
                self.path, location.offset, f"the payload has XXH3 {measured:016x}, {checksum:016x} is expected"
            )
        return payload

    def payload(self, row: int) -> bytes:
        """Read the payload of a record, and check it; see `read`."""
        head, _ = self.record(row)
        location = Location(segment=self.number, offset=head.payload_offset, length=head.payload_bytes)
        return self.read(location, head.payload_checksum)

    def verify(self) -> ScanReport:
        """Go through the whole file, without its index, and compute every checksum; return what was found."""
        scanner = Scanner(self._file, self._begin, self._segment_id)
        for head, _ in scanner.records():
            flaw = payload_flaw(self._file, head)
            if flaw:
                scanner.report.note_payload(head, flaw)
        return scanner.report

    # --- ending ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let the file go; reading again opens it again."""
        self._window.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
