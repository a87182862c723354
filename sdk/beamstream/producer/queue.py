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
from beamstream.give_way import give_way
from beamstream.protocol import state_checksum

ENTRY_OVERHEAD_BYTES = 512
"""What a queued message costs beside its payload and header [bytes]: future, record, queue slot."""


GATHER_LOAD_S = 0.001
"""For how long after one batch messages are gathered for the next while they come quickly [s]: some twenty calls'
worth of a processor, small against what a reader notices."""

CROWDED, TURN = 1024, 64
"""From how many waiting messages on who puts more gives way after each so many: who never stops to put holds up the
thread that sends them."""

GATHER_BYTES = 1 << 20
"""Payload bytes that are gathered for no longer [bytes]: beside them a call costs little."""


@dataclass(slots=True, eq=False)  # not frozen: that costs as much as all else that is done with a small one
class Outgoing:
    """A message on its way to the server, or a part of one; without a header, the word that there will be none.

    Without a checksum its payload has not been looked at yet: see `seal`.
    """

    message_id: int
    checksum: int | None
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
        """What names its payload; it has been sealed."""
        if self.checksum is None:
            raise TypeError(f"message {self.message_id} has no checksum yet")
        return (self.message_id, self.checksum, self.part) if self.part else (self.message_id, self.checksum)

    def seal(self, checksum: int) -> None:
        """State the checksum of the payload, where that was left for later."""
        if self.checksum is None:
            self.checksum = checksum
            self.header = state_checksum(self.header, checksum)

    @property
    def queued_bytes(self) -> int:
        """What it counts in the queue."""
        return self.payload_bytes + len(self.header) + ENTRY_OVERHEAD_BYTES


class SendQueue:
    """A first-in, first-out queue of outgoing messages with a limit in bytes.

    A message larger than the limit is still taken when the queue is empty, so that it can be sent at all. What was
    taken counts until it is `done`: the bytes are still held.

    Under load what comes soon after a batch is gathered for the next one, up to `GATHER_LOAD_S`: a call to the server
    costs as much as ten messages. Under load is who put further messages while the last batch was on its way; one who
    waits for each before the next, or pauses, is never kept waiting.

    Parameters
    ----------
    limit_bytes : int
        What it may hold [bytes].
    gather_s : float
        For how long after one batch further messages are gathered for the next in any case [s]. The first after a pause
        goes at once, as does what somebody waits for, or what fills a batch.
    """

    def __init__(self, limit_bytes: int, gather_s: float = 0.0) -> None:
        self.limit_bytes = limit_bytes
        self._gather_s = gather_s
        self._taken_at = -math.inf
        self._n_taken = 0
        self._n_awaited = 0
        self._is_hurried = False
        self._messages: deque[Outgoing] = deque()
        self._payload_bytes = 0
        self._bytes = 0
        self._n_unfinished = 0
        self._closed = False
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)

    @property
    def queued_bytes(self) -> int:
        """Bytes held, those being sent included."""
        return self._bytes

    @property
    def n_unfinished(self) -> int:
        """Messages put and not yet done."""
        return self._n_unfinished

    @property
    def is_loaded(self) -> bool:
        """Whether so much waits that it is worth a call by itself."""
        return self._payload_bytes >= GATHER_BYTES

    def put(self, message: Outgoing, timeout_s: float | None) -> bool:
        """Wait for room and append; False where none came in time or the queue was closed."""
        needed = message.queued_bytes
        with self._lock:
            if self._closed or not self._has_room(needed):
                self._hurry()
                self._room.wait_for(lambda: self._closed or self._has_room(needed), timeout_s)
                if self._closed or not self._has_room(needed):
                    return False
            self._messages.append(message)
            self._payload_bytes += message.payload_bytes
            self._bytes += needed
            self._n_unfinished += 1
            if self._n_awaited and self._is_enough(self._n_awaited):
                self._wake()
            n_waiting = len(self._messages)
        if n_waiting >= CROWDED and n_waiting % TURN == 0:
            give_way()
        return True

    def _has_room(self, needed_bytes: int) -> bool:
        return self._bytes == 0 or self._bytes + needed_bytes <= self.limit_bytes

    def _is_enough(self, n_messages: int) -> bool:
        return len(self._messages) >= n_messages or self.is_loaded

    def hurry(self) -> None:
        """Have what is there taken at once: somebody waits for it."""
        with self._lock:
            self._hurry()

    def _hurry(self) -> None:
        if self._messages:
            self._is_hurried = True
            self._wake()

    def _wake(self) -> None:
        """Let the one who takes go on, if it waits."""
        if self._n_awaited:
            self._n_awaited = 0
            self._work.notify()

    def _await(self, n_messages: int, timeout_s: float) -> None:
        """Wait for so many messages, or to be woken for another reason; what comes before wakes nobody."""
        self._n_awaited = n_messages
        self._work.wait_for(lambda: not self._n_awaited, timeout_s)
        self._n_awaited = 0

    def take(self, most_messages: int, most_bytes: int, timeout_s: float) -> list[Outgoing]:
        """Take the next messages, at least one where there is any within the timeout."""
        with self._lock:
            self._gather(most_messages)
            if not self._messages and not self._closed:
                self._await(1, timeout_s)
            batch: list[Outgoing] = []
            n_bytes = 0
            while self._messages and len(batch) < most_messages:
                n_bytes += self._messages[0].payload_bytes
                if batch and n_bytes > most_bytes:
                    break
                batch.append(self._messages.popleft())
            self._payload_bytes -= sum(message.payload_bytes for message in batch)
            if batch:
                self._taken_at = time.monotonic()
            self._n_taken = len(batch)
            self._is_hurried = self._is_hurried and bool(self._messages)
            return batch

    def _gather(self, n_messages: int) -> None:
        """Wait for more where others were taken just before."""
        is_loaded = self._n_taken > 1 or len(self._messages) > 1
        gather_s = max(self._gather_s, GATHER_LOAD_S if is_loaded else 0.0)
        left_s = self._taken_at + gather_s - time.monotonic()
        if left_s > 0 and not (self._is_hurried or self._closed or self._is_enough(n_messages)):
            self._await(n_messages, left_s)

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
            self._wake()

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
