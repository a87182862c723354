"""A segment as a file that is read with `pread`.

Not mapped: a mapped file that somebody truncates ends the process with SIGBUS, and a damaged disk does too; a read says
what is wrong. The copy costs little beside the disk. The format keeps payloads aligned, so that a tier that owns its
files (shared memory) can map them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .errors import SegmentReadError

MAX_READ_BYTES = 1 << 30
"""Most bytes asked for in one system call [bytes]: Linux reads at most 2 GiB less a page."""


class SegmentFile:
    """An open file; closes itself when it is let go, and opens again when it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def length(self) -> int:
        """How long the file is now [bytes]."""
        try:
            return os.fstat(self._open()).st_size
        except OSError as error:
            raise self._error(error) from error

    def read_at(self, offset: int, length: int) -> bytes:
        """Return what is there from `offset`: `length` bytes, or less where the file ends.

        Raises
        ------
        SegmentReadError
            If the operating system refuses.
        """
        try:
            data = os.pread(self._open(), min(length, MAX_READ_BYTES), offset)
        except OSError as error:
            raise self._error(error) from error
        if not data or len(data) == length:
            return data
        return data + self.read_at(offset + len(data), length - len(data))

    def _open(self) -> int:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise self._error(error, "open") from error
        return self._descriptor

    def _error(self, error: OSError, operation: str = "read") -> SegmentReadError:
        return SegmentReadError(self.path, error.errno or errno.EIO, operation)

    def close(self) -> None:
        """Let the file go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
