"""The payloads that all peers carry, and the count of what arrives."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import xxhash

from peer import Message

POOL_BYTES = 128 << 20
"""How much memory the producer sends from, round and round [bytes]: beyond the caches, as a detector's buffers are."""

MAX_POOL = 256
"""Most different payloads."""

MIN_SIZE_BYTES = 16
"""Smallest payload [bytes]: its number in the pool and something beside it."""

SEED = 7


class Payloads:
    """Random bytes behind a number; the same ones in every process that asks for this size [bytes]."""

    def __init__(self, size_bytes: int) -> None:
        self._base = random.Random(SEED).randbytes(size_bytes)
        self.n_different = max(4, min(MAX_POOL, POOL_BYTES // size_bytes))
        self._pool: list[bytes] = []

    def make(self, which: int) -> bytes:
        """Return one of the different payloads."""
        return which.to_bytes(8, "big") + self._base[8:]

    def messages(self, first: int, n_messages: int, rate_hz: float) -> Iterator[Message]:
        """Yield numbers with their payloads, at a rate [messages/s] or, if that is 0, as fast as they are taken."""
        pool = self._pool = self._pool or [self.make(which) for which in range(self.n_different)]
        began_s = time.monotonic()
        for k in range(n_messages):
            if rate_hz and (left_s := began_s + k / rate_hz - time.monotonic()) > 0:
                time.sleep(left_s)
            yield first + k, pool[(first + k) % self.n_different]

    def checksums(self) -> list[int]:
        """Return XXH3-64 of all different payloads; that of message n is at n modulo their number."""
        return [xxhash.xxh3_64_intdigest(self.make(which)) for which in range(self.n_different)]


@dataclass(slots=True)
class Tally:
    """What a reader got of the messages `first` to `first + n_messages - 1`.

    Attributes
    ----------
    n_received : int
        Different messages that came with the bytes that were sent.
    n_duplicated : int
        How often one came that had come before.
    n_corrupt : int
        How many came with other bytes.
    n_bytes : int
        All bytes that were read [bytes].
    ended_ns : int
        When the last message had been read, on the monotonic clock [ns].
    """

    first: int
    n_messages: int
    n_received: int = 0
    n_duplicated: int = 0
    n_corrupt: int = 0
    n_bytes: int = 0
    ended_ns: int = 0
    _seen: bytearray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._seen = bytearray(self.n_messages)

    def add(self, number: int, payload: Any, checksums: list[int]) -> None:
        """Read every byte of a payload and count it; messages of another phase are none of ours."""
        at = number - self.first
        if not 0 <= at < self.n_messages:
            return
        right = xxhash.xxh3_64_intdigest(payload) == checksums[number % len(checksums)]
        self.n_bytes += memoryview(payload).nbytes
        self.ended_ns = time.monotonic_ns()
        if not right:
            self.n_corrupt += 1
        elif self._seen[at]:
            self.n_duplicated += 1
        else:
            self._seen[at] = 1
            self.n_received += 1

    @property
    def n_left(self) -> int:
        """How many messages have not come."""
        return self.n_messages - self.n_received - self.n_corrupt
