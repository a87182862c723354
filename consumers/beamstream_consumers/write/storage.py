"""The bytes of one HDF5 file that is being written, so that a writer killed at any moment leaves a whole file.

HDF5 writes its own structures (B-trees, headers) in any order, and where they were before: killed in the middle of
that, it leaves a file that cannot be read. So it writes through a `Storage`. What lies behind the end of the last
commit is new and goes into the file at once, the images with it; nothing refers to it yet. What changes older bytes
is kept in memory until the commit, then put into a journal beside the file (`journal`), and only then into the file
itself. The file therefore stands at one of its commits, or the journal brings it there when it is opened next.

HDF5 does not survive a write that fails: chunks written afterwards may be missing without a word. So on a full disk
nothing fails here: what there is no room for waits in memory, and `DiskFullError` is raised before anything more is
taken.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import h5py

from .errors import DiskFullError, OutputError
from .journal import PAGE_BYTES, Journal, write_pages

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk, or somebody's share of it, says that has no room."""

LOCK_PATIENCE_S = 0.5
"""How long a lock is waited for [s]: a killed writer's claim may be free before its file is, and readers look in."""

LIBRARY_BOUNDS = ("earliest", "v110")
"""Oldest format that does, and nothing that HDF5 1.10 cannot read. The newer ones carry a mark «open for writing», and
a file whose writer was killed could not be opened any more."""


class Storage:
    """A file for h5py's driver ``fileobj``; locked against other writers, and against readers, while it is open.

    Parameters
    ----------
    path : Path
        The file.
    new : bool
        Make it, or make it empty.

    Raises
    ------
    OSError
        If it cannot be opened, or somebody else has it.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if new else 0), 0o666)
        self._journal: Journal | None = None
        try:
            self._lock()
            self._journal = Journal(path, new=new)
            if new:
                os.ftruncate(self.descriptor, 0)
            else:
                self._recover()
            self._length = self._committed = os.fstat(self.descriptor).st_size
        except BaseException:
            self.close()
            raise
        self._position = 0
        self._pages: dict[int, bytearray] = {}
        self._waiting: list[tuple[int, bytes]] = []
        self.failure: OSError | None = None

    def _lock(self) -> None:
        """Take the lock that HDF5 takes; on file systems without locks there is the claim only."""
        ends_at = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= ends_at:
                    raise OutputError(self.path, "another writer has a lock on it, or a reader") from error
                time.sleep(LOCK_PATIENCE_S / 50)
            except OSError:
                return
            else:
                return

    # --- what HDF5 asks for ----------------------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; HDF5 knows the beginning and the end."""
        self._position = offset if whence == os.SEEK_SET else self._length + offset
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def read(self, n_bytes: int = -1) -> bytes:
        """Return bytes from the place on."""
        buffer = bytearray(n_bytes if n_bytes >= 0 else max(0, self._length - self._position))
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the place on, with what was changed since the last commit."""
        view = memoryview(buffer).cast("B")
        begin = self._position
        n_read = os.preadv(self.descriptor, [view], begin)
        if n_read < len(view):  # allocated and not written
            n_there = max(0, min(len(view), self._length - begin))
            view[n_read:n_there] = bytes(max(0, n_there - n_read))
            n_read = max(n_read, n_there)
        if self._pages and begin < self._committed:
            self._overlay(view[:n_read], begin)
        for offset, data in self._waiting:
            first, last = max(begin, offset), min(begin + n_read, offset + len(data))
            if first < last:
                view[first - begin : last - begin] = data[first - offset : last - offset]
        self._position += n_read
        return n_read

    def _overlay(self, view: memoryview, begin: int) -> None:
        for number in range(begin // PAGE_BYTES, -(-(begin + len(view)) // PAGE_BYTES)):
            page = self._pages.get(number)
            if page is not None:
                page_begin = number * PAGE_BYTES
                first, last = max(begin, page_begin), min(begin + len(view), page_begin + len(page))
                if first < last:
                    view[first - begin : last - begin] = page[first - page_begin : last - page_begin]

    def write(self, data: bytes | memoryview) -> int:
        """Write at the place: new bytes into the file, changes of older ones into memory."""
        begin, n_bytes = self._position, len(data)
        if begin < self._committed or self._waiting or not self._write_new(data, n_bytes, begin):
            view = memoryview(data).cast("B")
            n_old = max(0, min(n_bytes, self._committed - begin))
            if n_old:
                self._change(view[:n_old], begin)
            if n_old < n_bytes:
                self._append(view[n_old:], begin + n_old)
        self._position = end = begin + n_bytes
        self._length = max(self._length, end)
        return n_bytes

    def _write_new(self, data: bytes | memoryview, n_bytes: int, begin: int) -> bool:
        """Write new bytes at once, as nearly all are; False where that was not possible, and `_append` has to."""
        try:
            return os.pwrite(self.descriptor, data, begin) == n_bytes
        except OSError:
            return False

    def _append(self, view: memoryview, begin: int) -> None:
        """Write new bytes; those that there is no room for wait, and all after them."""
        done = 0
        while done < len(view):
            try:
                if self._waiting:
                    break
                done += os.pwrite(self.descriptor, view[done:], begin + done)
            except OSError as error:
                if error.errno in FULL:
                    break
                self.failure = error  # h5py's driver loses the reason
                raise
        if done < len(view):
            self._waiting.append((begin + done, bytes(view[done:])))

    @property
    def is_behind(self) -> bool:
        """Whether something waits that there was no room for."""
        return bool(self._waiting)

    def catch_up(self) -> None:
        """Write what there was no room for.

        Raises
        ------
        DiskFullError
            If there still is none; to be called again.
        """
        while self._waiting:
            offset, data = self._waiting[0]
            try:
                done = os.pwrite(self.descriptor, data, offset)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise DiskFullError(self.path, 0, sum(len(one) for _, one in self._waiting)) from error
            if done < len(data):
                self._waiting[0] = offset + done, data[done:]
            else:
                del self._waiting[0]

    def _change(self, view: memoryview, begin: int) -> None:
        done = 0
        while done < len(view):
            number, offset = divmod(begin + done, PAGE_BYTES)
            page = self._pages.get(number)
            if page is None:
                size = min(PAGE_BYTES, self._committed - number * PAGE_BYTES)
                if offset == 0 and len(view) - done >= size:
                    self._pages[number] = bytearray(view[done : done + size])  # all of it is new
                    done += size
                    continue
                page = bytearray(os.pread(self.descriptor, size, number * PAGE_BYTES).ljust(size, b"\0"))
                self._pages[number] = page
            part = view[done : done + len(page) - offset]
            page[offset : offset + len(part)] = part
            done += len(part)

    def truncate(self, length: int | None = None) -> int:
        """Set the length; the file itself is cut only with the commit."""
        self._length = self._position if length is None else length
        return self._length

    def flush(self) -> None:
        """Do nothing: what is to be safe is said by `commit`."""

    # --- commits -----------------------------------------------------------------------------------------------------

    def commit(self, *, to_disk: bool) -> None:
        """Make what HDF5 has flushed the state that a file is found in, with `to_disk` also after a loss of power.

        Raises
        ------
        DiskFullError
            If there is no room; all is kept, to be called again.
        """
        self.catch_up()
        try:
            self._commit(to_disk=to_disk)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DiskFullError(self.path, 0, len(self._pages) * PAGE_BYTES) from error

    def _commit(self, *, to_disk: bool) -> None:
        if self._journal is None:
            raise RuntimeError("a file was committed after it was closed")
        if to_disk:
            os.fdatasync(self.descriptor)  # what the journal will refer to
        if self._pages or self._length != self._committed:
            numbers = sorted(self._pages)
            self._journal.write(self._length, numbers, [self._whole_page(one) for one in numbers], to_disk=to_disk)
            write_pages(self.descriptor, self._pages)
        if os.fstat(self.descriptor).st_size < self._length:
            os.ftruncate(self.descriptor, self._length)
        self._committed = self._length
        self._pages.clear()
        if to_disk:
            os.fsync(self.descriptor)

    def _whole_page(self, number: int) -> bytes | bytearray:
        """Return a page as it will be; of the last old one, the rest is new and in the file."""
        page = self._pages[number]
        if len(page) == PAGE_BYTES:
            return page
        rest = os.pread(self.descriptor, PAGE_BYTES - len(page), number * PAGE_BYTES + len(page))
        return (page + rest).ljust(PAGE_BYTES, b"\0")

    def _recover(self) -> None:
        """Bring the file to its last commit: what is in the journal may have come into the file only in part."""
        record = self._journal.read() if self._journal is not None else None
        if record is None:
            return
        if os.fstat(self.descriptor).st_size < record.length:
            os.ftruncate(self.descriptor, record.length)
        write_pages(self.descriptor, record.pages)
        os.ftruncate(self.descriptor, record.length)

    def close(self, *, is_whole: bool = False) -> None:
        """Let the file go; of one that was closed well the journal is not needed any more."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
        if is_whole:
            if self.descriptor >= 0 and os.fstat(self.descriptor).st_size > self._length:
                os.ftruncate(self.descriptor, self._length)
            if journal is not None:
                journal.delete()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def open_storage(path: Path, *, new: bool) -> tuple[h5py.File, Storage]:
    """Open a file that nobody else writes.

    Raises
    ------
    OSError
        If that is not possible.
    """
    storage = Storage(path, new=new)
    try:
        return h5py.File(storage, "w" if new else "r+", libver=LIBRARY_BOUNDS), storage
    except BaseException:
        storage.close()
        raise
