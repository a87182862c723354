"""What replies may hold in memory until their readers have taken them, in all and for each reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from beamstream.fetch import MAX_REPLY_BYTES

LIMIT_BYTES = 256 << 20
"""Payload bytes on their way to all readers [bytes]: eight replies; as much as one reader may hold itself."""

READER_LIMIT_BYTES = 2 * MAX_REPLY_BYTES
"""Payload bytes on their way to one reader [bytes]: one reply that it takes while the next one is read."""

READER_LIMIT_REPLIES = 8
"""Replies on their way to one reader; twice what ours asks for at once."""


class Tracker(Protocol):
    """Knows whether ZeroMQ has let a reply go."""

    @property
    def done(self) -> bool:
        """Whether it has."""
        ...


@dataclass(slots=True)
class Allowance:
    """Counts what is on its way; not thread-safe."""

    queued_bytes: int = 0
    _on_the_way: dict[bytes, list[tuple[Tracker, int]]] = field(default_factory=dict)

    def settle(self) -> None:
        """Forget what readers have taken, and what was for those that are gone."""
        for reader, replies in list(self._on_the_way.items()):
            left = [one for one in replies if not one[0].done]
            if left:
                self._on_the_way[reader] = left
            else:
                del self._on_the_way[reader]
        self.queued_bytes = sum(size for replies in self._on_the_way.values() for _, size in replies)

    def add(self, reader: bytes, tracker: Tracker, n_bytes: int) -> None:
        """Take note of a reply that was sent."""
        self._on_the_way.setdefault(reader, []).append((tracker, n_bytes))
        self.queued_bytes += n_bytes

    def room(self, reader: bytes) -> Room:
        """Return what one more reply to a reader may hold."""
        replies = self._on_the_way.get(reader, [])
        if len(replies) >= READER_LIMIT_REPLIES:
            return Room(left_bytes=0, alone=False)
        mine = sum(size for _, size in replies)
        left_bytes = min(MAX_REPLY_BYTES, LIMIT_BYTES - self.queued_bytes, READER_LIMIT_BYTES - mine)
        return Room(left_bytes=left_bytes, alone=self.queued_bytes == 0)


@dataclass(slots=True)
class Room:
    """What one reply may hold, and how much of it is taken [bytes].

    Attributes
    ----------
    alone : bool
        Nothing else is on its way: a first payload that is larger than all limits is let through, too.
    """

    left_bytes: int
    alone: bool
    taken_bytes: int = 0
    n_taken: int = 0

    def take(self, n_bytes: int) -> bool:
        """Take so much of it; False where there is not so much left."""
        if n_bytes > self.left_bytes and not (self.alone and self.n_taken == 0):
            return False
        self.left_bytes -= n_bytes
        self.taken_bytes += n_bytes
        self.n_taken += 1
        return True
