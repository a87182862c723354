"""The producer's side of shared memory: payloads are copied once, into a segment that was lent to it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beamstream.address import Address
from beamstream.errors import SharedMemoryError, SharedMemoryProtocolError
from beamstream.frame import Payload
from beamstream.location import Location

from .connection import Connection
from .messages import DONE, ELSEWHERE, LEND, LENT, NEVER, WAIT, encode
from .segment import ALIGN_BYTES, GONE, HEAD_BYTES, Pages, epoch_of, is_segment, map_pages, touch

_ANSWERS = {LENT: (int, int), WAIT: (str,), ELSEWHERE: (str,), NEVER: (str,)}


PIECE_BYTES = 256 << 10
"""What is copied, and then looked at, in one piece [bytes]: half of a processor core's own cache."""

AHEAD_S = 1.0
"""A producer that fills half a segment in this time asks for the next one before it needs it [s]."""


class SegmentsBusyError(Exception):
    """No segment is free now; never leaves the producer.

    Attributes
    ----------
    is_ours : bool
        What is in them is still wanted, so that whoever fills them has to wait; else others have them.
    """

    def __init__(self, why: str, *, is_ours: bool) -> None:
        self.is_ours = is_ours
        super().__init__(why)


@dataclass(slots=True)
class _Written:
    """A segment that is lent: its number and epoch, the description that has its lock, where the next payload goes, how
    many in it the server has not answered for, and the highest id among those that wait for others."""

    number: int
    epoch: int
    lock: int
    pages: Pages
    offset: int = HEAD_BYTES
    n_open: int = 0
    held_id: int = 0
    begun_s: float = field(default_factory=time.monotonic)

    @property
    def is_filling_fast(self) -> bool:
        """Whether half of it was filled in no time."""
        return 2 * self.offset > self.pages.nbytes and time.monotonic() - self.begun_s < AHEAD_S


class SegmentWriter:
    """Puts the payloads of one stream into segments; not thread-safe.

    A segment is given back when the next one is begun and everything in it was answered by the server.

    Parameters
    ----------
    endpoint : str
        Who lends segments.
    address : Address
        The stream.

    Raises
    ------
    SharedMemoryUnavailableError
        If they cannot be had from here.
    """

    def __init__(self, endpoint: str, address: Address) -> None:
        self._connection = Connection(endpoint)
        self._address = address
        self._life = ""
        self._pages: dict[int, Pages] = {}
        self._current: _Written | None = None
        self._full: list[_Written] = []
        self._is_asked = False

    @property
    def is_there(self) -> bool:
        """Whether who lends segments is still there; what was put into them is lost otherwise."""
        return self._connection.is_there

    def place(self, payload: Payload, life: str, look: Callable[[Any], object] | None = None) -> Location:
        """Copy a payload into a segment.

        Parameters
        ----------
        life : str
            The life of the stream that it belongs to.
        look : callable, optional
            Is given the payload piece by piece, each right after it was copied, while the processor has it at hand.

        Raises
        ------
        SegmentsBusyError
            If no segment is free now.
        SharedMemoryError
            If payloads of this size, or any, cannot be had from here.
        """
        if life != self._life:
            self._put_aside()
            self._drop_asked()
            self._life = life
        n_bytes = memoryview(payload).nbytes
        current = self._current
        if current is None or current.offset + n_bytes > current.pages.nbytes:
            self._put_aside()
            current = self._current = self._borrow(n_bytes)
        begin = current.offset
        there, given = current.pages[begin : begin + n_bytes], np.frombuffer(payload, np.uint8)
        if look is None:
            np.copyto(there, given)  # NumPy's copy lets other threads run meanwhile
        else:
            for start in range(0, n_bytes, PIECE_BYTES):
                piece = given[start : start + PIECE_BYTES]
                np.copyto(there[start : start + PIECE_BYTES], piece)
                look(piece)
        current.offset = begin + n_bytes + -n_bytes % ALIGN_BYTES
        current.n_open += 1
        if not self._is_asked and current.is_filling_fast:
            self._ask(n_bytes)
        return Location(current.number, current.epoch, begin)

    def settled(self, located: Iterable[Location], held_id: int) -> None:
        """Take note that the server has answered for what was placed somewhere; gives back what is full.

        Parameters
        ----------
        located : iterable of Location
            Where that was.
        held_id : int
            The highest id among the messages of it that wait for others; 0 where none does.
        """
        lent = {one.number: one for one in (*self._full, self._current) if one is not None}
        for location in located:
            lent[location.segment].n_open -= 1
        # All of them: what was placed a second time may wait in the first place, too.
        for one in lent.values():
            one.held_id = max(one.held_id, held_id)
        for one in [one for one in self._full if not one.n_open]:
            self._full.remove(one)
            self._give_back(one)

    def forget(self) -> None:
        """Take note that what was placed is placed again: with that the server has answered for it, too."""
        self._put_aside()
        for one in self._full:
            one.n_open = 0

    def _drop_asked(self) -> None:
        """Put aside what was asked for in another life."""
        if self._is_asked:
            with contextlib.suppress(SegmentsBusyError, SharedMemoryError):
                self._full.append(self._take())

    def _put_aside(self) -> None:
        if self._current is not None:
            self._full.append(self._current)
            self._current = None

    def _ask(self, n_bytes: int) -> None:
        self._connection.tell(encode(LEND, str(self._address), self._life, n_bytes))
        self._is_asked = True

    def _take(self) -> _Written:
        """Take what was asked for."""
        self._is_asked = False
        (kind, *fields), descriptors = self._connection.take(_ANSWERS)
        if kind in (WAIT, ELSEWHERE):
            raise SegmentsBusyError(fields[0], is_ours=kind == WAIT)
        if kind == NEVER:
            raise SharedMemoryError(fields[0])
        number, epoch = fields
        pages = self._mapped(number, epoch, descriptors)
        return _Written(number, epoch, descriptors[0], pages)

    def _borrow(self, n_bytes: int) -> _Written:
        """Return the next segment: the one that was asked for ahead, if such a payload has room in it."""
        if self._is_asked:
            with contextlib.suppress(SegmentsBusyError, SharedMemoryError):
                ahead = self._take()
                if HEAD_BYTES + n_bytes <= ahead.pages.nbytes:
                    return ahead
                self._full.append(ahead)
        self._ask(n_bytes)
        return self._take()

    def _mapped(self, number: int, epoch: int, descriptors: list[int]) -> Pages:
        """Return the pages of a segment that was lent; where that fails the lock is let go."""
        try:
            if not descriptors:
                raise SharedMemoryProtocolError("a segment without its descriptor")
            if len(descriptors) > 1:
                self._forget_gone()
                self._pages[number] = map_pages(descriptors[1], writable=True)
                touch(self._pages[number])
            pages = self._pages.get(number)
            if pages is None or not is_segment(pages, number) or epoch_of(pages) != epoch:
                raise SharedMemoryProtocolError(f"segment {number:x} is not what was lent")
        except (OSError, ValueError) as error:
            _close(descriptors)
            raise SharedMemoryError(f"segment {number:x} cannot be mapped: {error}") from error
        except BaseException:
            _close(descriptors)
            raise
        _close(descriptors[1:])
        return pages

    def _forget_gone(self) -> None:
        for number in [number for number, pages in self._pages.items() if epoch_of(pages) == GONE]:
            del self._pages[number]

    def _give_back(self, written: _Written) -> None:
        os.close(written.lock)
        with contextlib.suppress(SharedMemoryError):  # whoever lent it is gone, and with it the need to say so
            self._connection.tell(encode(DONE, written.number, written.held_id))

    def close(self) -> None:
        """Give everything back; without a word, as if killed, where the server has not answered for all of it."""
        self._put_aside()
        self._drop_asked()
        for one in self._full:
            if one.n_open:
                os.close(one.lock)
            else:
                self._give_back(one)
        self._full = []
        self._connection.close()
        self._pages.clear()


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
