"""Segments: append-only files of self-delimiting records, for disk and shared memory.

docs/reference/segment-format.md specifies the format.
"""

from .errors import (
    CorruptRecordError,
    DiskFullError,
    SegmentBusyError,
    SegmentClosedError,
    SegmentError,
    SegmentFormatError,
    SegmentFullError,
    SegmentReadError,
    SegmentSyncError,
    SegmentWriteError,
)
from .layout import FileHeader
from .paths import list_segments, segment_path, stream_folder
from .reader import SegmentReader
from .records import (
    Location,
    Record,
    RecordFlags,
    RecordKind,
    StoredEntry,
    StreamEnding,
    end_record,
    gap_record,
    metadata_record,
    record_of_entry,
    state_record,
)
from .restored import EntryTally, restored_state
from .scan import Damage, ScanReport
from .stream import LOST, SegmentStream, StreamDamage
from .stream_writer import StreamWriter
from .writer import SegmentWriter

__all__ = [
    "LOST",
    "CorruptRecordError",
    "Damage",
    "DiskFullError",
    "EntryTally",
    "FileHeader",
    "Location",
    "Record",
    "RecordFlags",
    "RecordKind",
    "ScanReport",
    "SegmentBusyError",
    "SegmentClosedError",
    "SegmentError",
    "SegmentFormatError",
    "SegmentFullError",
    "SegmentReadError",
    "SegmentReader",
    "SegmentStream",
    "SegmentSyncError",
    "SegmentWriteError",
    "SegmentWriter",
    "StoredEntry",
    "StreamDamage",
    "StreamEnding",
    "StreamWriter",
    "end_record",
    "gap_record",
    "list_segments",
    "metadata_record",
    "record_of_entry",
    "restored_state",
    "segment_path",
    "state_record",
    "stream_folder",
]
