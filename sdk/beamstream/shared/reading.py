"""The readers' side of shared memory: views of the pages themselves, nothing is copied.

A view keeps the segment that it lies in from being used again, for as long as anybody has it; see `segment`.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence

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
    leases: dict[tuple[int, int], memoryview | None] = {}
    found: list[memoryview | None] = []
    for (number, epoch, offset), n_bytes in wanted:
        which = number, epoch
        if which not in leases:
            held = lease_of(number, epoch)
            leases[which] = None if held is None else held.data
        pages = leases[which]
        if pages is None or offset < HEAD_BYTES or offset + n_bytes > pages.nbytes:
            found.append(None)
        else:
            found.append(pages[offset : offset + n_bytes])
    return found


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
        self._mapped: dict[int, tuple[int, Pages]] = {}
        self._unknown: dict[int, None] = {}
        self._leases: weakref.WeakValueDictionary[tuple[int, int], Lease] = weakref.WeakValueDictionary()

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
            held = self._leases.get((number, epoch))
            if held is not None:
                return held
            known = self._mapped.get(number) or self._map(number)
            if known is None:
                return None
            try:
                held = lease(*known, epoch)
            except OSError as error:
                raise SharedMemoryError(f"segment {number:x} cannot be opened: {error}") from error
            if held is not None:
                self._leases[number, epoch] = held
            return held

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


class _Shared:
    """The reader of one endpoint, which all consumers of this process use."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._connection, self._pid = Connection(endpoint), os.getpid()
        self._lock = threading.Lock()
        self.reader = SegmentReader(self._show)
        self.n_users = 0

    def _connected(self) -> Connection:
        """Return a connection; one that has ended leaves the others of this process not without any."""
        with self._lock:
            if self._pid != os.getpid() or not self._connection.is_there:  # a child of a fork needs its own
                self._connection.close()
                self._connection, self._pid = Connection(self._endpoint), os.getpid()
            return self._connection

    def close(self) -> None:
        self.reader.close()
        self._connection.close()

    def _show(self, number: int) -> int | None:
        (kind, _), descriptors = self._connected().ask(encode(SHOW, number), _ANSWERS)
        if kind == UNKNOWN or not descriptors:
            return None
        for more in descriptors[1:]:
            os.close(more)
        return descriptors[0]


_lock = threading.Lock()
_readers: dict[str, _Shared] = {}


def open_reader(endpoint: str) -> SegmentReader:
    """Return the reader of an endpoint; `close_reader` has to follow.

    Raises
    ------
    SharedMemoryUnavailableError
        If segments cannot be had from here.
    """
    with _lock:
        if endpoint not in _readers:
            _readers[endpoint] = _Shared(endpoint)
        shared = _readers[endpoint]
        shared.n_users += 1
        return shared.reader


def close_reader(endpoint: str) -> None:
    """Say that a reader is not needed any more; the last user's word closes it."""
    with _lock:
        shared = _readers.get(endpoint)
        if shared is None:
            return
        shared.n_users -= 1
        if shared.n_users == 0:
            del _readers[endpoint]
            shared.close()


def _begin_anew() -> None:
    """In the child of a fork: views that it has stay good; connections are its parent's, and locks may be held."""
    global _lock
    _lock = threading.Lock()
    _readers.clear()


os.register_at_fork(after_in_child=_begin_anew)
