"""How far a consumer fetches ahead: as much as it takes in `AHEAD_S`.

A slow one little, so that the members of a group share evenly and a dead one leaves little behind; a fast one much:
each round trip, and each time that one thread wakes another, costs as much as dozens of messages.
"""

from __future__ import annotations

import time

from .delivery import ConsumerCounts

AHEAD_S = 0.05
"""What is taken in this time is fetched ahead [s]."""

LEAST_BYTES, MOST_BYTES = 64 << 20, 256 << 20
"""Bounds of that [bytes]: two 16M frames uncompressed, or some hundred compressed ones; 50 ms of 40 Gb/s."""

LEAST_MESSAGES, MOST_MESSAGES = 64, 1024
"""Bounds of that [messages]."""

MEASURE_S = 0.02
"""Shortest time over which it is measured how fast a consumer is [s]."""


class Ahead:
    """Says how far to fetch ahead, by how fast frames are taken; not thread-safe.

    Parameters
    ----------
    counts : ConsumerCounts
        Where those are counted.
    n_bytes, n_messages : int or None
        Limits that somebody has set, which stay [bytes, messages].

    Attributes
    ----------
    limit_bytes, limit_messages : int
        How much may be fetched ahead now [bytes, messages].
    """

    def __init__(self, counts: ConsumerCounts, n_bytes: int | None, n_messages: int | None) -> None:
        self._counts = counts
        self._bytes, self._messages = n_bytes, n_messages
        self._before = (0, 0)
        self._since_s = time.monotonic()
        self._set(0.0, 0.0)

    def measure(self) -> bool:
        """Set the limits anew, if it is time; True where it was."""
        now = time.monotonic()
        took_s = now - self._since_s
        if took_s < MEASURE_S:
            return False
        (n_before, bytes_before), self._before = self._before, (self._counts.n_delivered, self._counts.n_bytes)
        n_after, bytes_after = self._before
        self._since_s = now
        self._set((bytes_after - bytes_before) / took_s, (n_after - n_before) / took_s)
        return True

    def _set(self, bytes_per_s: float, messages_per_s: float) -> None:
        within_bytes = min(max(int(bytes_per_s * AHEAD_S), LEAST_BYTES), MOST_BYTES)
        within_messages = min(max(int(messages_per_s * AHEAD_S), LEAST_MESSAGES), MOST_MESSAGES)
        self.limit_bytes = within_bytes if self._bytes is None else self._bytes
        self.limit_messages = within_messages if self._messages is None else self._messages
