"""`SegmentWriter`: appends records to one segment and makes them safe; not thread-safe.

What an append that failed has written is cut off again, so that the file stays a row of whole records and the append
can be tried again. What a `sync` that failed may have lost is cut off too: the kernel marks such pages clean, and a
second sync would call safe what is not.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from beamstream.address import Address
from beamstream.frame import Payload
from beamstream.protocol.entry import MAX_HEADER_BYTES

from .appended import AppendedFile
from .errors import (
    SegmentClosedError,
    SegmentFormatError,
    SegmentFullError,
    SegmentSyncError,
    SegmentWriteError,
    write_error,
)
from .file import SegmentFile
from .layout import (
    MAX_FILE_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_RECORDS,
    FileHeader,
    RecordHead,
    Trailer,
    checksum_of,
    pack_file_header,
    pack_record_head,
    pack_trailer,
    padding,
    unpack_file_header,
)
from .paths import segment_number, segment_path
from .records import Location, Record, RecordKind
from .scan import Scanner, ScanReport, payload_flaw
from .table import ROW_BYTES, pack_row


class SegmentWriter:
    """Appends to one segment; made by `create` or `resume`.

    Attributes
    ----------
    path : Path
        The file.
    header : FileHeader
        What stands at its head.
    synced_bytes : int
        How much of it is safe on disk [bytes].
    recovered : ScanReport
        What `resume` found; empty for a new segment.
    """

    def __init__(self, file: AppendedFile, header: FileHeader) -> None:
        self.path = file.path
        self.header = header
        self.synced_bytes = header.length
        self.recovered = ScanReport(end=header.length)
        self._file = file
        self._rows = bytearray()
        self._is_safe = False  # file header and folders

    @property
    def size_bytes(self) -> int:
        """How long the file is, without index and trailer [bytes]."""
        return self._file.size_bytes

    # --- opening -----------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: Path,
        address: Address,
        number: int,
        *,
        created_ns: int | None = None,
        segment_id: int | None = None,
    ) -> Self:
        """Make a new segment, and the folders it needs.

        Parameters
        ----------
        folder : Path
            The stream's folder.
        address : Address
            The stream.
        number : int
            The segment's number, from 1.
        created_ns : int, optional
            Its time of creation [ns since 1970]; default: now.
        segment_id : int, optional
            64 bits that no other segment has; default: random ones.

        Raises
        ------
        DiskFullError, SegmentWriteError
            If it cannot be made; errno EEXIST where it is there already.
        """
        path = segment_path(folder, number)
        header = FileHeader(
            address=address,
            number=number,
            segment_id=secrets.randbits(64) if segment_id is None else segment_id,
            created_ns=time.time_ns() if created_ns is None else created_ns,
        )
        file = AppendedFile.create(path)
        try:
            file.append([pack_file_header(header)])
        except SegmentWriteError:
            file.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return cls(file, header)

    @classmethod
    def resume(cls, path: Path, *, verify_payloads: bool = True) -> Self:
        """Go on with a segment that was not closed: find its last whole record and cut off what is torn behind it.

        `recovered` says what was found. Records behind damage in the middle are kept; the damage stays where it is.

        Parameters
        ----------
        path : Path
            The segment.
        verify_payloads : bool
            Whether payloads are read and their checksums computed. After a loss of power a record can be whole and its
            payload not written: such records at the end are cut off as well.

        Raises
        ------
        SegmentBusyError
            If another process is writing it.
        SegmentClosedError
            If it is closed already.
        SegmentFormatError
            If its header is damaged: it is left as it is, for readers to save what they can.
        SegmentWriteError, SegmentReadError
            If the operating system refuses.
        """
        file = AppendedFile.open(path)
        source = SegmentFile(path)
        try:
            header = unpack_file_header(source.read_at(0, MAX_FILE_HEADER_BYTES), str(path))
            if header.number != segment_number(path):
                raise SegmentFormatError(path, f"it says that it is number {header.number}")
            writer = cls(file, header)
            writer._recover(source, verify_payloads)
        except BaseException:
            file.close()
            raise
        finally:
            source.close()
        return writer

    def _recover(self, source: SegmentFile, verify_payloads: bool) -> None:
        scanner = Scanner(source, self.header.length, self.header.segment_id)
        end, n_whole = self.header.length, 0
        flawed: list[tuple[RecordHead, str]] = []
        for head, _ in scanner.records():
            if head.kind == RecordKind.INDEX:
                continue  # a close that was not finished; it is written anew
            self._rows += pack_row(head)
            flaw = payload_flaw(source, head) if verify_payloads else ""
            if flaw:
                flawed.append((head, flaw))
            else:
                end, n_whole = head.end, len(self._rows)
        if scanner.report.closed:
            raise SegmentClosedError(self.path)
        file_bytes = source.length
        del self._rows[n_whole:]
        report = self.recovered = scanner.report
        report.n_records = n_whole // ROW_BYTES
        report.torn_bytes, report.end = file_bytes - end, end
        for head, flaw in flawed:
            if head.offset < end:
                report.note_payload(head, flaw)
        self._file.cut(end)
        try:
            self._file.sync()  # before anything behind it may be taken back
        except OSError as error:
            raise write_error(self.path, error, "sync") from error
        self.synced_bytes = end

    # --- appending ---------------------------------------------------------------------------------------------

    @property
    def n_records(self) -> int:
        """How many records it holds."""
        return len(self._rows) // ROW_BYTES

    def append(self, record: Record) -> Location:
        """Append one record; see `append_all`."""
        return self.append_all([record])[0]

    def append_all(self, records: Iterable[Record]) -> list[Location]:
        """Append records with as few system calls as possible, all of them or none; payloads are not copied.

        Returns
        -------
        list of Location
            Where their payloads lie. They are safe after `sync`.

        Raises
        ------
        DiskFullError, SegmentWriteError
            If they cannot be written; the file is as it was before, and they can be appended again.
        SegmentClosedError, SegmentFullError
            If this segment takes no more.
        SegmentFormatError
            If a header or payload is longer than a record may hold.
        """
        parts: list[Payload] = []
        rows = bytearray()
        locations = []
        offset = self.size_bytes
        for record in records:
            head = self._head(record, offset)
            parts += [pack_record_head(head, record.header), record.payload, bytes(padding(head.payload_bytes))]
            rows += pack_row(head)
            locations.append(
                Location(segment=self.header.number, offset=head.payload_offset, length=head.payload_bytes)
            )
            offset = head.end
        if len(self._rows) + len(rows) > MAX_RECORDS * ROW_BYTES:
            raise SegmentFullError(self.path, self.n_records, MAX_RECORDS)
        self._file.append(parts)
        self._rows += rows
        return locations

    def _head(self, record: Record, offset: int) -> RecordHead:
        payload_bytes = memoryview(record.payload).nbytes
        if len(record.header) > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
            raise SegmentFormatError(
                self.path, f"a record with {len(record.header)} bytes of header and {payload_bytes} of payload"
            )
        return RecordHead(
            kind=record.kind,
            flags=record.flags,
            header_bytes=len(record.header),
            payload_bytes=payload_bytes,
            segment_id=self.header.segment_id,
            offset=offset,
            position=record.position,
            sequence=record.sequence,
            message_id=record.message_id,
            total_bytes=record.total_bytes,
            payload_checksum=record.checksum,
        )

    # --- making safe -------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Make everything appended so far safe: it is there after a loss of power.

        Raises
        ------
        SegmentSyncError
            If that failed: what was appended since the last sync was taken out and has to be appended again.
        SegmentClosedError
            If it is closed.
        """
        if self.synced_bytes == self.size_bytes and self._file.is_open and self._is_safe:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._take_back()
            raise SegmentSyncError(self.path, error.errno or errno.EIO, "sync") from error
        self.synced_bytes, self._is_safe = self.size_bytes, True

    def _take_back(self) -> None:
        n_rows = self.n_records
        while n_rows and self._row_offset(n_rows - 1) >= self.synced_bytes:
            n_rows -= 1
        del self._rows[n_rows * ROW_BYTES :]
        self._file.cut(self.synced_bytes)

    def _row_offset(self, row: int) -> int:
        return int.from_bytes(self._rows[row * ROW_BYTES : row * ROW_BYTES + 8], "little")

    def close(self) -> None:
        """Write the index and the trailer, make all safe, and let the file go.

        Raises
        ------
        DiskFullError, SegmentWriteError, SegmentSyncError
            If that failed; the segment is open and whole as before, but for what `SegmentSyncError` says.
        """
        if not self._file.is_open:
            return
        self.sync()
        rows = bytes(self._rows)
        record = Record(kind=RecordKind.INDEX, payload=rows, checksum=checksum_of(rows))
        head = self._head(record, self.size_bytes)
        file_bytes = head.end + len(pack_trailer(self._trailer(head.offset, 0)))
        trailer = pack_trailer(self._trailer(head.offset, file_bytes))
        parts = [pack_record_head(head, b""), rows, bytes(padding(len(rows))), trailer]
        self._file.append(parts)
        try:
            self._file.sync()
        except OSError as error:
            self._file.cut(head.offset)
            raise SegmentSyncError(self.path, error.errno or errno.EIO, "sync") from error
        self.abandon()

    def _trailer(self, index_offset: int, file_bytes: int) -> Trailer:
        return Trailer(
            segment_id=self.header.segment_id,
            index_offset=index_offset,
            n_records=self.n_records,
            file_bytes=file_bytes,
        )

    def abandon(self) -> None:
        """Let the file go as it is, without index; it can be resumed, and read by scanning."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()
