"""Who writes which file: claims that die with their holder, and that a slow holder keeps.

Beside a recording lies a small file; to claim number n is to lock its n-th record (an open file description lock of
Linux, which goes over NFS too). The kernel lets go of it when the process dies, and of no other cause: a member that is
only slow is never robbed. Each holder writes into its record who it is, for whoever has to wait.

HDF5's own locks would not do: they are switched off at many beamlines (``HDF5_USE_FILE_LOCKING``), and within one
process the library gives the same file twice.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from .errors import LocksMissingError, output_errors

RECORD_BYTES = 128
"""Room for who holds a claim [bytes]."""

WHOLE = 0
"""The number that stands for the recording as a whole: held alone by who composes it, shared by who adds a file."""

MAX_TRIES = 100
"""How often the file of claims may vanish while it is opened; each time somebody has finished a recording."""

_FLOCK = struct.Struct("hhqqi4x")
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})
_MISSING = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Claims:
    """The claims on the files of one recording, as one member of a group sees them.

    Parameters
    ----------
    path : Path
        The file of claims; made if it is not there.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with output_errors(path):
            self._descriptor = self._open()

    def _open(self) -> int:
        """Open the file that has the name now, and not one that was just deleted."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)

    @property
    def is_current(self) -> bool:
        """Whether the file that is locked here is still the one that others find."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._descriptor)
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)

    def take(self, number: int, *, shared: bool = False) -> bool:
        """Claim a number; False where somebody else has it.

        Raises
        ------
        LocksMissingError
            If this file system gives no locks.
        """
        for _ in range(MAX_TRIES):
            if not self._lock(number, fcntl.F_RDLCK if shared else fcntl.F_WRLCK):
                return False
            if self.is_current:
                if not shared:
                    self._sign(number)
                return True
            with output_errors(self.path):
                os.close(self._descriptor)  # and with it all claims, which were on nothing
                self._descriptor = self._open()
        return False

    def _sign(self, number: int) -> None:
        who = f"process {os.getpid()} on {socket.gethostname()}".encode()[:RECORD_BYTES]
        with output_errors(self.path):
            os.pwrite(self._descriptor, who.ljust(RECORD_BYTES, b"\0"), number * RECORD_BYTES)

    def holder(self, number: int) -> str:
        """Return who has claimed a number, as it said itself."""
        text = os.pread(self._descriptor, RECORD_BYTES, number * RECORD_BYTES).rstrip(b"\0")
        return text.decode("utf-8", "replace") or "somebody"

    def drop(self, number: int) -> None:
        """Let a number go."""
        self._lock(number, fcntl.F_UNLCK)

    def _lock(self, number: int, kind: int) -> bool:
        request = _FLOCK.pack(kind, os.SEEK_SET, number * RECORD_BYTES, RECORD_BYTES, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if error.errno in _MISSING:
                raise LocksMissingError(self.path, error.strerror or str(error)) from error
            raise
        return True

    def delete(self) -> None:
        """Delete the file; only for who holds `WHOLE`."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let everything go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
