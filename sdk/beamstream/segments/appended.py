"""A file that is only appended to, under a lock, and never left with half of what was appended."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from beamstream.frame import Payload

from .errors import SegmentBusyError, SegmentClosedError, write_error

MAX_PARTS = 1024
"""Most pieces of memory in one system call: Linux's IOV_MAX."""

CALL_BYTES = 4 << 20
"""Bytes written with one system call before the disk is set to work on them [bytes]."""

FOLDER_MODE = 0o755
FILE_MODE = 0o644
"""Rights of what is made, before the umask."""


class AppendedFile:
    """An open, locked file; what is behind `size_bytes` does not count, and is cut off before anything is written.

    Attributes
    ----------
    path : Path
        The file.
    size_bytes : int
        How long what was appended whole is [bytes].
    """

    def __init__(self, path: Path, descriptor: int, unsynced_folders: Iterable[Path]) -> None:
        self.path = path
        self.size_bytes = 0
        self._descriptor: int | None = descriptor
        self._ragged = False  # something may stand behind size_bytes
        self._unsynced_folders = list(unsynced_folders)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new file, and the folders it needs; raises `SegmentWriteError`."""
        try:
            new_folders = _make_folders(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise write_error(path, error, "create") from error
        file = cls(path, descriptor, [path.parent, *new_folders])
        file._lock()
        return file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file that is there; raises `SegmentWriteError`, `SegmentBusyError`."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise write_error(path, error, "open") from error
        file = cls(path, descriptor, [path.parent])
        file._lock()
        return file

    def _lock(self) -> None:
        """Keep other writers away until the file is let go, also by a process that is killed."""
        try:
            fcntl.flock(self._open_descriptor(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise SegmentBusyError(self.path) from error
        except OSError as error:
            self.close()
            raise write_error(self.path, error, "lock") from error

    @property
    def is_open(self) -> bool:
        """Whether it can be appended to."""
        return self._descriptor is not None

    def append(self, parts: Iterable[Payload]) -> None:
        """Write pieces of memory one behind the other, all of them or none, without copying them.

        Raises
        ------
        DiskFullError, SegmentWriteError
            If they cannot be written; trying again is safe.
        SegmentClosedError
            If the file was let go.
        """
        descriptor = self._open_descriptor()
        self._trim()
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        offset = self.size_bytes
        self._ragged = True
        try:
            while views:
                written = os.pwritev(descriptor, _first(views), offset)
                _begin_writing(descriptor, offset, written)
                offset += written
                views = _behind(views, written)
        except OSError as error:
            self.cut(self.size_bytes)
            raise write_error(self.path, error, "write") from error
        self.size_bytes, self._ragged = offset, False

    def cut(self, size_bytes: int) -> None:
        """Let it end here; where the operating system refuses, it is tried again before the next append."""
        self.size_bytes, self._ragged = size_bytes, True
        with contextlib.suppress(OSError):
            os.ftruncate(self._open_descriptor(), size_bytes)
            self._ragged = False

    def _trim(self) -> None:
        if self._ragged:
            try:
                os.ftruncate(self._open_descriptor(), self.size_bytes)
            except OSError as error:
                raise write_error(self.path, error, "truncate") from error
            self._ragged = False

    def sync(self) -> None:
        """Make everything safe, the first time the folders' entries too; raises `OSError`."""
        os.fdatasync(self._open_descriptor())
        while self._unsynced_folders:
            _sync_folder(self._unsynced_folders[0])
            del self._unsynced_folders[0]

    def close(self) -> None:
        """Let it go as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise SegmentClosedError(self.path)
        return self._descriptor


def _first(views: list[memoryview]) -> list[memoryview]:
    """Return the pieces of memory for one system call, at least one."""
    n_bytes = 0
    for number, view in enumerate(views[:MAX_PARTS]):
        n_bytes += len(view)
        if n_bytes > CALL_BYTES and number:
            return views[:number]
    return views[:MAX_PARTS]


def _begin_writing(descriptor: int, offset: int, length: int) -> None:
    """Let the disk begin with what was just written, while the next is copied; nothing is waited for.

    Linux does so when it is told that the pages will not be needed: it sets out to write those that are dirty, and
    keeps them until they are written.
    """
    if length >= CALL_BYTES // 2:
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _behind(views: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of pieces of memory of which `written` bytes are done."""
    for done, view in enumerate(views):
        if written < len(view):
            return [view[written:], *views[done + 1 :]]
        written -= len(view)
    return []


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the folders that got a new entry by that."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    return [one.parent for one in missing]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
