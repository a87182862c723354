"""Disk space that belongs to a file before HDF5 writes into it.

A write that fails inside HDF5 (a quota, a disk that somebody else fills) leaves the library in a state in which later
chunks are missing from the file without a word. So nothing may fail there: blocks are allocated behind the file's end
first, and where that is refused, the frame waits outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from .errors import DiskFullError, OutputError

STEP_BYTES = 64 << 20
"""How much is allocated ahead [bytes]: several frames, so that the file system is asked seldom."""

MARGIN_BYTES = 16 << 20
"""What HDF5 may write beside the frames until the next flush, columns and B-trees [bytes]: 1 MB a second at 1 kHz."""

KEEP_SIZE = 1
"""Flag of fallocate(2): allocate blocks, leave the file's length alone."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_libc = ctypes.CDLL(None, use_errno=True)


class Reservation:
    """Blocks behind the end of one open file; whoever truncates it gives them back, HDF5 included.

    Parameters
    ----------
    path : Path
        The file, for messages.
    descriptor : int
        Its open file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._end = 0

    def ensure(self, size_bytes: int, more_bytes: int) -> None:
        """See to it that a file of `size_bytes` can grow by `more_bytes` [bytes].

        Raises
        ------
        DiskFullError
            If there is no room; nothing was written.
        OutputError
            If the file system fails otherwise.
        """
        needed = size_bytes + more_bytes + MARGIN_BYTES
        if needed <= self._end:
            return
        for end in (needed + STEP_BYTES, needed):
            number = _allocate(self._descriptor, size_bytes, end - size_bytes)
            if number == 0:
                self._end = end
                return
            if number in UNSUPPORTED:
                self._end = 2**63  # this file system promises nothing; the free space is all there is to go by
                return
            if number not in FULL:
                raise OutputError(self._path, os.strerror(number))
        raise DiskFullError(self._path, 0, more_bytes + MARGIN_BYTES)

    def forget(self) -> None:
        """Take nothing for granted any more: a flush may have cut off what lay behind the end."""
        if self._end < 2**63:
            self._end = 0


def give_back(path: Path) -> None:
    """Give back what was allocated behind the end of a file that is closed."""
    os.truncate(path, path.stat().st_size)


def _allocate(descriptor: int, offset: int, length: int) -> int:
    """Call fallocate(2), which Python does not offer; returns the error number, 0 if it went well."""
    if not hasattr(_libc, "fallocate"):
        return errno.ENOSYS
    arguments = (ctypes.c_int(descriptor), ctypes.c_int(KEEP_SIZE), ctypes.c_int64(offset), ctypes.c_int64(length))
    return 0 if _libc.fallocate(*arguments) == 0 else ctypes.get_errno()
