"""What replies may hold in memory until their readers have taken them, in all and for each reader.

A view of a payload in shared memory keeps the whole segment from being used again, and so keeps a producer waiting, if
it comes to that. Slow readers are to hold up no detector: what replies hold of shared memory is bounded, too, and what
is beyond that is copied into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from beamstream.fetch import MAX_REPLY_BYTES

LIMIT_BYTES = 256 << 20
"""Payload bytes on their way to all readers [bytes]: eight replies; as much as one reader may hold itself."""

READER_LIMIT_BYTES = 2 * MAX_REPLY_BYTES
"""Payload bytes on their way to one reader [bytes]: one reply that it takes while the next one is read."""

READER_LIMIT_REPLIES = 8
"""Replies on their way to one reader; twice what ours asks for at once."""


PINNED_SHARE = 0.25
"""Share of the shared memory that all replies may keep from being used again."""


class Tracker(Protocol):
    """Knows whether ZeroMQ has let a reply go."""

    @property
    def done(self) -> bool:
        """Whether it has."""
        ...


@dataclass(slots=True, eq=False)
class _OnTheWay:
    """A reply: its payload bytes, and the segments that it holds with their sizes [bytes]."""

    tracker: Tracker
    n_bytes: int
    segments: Mapping[int, int]


@dataclass(slots=True)
class Allowance:
    """Counts what is on its way; not thread-safe."""

    queued_bytes: int = 0
    _on_the_way: dict[bytes, list[_OnTheWay]] = field(default_factory=dict)

    def settle(self) -> None:
        """Forget what readers have taken, and what was for those that are gone."""
        for reader, replies in list(self._on_the_way.items()):
            left = [one for one in replies if not one.tracker.done]
            if left:
                self._on_the_way[reader] = left
            else:
                del self._on_the_way[reader]
        self.queued_bytes = sum(one.n_bytes for replies in self._on_the_way.values() for one in replies)

    def add(self, reader: bytes, tracker: Tracker, room: Room) -> None:
        """Take note of a reply that was sent, by the room that it took."""
        self._on_the_way.setdefault(reader, []).append(_OnTheWay(tracker, room.taken_bytes, room.segments))
        self.queued_bytes += room.taken_bytes

    @property
    def pinned(self) -> dict[int, int]:
        """The segments that replies hold, with their sizes [bytes]."""
        return {
            number: size
            for replies in self._on_the_way.values()
            for one in replies
            for number, size in one.segments.items()
        }

    def room(self, reader: bytes, shared_bytes: int = 0) -> Room:
        """Return what one more reply to a reader may hold, where there is so much shared memory [bytes]."""
        replies = self._on_the_way.get(reader, [])
        if len(replies) >= READER_LIMIT_REPLIES:
            return Room(left_bytes=0, alone=False)
        mine = sum(one.n_bytes for one in replies)
        left_bytes = min(MAX_REPLY_BYTES, LIMIT_BYTES - self.queued_bytes, READER_LIMIT_BYTES - mine)
        pin_limit_bytes = int(PINNED_SHARE * shared_bytes)
        return Room(
            left_bytes=left_bytes, alone=self.queued_bytes == 0, pinned=self.pinned, pin_limit_bytes=pin_limit_bytes
        )


@dataclass(slots=True)
class Room:
    """What one reply may hold, and how much of it is taken [bytes].

    Attributes
    ----------
    alone : bool
        Nothing else is on its way: a first payload that is larger than all limits is let through, too.
    pinned, pin_limit_bytes : mapping of int to int, int
        The segments that replies hold, with their sizes, and what these may come to [bytes].
    segments : dict of int to int
        Those that this one holds.
    """

    left_bytes: int
    alone: bool
    pinned: Mapping[int, int] = field(default_factory=dict)
    pin_limit_bytes: int = 0
    taken_bytes: int = 0
    n_taken: int = 0
    segments: dict[int, int] = field(default_factory=dict)

    def take(self, n_bytes: int) -> bool:
        """Take so much of it; False where there is not so much left."""
        if n_bytes > self.left_bytes and not (self.alone and self.n_taken == 0):
            return False
        self.left_bytes -= n_bytes
        self.taken_bytes += n_bytes
        self.n_taken += 1
        return True

    def pin(self, number: int, n_bytes: int) -> bool:
        """Hold a segment of so many bytes; False where replies hold enough."""
        if number not in self.segments and number not in self.pinned:
            held_bytes = sum((self.segments | dict(self.pinned)).values())
            if held_bytes + n_bytes > self.pin_limit_bytes:
                return False
        self.segments[number] = n_bytes
        return True
