"""`StreamWriter`: appends to a stream's segments one after the other, a new one when the last is full; not thread-safe.

Each segment begins with the stream's metadata and state, so that a stream can be put back when its first segments are
gone; metadata that are large beside a segment are written in the first one and when they change.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from beamstream.address import Address

from .errors import SegmentClosedError, SegmentFormatError, SegmentSyncError, SegmentWriteError
from .layout import MAX_RECORDS, RECORD_FIXED_BYTES, aligned
from .paths import list_segments
from .records import Location, Record, RecordKind, metadata_record, state_record
from .scan import ScanReport
from .writer import SegmentWriter

log = logging.getLogger(__name__)

SEGMENT_BYTES = 1 << 30
"""Default size at which a segment is full [bytes]: two seconds of disk; few files, and little to go through after a
crash."""

METADATA_SHARE = 64
"""Metadata are repeated in each segment if they take at most this part of it: 1.6 % of the disk."""


class StreamWriter:
    """Appends to the segments in one folder.

    Parameters
    ----------
    folder : Path
        The stream's folder; see `stream_folder`.
    address : Address
        The stream.
    segment_bytes : int
        Size at which a segment is closed and the next one made [bytes].

    Attributes
    ----------
    recovered : ScanReport or None
        What was found in the last segment, where it had not been closed.

    Raises
    ------
    SegmentBusyError
        If another process writes the last segment.
    DiskFullError, SegmentWriteError
        If it cannot be made safe again.
    """

    def __init__(self, folder: Path, address: Address, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.address = address
        self.recovered: ScanReport | None = None
        self._segment_bytes = segment_bytes
        self._metadata: bytes | None = None
        self._metadata_written = False
        self._state: dict[bytes, bytes] = {}
        self._writer: SegmentWriter | None = None
        self._next_number = 1
        self._resume()

    def _resume(self) -> None:
        """Go on with the last segment if it was not closed, else behind it."""
        segments = list_segments(self.folder)
        if not segments:
            return
        number, path = max(segments.items())
        self._next_number = number + 1
        try:
            writer = SegmentWriter.resume(path)
        except SegmentClosedError:
            return
        except SegmentFormatError as error:
            log.warning("%s; it is left as it is, and the next one begun", error)
            return
        if writer.header.address != self.address:
            writer.abandon()
            raise SegmentFormatError(path, f"it belongs to {writer.header.address}, not to {self.address}")
        self._writer, self.recovered = writer, writer.recovered
        if writer.recovered.torn_bytes:
            log.warning(
                "%s: a torn tail of %d bytes was cut off: %s",
                path,
                writer.recovered.torn_bytes,
                writer.recovered.torn_reason or "its payloads had not been written",
            )

    # --- what stands at the head of each segment ----------------------------------------------------------------

    def set_metadata(self, packed: bytes) -> None:
        """Let these be the stream's metadata from now on; written with the next records."""
        if packed != self._metadata:
            self._metadata, self._metadata_written = packed, False

    def set_state(self, fields: Mapping[bytes, bytes]) -> None:
        """Let this be the state hash that the next segment begins with; see `append_state` to write it now."""
        self._state = dict(fields)

    def append_state(self, fields: Mapping[bytes, bytes]) -> None:
        """Write the state hash as it is now, e.g. before the end of the stream."""
        self.set_state(fields)
        self.append_all([state_record(fields)])

    def _head_records(self) -> list[Record]:
        """Return the records that a new segment begins with."""
        records = [state_record(self._state)] if self._state else []
        metadata = self._metadata
        if metadata is not None and len(metadata) * METADATA_SHARE <= self._segment_bytes:
            records.append(metadata_record(metadata))
        return records

    # --- appending ---------------------------------------------------------------------------------------------

    def append_all(self, records: Sequence[Record]) -> list[Location]:
        """Append records to one segment, all of them or none; the segment is a new one where they do not fit.

        Raises
        ------
        DiskFullError, SegmentWriteError
            If they cannot be written; they can be appended again.
        SegmentSyncError
            If closing a full segment failed: what was appended since the last `sync` has to be appended again.
        """
        writer = self._writer_for(records)
        added: list[Record] = []
        if self._metadata is not None and not self._metadata_written:
            added.append(metadata_record(self._metadata))
        locations = writer.append_all([*added, *records])
        self._metadata_written = True
        return locations[len(added) :]

    def _writer_for(self, records: Iterable[Record]) -> SegmentWriter:
        sizes = [_record_bytes(record) for record in records]
        writer = self._writer
        if writer is not None and (
            (writer.n_records and writer.size_bytes + sum(sizes) > self._segment_bytes)
            or writer.n_records + len(sizes) + len(RecordKind) > MAX_RECORDS
        ):
            self.close()
            writer = None
        return writer or self._begin_segment()

    def _begin_segment(self) -> SegmentWriter:
        writer = SegmentWriter.create(self.folder, self.address, self._next_number)
        head = self._head_records()
        try:
            writer.append_all(head)
        except SegmentWriteError:
            writer.abandon()
            with contextlib.suppress(OSError):
                writer.path.unlink()
            raise
        self._writer = writer
        self._next_number += 1
        self._metadata_written |= any(record.kind == RecordKind.METADATA for record in head)
        return writer

    @property
    def number(self) -> int:
        """Number of the segment that is being written; 0 where there is none yet."""
        return self._writer.header.number if self._writer else 0

    def sync(self) -> None:
        """Make everything appended so far safe; see `SegmentWriter.sync`."""
        if self._writer is not None:
            with self._metadata_again_after_loss():
                self._writer.sync()

    def close(self) -> None:
        """Close the segment that is being written: index, trailer, safe on disk."""
        if self._writer is not None:
            with self._metadata_again_after_loss():
                self._writer.close()
            self._writer = None

    @contextlib.contextmanager
    def _metadata_again_after_loss(self) -> Iterator[None]:
        """Write the metadata once more if a sync fails: they may be among what it took back."""
        try:
            yield
        except SegmentSyncError:
            self._metadata_written = False
            raise

    def abandon(self) -> None:
        """Let the segment go as it is; the next `StreamWriter` goes on with it."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()


def _record_bytes(record: Record) -> int:
    return aligned(RECORD_FIXED_BYTES + len(record.header)) + aligned(memoryview(record.payload).nbytes)
