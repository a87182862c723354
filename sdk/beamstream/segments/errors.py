"""What can go wrong with segments: files that cannot be written, and files that are not what they claim to be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from beamstream.errors import BeamstreamError, CorruptDataError, UsageError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers that say that there is no room: the disk's, the quota's, and the largest file's."""


class SegmentError(BeamstreamError):
    """The operating system refused something about a segment.

    Attributes
    ----------
    path : Path
        The segment.
    errno : int
        The operating system's number of it.
    operation : str
        What was tried: ``create``, ``write``, ``sync``, ``read``, ….
    """

    advice = "look at the disk and at the rights on the folder"

    def __init__(self, path: Path, number: int, operation: str) -> None:
        self.path = path
        self.errno = number
        self.operation = operation
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"cannot {operation} segment {path}: {os.strerror(number)} ({name}); {self.advice}")


class SegmentWriteError(SegmentError):
    """A segment could not be written; what was written in part was taken out again, so trying again is safe."""


class DiskFullError(SegmentWriteError):
    """There is no room for a segment; it can be tried again when there is some."""

    advice = "make room; nothing is lost, and writing can go on when there is some"


class SegmentSyncError(SegmentWriteError):
    """What was appended since the last `sync` may not be on disk; it was taken out and has to be appended again."""

    advice = "what was appended since the last sync was taken out of the file and has to be appended again"


class SegmentReadError(SegmentError):
    """A segment could not be read."""


class SegmentBusyError(BeamstreamError):
    """Another process appends to this segment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"segment {path} is being written by another process; stop it first")


class SegmentClosedError(UsageError):
    """A segment that is closed, or was abandoned, takes no more records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"segment {path} is closed; go on in the next one")


class SegmentFullError(UsageError):
    """A segment holds as many records as one may."""

    def __init__(self, path: Path, n_records: int, limit: int) -> None:
        self.path = path
        self.n_records = n_records
        self.limit = limit
        super().__init__(f"segment {path} holds {n_records} of at most {limit} records; go on in the next one")


class SegmentFormatError(CorruptDataError):
    """A file that is no segment, or one of another version."""

    def __init__(self, where: Path | str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where} is no segment that this program can read: {reason}")


class CorruptRecordError(CorruptDataError):
    """A record whose fixed part, header or payload is damaged; it is never delivered as good."""

    def __init__(self, where: Path | str, offset: int, reason: str) -> None:
        self.where = where
        self.offset = offset
        self.reason = reason
        super().__init__(f"record at byte {offset} of segment {where} is damaged: {reason}")


def write_error(path: Path, error: OSError, operation: str) -> SegmentWriteError:
    """Turn the operating system's error into one of ours."""
    number = error.errno or errno.EIO
    return (DiskFullError if number in FULL else SegmentWriteError)(path, number, operation)
