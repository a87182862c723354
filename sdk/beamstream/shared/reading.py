"""The readers' side of shared memory: views of the pages themselves, nothing is copied.

A view keeps the segment that it lies in from being used again, for as long as anybody has it; see `segment`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from beamstream.errors import SharedMemoryError
from beamstream.location import Location

from .connection import Connection
from .messages import SHOW, SHOWN, UNKNOWN, encode
from .segment import GONE, HEAD_BYTES, Lease, Pages, epoch_of, is_segment, lease, map_pages

log = logging.getLogger(__name__)

_ANSWERS = {SHOWN: (int,), UNKNOWN: (int,)}

MAX_UNKNOWN = 4096
"""How many segments that are gone are remembered, so that nobody asks for them for every message."""

Show = Callable[[int], int | None]
"""Gives a descriptor of a segment, which is the caller's then; None where there is no such segment any more."""


def views_of(
    wanted: Sequence[tuple[Location, int]], lease_of: Callable[[int, int], Lease | None]
) -> list[memoryview | None]:
    """Return views of payloads, given as place and length [bytes]; None where one is gone.

    Parameters
    ----------
    lease_of : callable
        Gives the pages of a segment, by its number and epoch; None where they are gone.
    """
    found: list[memoryview | None] = []
    current, pages = None, None
    for (number, epoch, offset), n_bytes in wanted:
        if (number, epoch) != current:  # payloads that are asked for together mostly lie in one segment
            current = number, epoch
            held = lease_of(number, epoch)
            pages = None if held is None else held.data
        if pages is None or offset < HEAD_BYTES or offset + n_bytes > pages.nbytes:
            found.append(None)
        else:
            found.append(pages[offset : offset + n_bytes])
    return found


class Leases:
    """The leases that somebody has a view of: one for each use of a segment, whoever reads it; not thread-safe."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[tuple[int, int], Lease] = WeakValueDictionary()

    def take(self, number: int, epoch: int, descriptor: int, pages: Pages) -> Lease | None:
        """Return the lease of a segment; None where that use of it is over.

        Raises
        ------
        SharedMemoryError
            If the process has too many files open.
        """
        held = self._held.get((number, epoch))
        if held is None:
            try:
                held = lease(descriptor, pages, epoch)
            except OSError as error:
                raise SharedMemoryError(f"segment {number:x} cannot be opened: {error}") from error
            if held is not None:
                self._held[number, epoch] = held
        return held


class SegmentReader:
    """The segments of one broker, as far as this process has needed them; safe to share between threads.

    Parameters
    ----------
    show : callable
        Where segments come from.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._leases = Leases()
        self._mapped: dict[int, tuple[int, Pages]] = {}
        self._unknown: dict[int, None] = {}

    def read(self, wanted: Sequence[tuple[Location, int]]) -> list[memoryview | None]:
        """Return views of payloads, given as place and length [bytes]; None where one is gone.

        Raises
        ------
        SharedMemoryError
            If segments cannot be had now.
        """
        return views_of(wanted, self._lease)

    def _lease(self, number: int, epoch: int) -> Lease | None:
        with self._lock:
            known = self._mapped.get(number)
            if known is None:
                known = self._map(number)
            return None if known is None else self._leases.take(number, epoch, *known)

    def _map(self, number: int) -> tuple[int, Pages] | None:
        if number in self._unknown:
            return None
        descriptor = self._show(number)
        if descriptor is None:
            self._unknown[number] = None
            if len(self._unknown) > MAX_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
            return None
        try:
            pages = map_pages(descriptor, writable=False)
            if not is_segment(pages, number):
                raise SharedMemoryError(f"what was shown as segment {number:x} is none")
        except (OSError, ValueError) as error:
            os.close(descriptor)
            raise SharedMemoryError(f"segment {number:x} cannot be mapped: {error}") from error
        except BaseException:
            os.close(descriptor)
            raise
        self._let_go([other for other, (_, known) in self._mapped.items() if epoch_of(known) == GONE])
        self._mapped[number] = descriptor, pages
        return descriptor, pages

    def _let_go(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            descriptor, _ = self._mapped.pop(number)
            os.close(descriptor)

    def close(self) -> None:
        """Let all segments go; views that somebody still has stay good."""
        with self._lock:
            self._let_go(list(self._mapped))


class SharedReader(SegmentReader):
    """The reader of one endpoint, which all consumers of this process use.

    Parameters
    ----------
    endpoint : str
        As the broker announces it.

    Raises
    ------
    SharedMemoryUnavailableError
        If segments cannot be had from here.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._connection, self._pid = Connection(endpoint), os.getpid()
        self._n_users = 0
        super().__init__(self._ask)

    def _ask(self, number: int) -> int | None:
        (kind, _), descriptors = self._connected().ask(encode(SHOW, number), _ANSWERS)
        if kind == UNKNOWN or not descriptors:
            return None
        for more in descriptors[1:]:
            os.close(more)
        return descriptors[0]

    def _connected(self) -> Connection:
        """Return a connection; one that has ended leaves the others of this process not without any."""
        if self._pid != os.getpid() or not self._connection.is_there:  # a child of a fork needs its own
            self._connection.close()
            self._connection, self._pid = Connection(self._endpoint), os.getpid()
        return self._connection

    @classmethod
    def open(cls, endpoint: str) -> SharedReader:
        """Return the reader of an endpoint; `release` has to follow."""
        with _lock:
            reader = _readers.get(endpoint)
            if reader is None:
                reader = _readers[endpoint] = cls(endpoint)
            reader._n_users += 1
            return reader

    def release(self) -> None:
        """Say that it is not needed any more; the last user's word closes it."""
        with _lock:
            self._n_users -= 1
            if self._n_users > 0:
                return
            if _readers.get(self._endpoint) is self:
                del _readers[self._endpoint]
        self.close()
        self._connection.close()


_lock = threading.Lock()
_readers: dict[str, SharedReader] = {}


def _begin_anew() -> None:
    """In the child of a fork: views that it has stay good; connections are its parent's, and locks may be held."""
    global _lock
    _lock = threading.Lock()
    _readers.clear()


os.register_at_fork(after_in_child=_begin_anew)
