"""The producer's queue: bounded in bytes, one side puts, the other takes batches."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from beamstream.dataset import PayloadId
from beamstream.frame import Payload

ENTRY_OVERHEAD_BYTES = 512
"""What a queued message costs beside its payload and header [bytes]: future, record, queue slot."""


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A message on its way to the server, or a part of one; without a header, the word that there will be none."""

    message_id: int
    checksum: int
    header: bytes
    payload: Payload
    payload_bytes: int
    future: Future[str]
    part: int = 0

    @property
    def is_absence(self) -> bool:
        """Whether this says that there will be no message; the payload is the reason then."""
        return not self.header

    @property
    def payload_id(self) -> PayloadId:
        """What names its payload."""
        return (self.message_id, self.checksum, self.part) if self.part else (self.message_id, self.checksum)

    @property
    def queued_bytes(self) -> int:
        """What it counts in the queue."""
        return self.payload_bytes + len(self.header) + ENTRY_OVERHEAD_BYTES


class SendQueue:
    """A first-in, first-out queue of outgoing messages with a limit in bytes.

    A message larger than the limit is still taken when the queue is empty, so that it can be sent at all. What was
    taken counts until it is `done`: the bytes are still held.

    Parameters
    ----------
    limit_bytes : int
        What it may hold [bytes].
    gather_s : float
        For how long after one batch further messages are gathered for the next [s]. The first after a pause goes at
        once, as does what somebody waits for, or what fills a batch.
    """

    def __init__(self, limit_bytes: int, gather_s: float = 0.0) -> None:
        self.limit_bytes = limit_bytes
        self._gather_s = gather_s
        self._taken_at = -math.inf
        self._n_awaited = 1
        self._is_hurried = False
        self._messages: deque[Outgoing] = deque()
        self._bytes = 0
        self._n_unfinished = 0
        self._closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._work = threading.Condition(lock)
        self._idle = threading.Condition(lock)

    @property
    def queued_bytes(self) -> int:
        """Bytes held, those being sent included."""
        return self._bytes

    @property
    def n_unfinished(self) -> int:
        """Messages put and not yet done."""
        return self._n_unfinished

    def put(self, message: Outgoing, timeout_s: float | None) -> bool:
        """Wait for room and append; False where none came in time or the queue was closed."""
        with self._room:
            needed = message.queued_bytes
            if not self._has_room(needed):
                self._hurry()
            if not self._room.wait_for(lambda: self._closed or self._has_room(needed), timeout_s) or self._closed:
                return False
            self._messages.append(message)
            self._bytes += needed
            self._n_unfinished += 1
            if len(self._messages) >= self._n_awaited:
                self._work.notify()
            return True

    def _has_room(self, needed_bytes: int) -> bool:
        return self._bytes == 0 or self._bytes + needed_bytes <= self.limit_bytes

    def _hurry(self) -> None:
        """Have what is there taken at once: somebody waits for it."""
        self._is_hurried = bool(self._messages)
        self._work.notify()

    def take(self, most_messages: int, most_bytes: int, timeout_s: float) -> list[Outgoing]:
        """Take the next messages, at least one where there is any within the timeout."""
        with self._work:
            self._gather(most_messages)
            self._work.wait_for(lambda: self._messages or self._closed, timeout_s)
            batch: list[Outgoing] = []
            n_bytes = 0
            while self._messages and len(batch) < most_messages:
                n_bytes += self._messages[0].payload_bytes
                if batch and n_bytes > most_bytes:
                    break
                batch.append(self._messages.popleft())
            if batch:
                self._taken_at = time.monotonic()
            self._is_hurried = self._is_hurried and bool(self._messages)
            return batch

    def _gather(self, n_messages: int) -> None:
        """Wait until so many are there, where others were taken just before; what comes meanwhile wakes nobody."""
        left_s = self._taken_at + self._gather_s - time.monotonic()
        if left_s > 0:
            self._n_awaited = n_messages
            self._work.wait_for(lambda: self._is_hurried or self._closed or len(self._messages) >= n_messages, left_s)
            self._n_awaited = 1

    def done(self, batch: list[Outgoing]) -> None:
        """Give back the bytes of messages whose fate is known."""
        with self._room:
            self._bytes -= sum(message.queued_bytes for message in batch)
            self._n_unfinished -= len(batch)
            self._room.notify_all()
            if not self._n_unfinished:
                self._idle.notify_all()

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until everything that was put is done; it is taken at once."""
        with self._idle:
            self._hurry()
            return self._idle.wait_for(lambda: not self._n_unfinished, timeout_s)

    def close(self) -> None:
        """Let nothing more in; wakes everybody who waits."""
        with self._room:
            self._closed = True
            self._room.notify_all()
            self._work.notify_all()

    def forget(self) -> None:
        """Let nobody wait for what is still unfinished: the one who sends has ended."""
        with self._room:
            self._closed = True
            self._bytes = self._n_unfinished = 0
            self._room.notify_all()
            self._idle.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more is let in."""
        return self._closed
