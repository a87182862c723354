"""The segments of shared memory that a broker keeps: made, lent to producers, taken back, and used again.

A segment is lent to one producer for one life of one stream. When it comes back, what is in it may still be wanted; it
is free again when the stream's release cursor has passed the last entry that leads into it (see `collecting`), and is
used again when no reader holds a view of it, which the kernel knows (`beamstream.shared.segment`). All segments
together stay below a limit in bytes.
"""

from __future__ import annotations

import enum
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from beamstream.address import Address
from beamstream.location import Location
from beamstream.shared.messages import ELSEWHERE, NEVER, WAIT
from beamstream.shared.reading import Leases, views_of
from beamstream.shared.segment import (
    GONE,
    HEAD_BYTES,
    Lease,
    Pages,
    create,
    locked_for_writing,
    map_pages,
    renew,
    reopen,
)
from beamstream_broker.position import START, Place

from .holders import describe, file_id, find_holders

log = logging.getLogger(__name__)

SEGMENTS_OF_LIMIT = 64
"""Into how many segments the memory is cut, so that what one reader holds back, or one producer has, is a small
part."""

SMALLEST_BYTES = 1 << 20
LARGEST_BYTES = 64 << 20
"""Sizes of segments unless payloads are large [bytes]: 64 MiB take a tenth of a second at 5 Gb/s, and some hundredths
to be made."""

MOST_SEGMENTS = 128
"""How many segments there are at most, unless payloads are large: whoever has one mapped has two descriptors for it, a
third while it has views of it, and often 1024 in all."""

PAYLOADS_OF_SEGMENT = 4
"""How many payloads of the largest size one segment holds at least: a fifth at most is left over at its end."""

LENT_SHARE = 0.5
"""Share of the memory that producers may have before they have filled it; more of them go through the server."""


PINNED_FOR_S = 5.0
"""How long it is said that readers kept a producer from getting a segment [s]."""


class State(enum.Enum):
    """What a segment is doing."""

    FREE = "free"
    LENT = "lent"
    FULL = "full"
    LEFT = "left"  # by a producer that is gone without having said what is in it


class NoSegmentError(Exception):
    """No segment can be lent; never leaves the broker.

    Attributes
    ----------
    answer : str
        What the producer is told: `WAIT`, `ELSEWHERE` or `NEVER`; see `beamstream.shared.messages`.
    """

    def __init__(self, answer: str, why: str) -> None:
        self.answer = answer
        super().__init__(why)


@dataclass(slots=True, eq=False)
class Segment:
    """One segment.

    Attributes
    ----------
    number, size_bytes : int
        What names it, and how long it is.
    descriptor : int
        The broker's own; whoever else gets one gets a description of its own.
    pages : array of uint8
        All of it, mapped.
    epoch : int
        Which use of it is going on.
    address, life : Address or None, str
        Whose payloads are in it.
    held_id : int
        The highest id among messages in it that waited for others when it came back.
    is_known : bool
        Whether its producer has said that, or it was found out.
    last : tuple of int or None
        The last entry that can lead into it; None where that is not known yet.
    since_s : float
        When it came to be what it is (`time.monotonic`).
    """

    number: int
    size_bytes: int
    descriptor: int
    pages: Pages
    epoch: int = 0
    state: State = State.FREE
    address: Address | None = None
    life: str = ""
    held_id: int = 0
    is_known: bool = False
    last: Place | None = None
    since_s: float = field(default_factory=time.monotonic)

    def become(self, state: State) -> None:
        """Go over into another state."""
        self.state = state
        self.since_s = time.monotonic()


@dataclass(slots=True)
class PoolCounts:
    """What was done up to now: segments made, lent, used again, given up; times that a producer had to wait, that one
    was sent to the server instead, and that a reader kept a free segment from being used."""

    n_made: int = 0
    n_lent: int = 0
    n_reused: int = 0
    n_given_up: int = 0
    n_waits: int = 0
    n_refused: int = 0
    n_pinned: int = 0


class Pool:
    """All segments of one broker; safe to share between threads.

    Parameters
    ----------
    limit_bytes : int
        How much all of them may take [bytes].
    on_size : callable, optional
        Is told what they take [bytes], before that grows and after it shrank.
    """

    def __init__(self, limit_bytes: int, on_size: Callable[[int], None] = lambda _: None) -> None:
        self.counts = PoolCounts()
        self._limit_bytes = limit_bytes
        self._on_size = on_size
        self._first = secrets.randbits(40) << 24
        self._n_made = 0
        self._size_bytes = 0
        self._segments: dict[int, Segment] = {}
        self._leases = Leases()
        self._closed = False
        self._pinned, self._pinned_at = "", -PINNED_FOR_S
        self._changed = threading.Condition()

    @property
    def limit_bytes(self) -> int:
        """How much all segments may take [bytes]."""
        return self._limit_bytes

    @property
    def size_bytes(self) -> int:
        """What all segments take [bytes]."""
        return self._size_bytes

    def bytes_of(self, *states: State) -> int:
        """Return what the segments in some states take [bytes]."""
        with self._changed:
            return sum(one.size_bytes for one in self._segments.values() if one.state in states)

    def resize(self, limit_bytes: int) -> None:
        """Set another limit; what is free beyond it is given up."""
        with self._changed:
            self._limit_bytes = limit_bytes
            self._give_up_free(self._size_bytes - limit_bytes)

    def lend(
        self, address: Address, life: str, payload_bytes: int, mapped: Container[int], wait_s: float
    ) -> tuple[Segment, int]:
        """Lend a segment to a producer.

        Parameters
        ----------
        payload_bytes : int
            What has to have room in it [bytes].
        mapped : container of int
            The segments that the producer has mapped already: one of these costs it the least.
        wait_s : float
            How long one may be waited for [s].

        Returns
        -------
        Segment, int
            The segment, and a descriptor with the lock that its writer has to hold.

        Raises
        ------
        NoSegmentError
            If there is none.
        """
        wanted_bytes = HEAD_BYTES + payload_bytes
        size_bytes = self._size_for(wanted_bytes)
        ends_at = time.monotonic() + wait_s
        with self._changed:
            while not self._closed:
                segment = self._find(wanted_bytes, mapped)
                if segment is not None:
                    return self._lend(segment, address, life)
                if self._make_room(size_bytes):
                    break
                left_s = ends_at - time.monotonic()
                if left_s <= 0:
                    self.counts.n_waits += 1
                    raise self._none()
                self._changed.wait(left_s)
            else:
                raise NoSegmentError(WAIT, "the broker ends")
        return self._lend_new(size_bytes, address, life)

    def _size_for(self, wanted_bytes: int) -> int:
        """Return how large a new segment for such payloads is; raises `NoSegmentError` where there shall be none."""
        largest_bytes = max(LARGEST_BYTES, self._limit_bytes // MOST_SEGMENTS)
        usual = min(largest_bytes, max(SMALLEST_BYTES, self._limit_bytes // SEGMENTS_OF_LIMIT >> 20 << 20))
        size_bytes = usual if wanted_bytes * PAYLOADS_OF_SEGMENT <= usual else wanted_bytes * PAYLOADS_OF_SEGMENT
        size_bytes += -size_bytes % HEAD_BYTES
        lent_bytes = self.bytes_of(State.LENT, State.LEFT)
        if lent_bytes + size_bytes > LENT_SHARE * self._limit_bytes:
            self.counts.n_refused += 1
            raise NoSegmentError(
                NEVER if size_bytes > LENT_SHARE * self._limit_bytes else ELSEWHERE,
                f"a segment of {size_bytes} bytes is too large beside the {lent_bytes} that producers have of "
                f"{self._limit_bytes}",
            )
        return size_bytes

    def _find(self, wanted_bytes: int, mapped: Container[int]) -> Segment | None:
        """Return a free segment that nobody looks at, in its next epoch."""
        fitting = [one for one in self._segments.values() if one.state is State.FREE and one.size_bytes >= wanted_bytes]
        for segment in sorted(fitting, key=lambda one: (one.number not in mapped, one.size_bytes, one.since_s)):
            if renew(segment.descriptor, segment.pages, segment.epoch + 1):
                segment.epoch += 1
                self.counts.n_reused += 1
                return segment
            self.counts.n_pinned += 1
        return None

    def _make_room(self, size_bytes: int) -> bool:
        """Whether a new segment may be made; what is free, and too small for what is wanted, is given up for it."""
        self._give_up_free(self._size_bytes + size_bytes - self._limit_bytes)
        if self._size_bytes + size_bytes > self._limit_bytes:
            return False
        self._size_bytes += size_bytes
        return True

    def _lend(self, segment: Segment, address: Address, life: str) -> tuple[Segment, int]:
        try:
            lock = locked_for_writing(segment.descriptor)
        except OSError as error:
            raise NoSegmentError(ELSEWHERE, f"a segment cannot be opened: {error}") from error
        segment.address, segment.life = address, life
        segment.held_id, segment.is_known, segment.last = 0, False, None
        segment.become(State.LENT)
        self.counts.n_lent += 1
        return segment, lock

    def _lend_new(self, size_bytes: int, address: Address, life: str) -> tuple[Segment, int]:
        """Make a segment, for which there is room, and lend it; the others need not wait for that."""
        try:
            self._on_size(self._size_bytes)
            with self._changed:
                self._n_made += 1
                number = self._first + self._n_made
            descriptor = create(number, size_bytes)
            pages = map_pages(descriptor, writable=True)
        except (OSError, ValueError) as error:
            with self._changed:
                self._size_bytes -= size_bytes
            raise NoSegmentError(ELSEWHERE, f"no memory for another segment: {error}") from error
        with self._changed:
            if self._closed:
                os.close(descriptor)
                raise NoSegmentError(WAIT, "the broker ends")
            segment = self._segments[number] = Segment(number, size_bytes, descriptor, pages)
            self.counts.n_made += 1
            return self._lend(segment, address, life)

    def _give_up_free(self, n_bytes: int) -> None:
        """Give up free segments until they make up so many bytes, or there are no more; for readers they are gone."""
        for segment in [one for one in self._segments.values() if one.state is State.FREE]:
            if n_bytes <= 0:
                break
            if renew(segment.descriptor, segment.pages, GONE):
                os.ftruncate(segment.descriptor, HEAD_BYTES)  # whoever has it mapped keeps nothing but its head
                os.close(segment.descriptor)
                del self._segments[segment.number]
                self._size_bytes -= segment.size_bytes
                n_bytes -= segment.size_bytes
                self.counts.n_given_up += 1
                self._on_size(self._size_bytes)

    def _none(self) -> NoSegmentError:
        """Return why there is none: what readers keep views of does not keep producers waiting."""
        sizes = {file_id(one.descriptor): one.size_bytes for one in self._segments.values() if one.state is State.FREE}
        if not sizes:
            return NoSegmentError(WAIT, "")
        why = f"readers hold views of all of the shared memory that is free: {describe(find_holders(sizes))}"
        self._pinned, self._pinned_at = why, time.monotonic()
        return NoSegmentError(ELSEWHERE, why)

    @property
    def pinned(self) -> str:
        """Who keeps free segments from being used again, if a producer went without one for that just now."""
        return self._pinned if time.monotonic() - self._pinned_at < PINNED_FOR_S else ""

    def take_back(self, number: int, held_id: int) -> None:
        """Take a segment back from its producer, who says what is in it."""
        with self._changed:
            segment = self._segments.get(number)
            if segment is not None and segment.state is State.LENT:
                segment.held_id, segment.is_known = held_id, True
                segment.become(State.FULL)

    def leave(self, number: int) -> None:
        """Take a segment back from a producer that is gone."""
        with self._changed:
            segment = self._segments.get(number)
            if segment is not None and segment.state is State.LENT:
                segment.become(State.LEFT)

    def show(self, number: int) -> int | None:
        """Return a descriptor of a segment, to read; None where there is none of that number."""
        with self._changed:
            segment = self._segments.get(number)
            return None if segment is None else reopen(segment.descriptor, os.O_RDONLY)

    def read(self, wanted: Sequence[tuple[Location, int]]) -> list[memoryview | None]:
        """Return views of payloads, given as place and length [bytes]; None where one is gone.

        Raises
        ------
        SharedMemoryError
            If this process has too many files open.
        """
        return views_of(wanted, self._lease)

    def _lease(self, number: int, epoch: int) -> Lease | None:
        with self._changed:
            segment = self._segments.get(number)
            return None if segment is None else self._leases.take(number, epoch, segment.descriptor, segment.pages)

    def segment_bytes(self, number: int) -> int:
        """Return how large a segment is [bytes]; 0 where there is none of that number."""
        with self._changed:
            segment = self._segments.get(number)
            return 0 if segment is None else segment.size_bytes

    def map_descriptor(self, segment: Segment) -> int:
        """Return a descriptor of a segment that is lent, for its producer to map."""
        return reopen(segment.descriptor, os.O_RDWR)

    def taken(self) -> list[Segment]:
        """Return the segments that may hold something that is still wanted."""
        with self._changed:
            return [one for one in self._segments.values() if one.state in (State.FULL, State.LEFT)]

    def addresses(self) -> frozenset[Address]:
        """Return the streams that have something in segments."""
        with self._changed:
            return frozenset(one.address for one in self._segments.values() if one.address is not None)

    def free(self, segments: list[Segment]) -> None:
        """Take note that nothing in some segments is wanted any more."""
        with self._changed:
            for segment in segments:
                segment.address, segment.last = None, START
                segment.become(State.FREE)
            if segments:
                self._changed.notify_all()

    def close(self) -> None:
        """Give all segments up; whoever has one mapped keeps it until it lets go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for segment in self._segments.values():
                os.close(segment.descriptor)
            self._segments.clear()
            self._size_bytes = 0
