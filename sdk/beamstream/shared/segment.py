"""A segment: pages that several processes see, with a head that says which use of them is going on.

The kernel keeps the pages for as long as a process has them open or mapped, and no longer: nothing is left when the
last one is gone, however it ended. A reader that holds a view keeps a shared lock on a description of its own
(`lease`), which ends with the last view, or with the process; whoever wants to use the segment again needs the
exclusive one first, and changes the epoch under it (`renew`). So a reader has the right bytes, or finds another epoch
and knows that they are gone.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from .room import room_bytes

MAGIC = b"bs-shm1\0"
_HEAD = struct.Struct("<8sQII")
"""Magic, the segment's number, its epoch, 4 bytes of nothing."""

_EPOCH = struct.Struct("<I")
_EPOCH_AT = 16

HEAD_BYTES = 4096
"""A page for the head: payloads begin behind it."""

_ZEROS = bytes(1 << 20)
"""What a new segment is written with."""

ALIGN_BYTES = 64
"""Payloads begin at multiples of this [bytes]: a line of the processor's caches."""

SPARE_OF_SIZE = 2
"""How many times the size of a new segment the machine must have left: others take memory, too."""

GONE = 0xFFFFFFFF
"""Epoch of a segment that its broker has given up: whoever still maps it can let it go."""

Pages = npt.NDArray[np.uint8]


def create(number: int, size_bytes: int) -> int:
    """Make a segment, all of its pages there and zero; returns its descriptor.

    Raises
    ------
    OSError
        If there is no memory for it.
    """
    left_bytes = room_bytes()
    if SPARE_OF_SIZE * size_bytes > left_bytes:
        raise OSError(errno.ENOMEM, f"{size_bytes} bytes are wanted, and the machine has {left_bytes} left")
    descriptor = os.memfd_create(f"beamstream-{number:016x}", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o644)  # readers of other users open it again, to read
        # Written, not only allocated: whoever touched a page first would have to wait until the kernel has cleared it.
        for begin in range(0, size_bytes, len(_ZEROS)):
            _write(descriptor, _ZEROS[: size_bytes - begin], begin)
        _write(descriptor, _HEAD.pack(MAGIC, number, 0, 0), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        n_bytes = os.pwrite(descriptor, data, offset)
        data, offset = data[n_bytes:], offset + n_bytes


def reopen(descriptor: int, flags: int) -> int:
    """Open what a descriptor leads to a second time: with a description, and so with locks, of its own."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)


def map_pages(descriptor: int, *, writable: bool) -> Pages:
    """Map a segment; the pages are let go with the last array or view of them.

    Raises
    ------
    OSError, ValueError
        If it cannot be mapped.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return np.frombuffer(mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=protection), np.uint8)


def touch(pages: Pages) -> None:
    """Have the kernel put all pages of a segment into this process, for its writer; only of one that is lent.

    One page after the other, when a payload comes to it, would take five times as long: of pages that are only read the
    kernel puts in their neighbours, too. Other threads run meanwhile, which they could not if `mmap` did it.
    """
    pages[:: mmap.PAGESIZE].sum()


def is_segment(pages: Pages, number: int) -> bool:
    """Whether this is the segment of that number."""
    if pages.nbytes < HEAD_BYTES:
        return False
    magic, found, _, _ = _HEAD.unpack_from(pages.data)
    return (magic, found) == (MAGIC, number)


def epoch_of(pages: Pages) -> int:
    """Return which use of a segment is going on."""
    epoch: int = _EPOCH.unpack_from(pages.data, _EPOCH_AT)[0]
    return epoch


class Lease(np.ndarray[Any, np.dtype[np.uint8]]):
    """The pages of a segment in one epoch; as long as any view of it is there, they stay as they are."""

    descriptor: int | None = None

    def __del__(self) -> None:
        """Let the lock go, by closing the description that has it."""
        if self.descriptor is not None:
            _close(self.descriptor)


_close = os.close
"""Kept here, because views may go when the interpreter ends, and modules have gone before."""


def lease(descriptor: int, pages: Pages, epoch: int) -> Lease | None:
    """Keep a segment as it is for a reader; None where that use of it is over.

    Raises
    ------
    OSError
        If the process has too many files open.
    """
    own = reopen(descriptor, os.O_RDONLY)
    try:
        fcntl.flock(own, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # just now it is being taken for its next use
        os.close(own)
        return None
    except BaseException:
        os.close(own)
        raise
    if epoch_of(pages) != epoch:  # under the lock: it does not change any more
        os.close(own)
        return None
    held = pages.view(Lease)
    held.descriptor = own
    return held


def locked_for_writing(descriptor: int) -> int:
    """Return a new description of a segment with a shared lock, for the process that writes it."""
    own = reopen(descriptor, os.O_RDWR)
    try:
        fcntl.flock(own, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BaseException:
        os.close(own)
        raise
    return own


def renew(descriptor: int, pages: Pages, epoch: int) -> bool:
    """Begin another use of a segment; False where somebody still holds a view of it, or writes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        _EPOCH.pack_into(pages.data, _EPOCH_AT, epoch)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
