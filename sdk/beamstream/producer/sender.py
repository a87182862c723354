"""The background side of a producer: batches go from the queue to the server, and every message's fate to its future.

Order of safety: payloads are stored before their index entries are published, so that no reader ever finds an entry
whose payload is not there. A batch that fails is tried again whole; the server answers what it knows as duplicates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from beamstream.address import Address
from beamstream.errors import (
    BeamstreamError,
    BufferFullError,
    IdConflictError,
    ProducerClosedError,
    ServerUnavailableError,
    StreamNotFoundError,
    StreamSealedError,
)
from beamstream.frame import DECLINED
from beamstream.presence import read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.retry import RetryCounts, with_retries

from .future import tell
from .on_disk import OnDisk, Told
from .opening import NewLifeError, Opening
from .publishing import SENT, WAITING, WITHOUT_USE, Publishing, Status
from .queue import Outgoing, SendQueue
from .storing import Storing

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_MESSAGES = 512
"""Most messages in one batch: the server works on them for some milliseconds, and does nothing for readers meanwhile.
As commands to it they still go into a Unix socket at once while they are small."""

BATCH_BYTES = 16 << 20
"""Payload bytes in one batch: enough to hide the round trip, small against the queue."""

SHARED_BATCH_BYTES = 32 << 20
"""The same where payloads go into shared memory [bytes]: that takes so little time that calls, and waking readers,
would be much of it; some milliseconds all the same."""

LOOK_LATER_BYTES = 64 << 10
"""From this size on a payload that goes into shared memory is given its checksum while it is copied [bytes]: what is
smaller is still in the processor's cache when it is copied."""

SETTLE_EVERY_S = 0.1
"""How often the server is asked to look at an open gap while nothing is sent [s]."""


DISK_EVERY_S = 0.01
"""How long the queue is waited at while something waits for the disk [s]."""


@dataclass(slots=True)
class ProducerCounts(RetryCounts):
    """What a producer did so far; `n_…` are messages."""

    n_sent: int = 0
    n_declined: int = 0
    n_bytes: int = 0
    n_duplicate: int = 0
    n_late: int = 0
    n_failed: int = 0
    n_again: int = 0


STORED_FOR_S = 20.0
"""How long a payload without an entry is taken to stay [s]; the broker deletes it after a minute."""


class _StaleError(Exception):
    """What was stored may not be there any more; never leaves this module."""


class _Begun(NamedTuple):
    """A batch that the server has been given, and what waits for its answer."""

    batch: list[Outgoing]
    read: Callable[[], list[int]]


class Sender:
    """Takes batches from the queue until it is closed and empty; runs in a thread of its own."""

    def __init__(
        self,
        address: Address,
        server: Server,
        storing: Storing,
        queue: SendQueue,
        *,
        inline_bytes: int,
        retry_timeout_s: float | None,
        on_failure: Callable[[int, BeamstreamError], None] | None,
        opening: Opening,
    ) -> None:
        self.counts = ProducerCounts()
        self._address = address
        self._server = server
        self._storing = storing
        self._queue = queue
        self._publishing = Publishing(server, StreamKeys(address), storing, inline_bytes)
        self._begun: _Begun | None = None
        self._retry_timeout_s = retry_timeout_s
        self._on_failure = on_failure
        self._opening = opening
        self.abandoned = threading.Event()
        self._gap_open = False
        self._stored_at = 0.0
        self._on_disk = OnDisk(server, address, retry_timeout_s) if opening.keep == "all" else None
        self._thread = threading.Thread(target=self._run, name=f"send {address}", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Stop retrying: what cannot be sent at once fails."""
        self.abandoned.set()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._send_until_closed()
        finally:
            # Whatever ended this thread, nobody may wait for it for ever.
            self._queue.close()
            self._give_up()
            self._queue.forget()
            self._storing.close()

    def _give_up(self) -> None:
        if self._begun is not None:
            self._fail_all([(message, ProducerClosedError(str(self._address))) for message in self._begun.batch])
        while batch := self._take(0):
            self._fail_all([(message, ProducerClosedError(str(self._address))) for message in batch])
        if self._on_disk:
            self._fail_all(self._on_disk.give_up(at_once=True))

    def _send_until_closed(self) -> None:
        while True:
            if not self._queue.is_loaded:
                self._finish()
            batch = self._take(DISK_EVERY_S if self._on_disk else SETTLE_EVERY_S)
            if batch:
                self._send(batch)
            if self._on_disk:
                self._look_at_disk(self._on_disk)
            elif self._queue.closed and not batch:
                return
            if self._gap_open and not batch:
                self._settle()

    def _take(self, timeout_s: float) -> list[Outgoing]:
        most_bytes = SHARED_BATCH_BYTES if self._storing.is_shared else BATCH_BYTES
        return self._queue.take(BATCH_MESSAGES, most_bytes, timeout_s)

    def _look_at_disk(self, on_disk: OnDisk) -> None:
        """Tell the futures of what is safe, and publish again what a server that was started anew does not have."""
        try:
            safe, again = on_disk.look()
        except StreamNotFoundError as error:
            # What was in it is published again where the stream can be made again or put back, and fails otherwise.
            safe, again = [], []
            if not self._opening.reopen():
                self._fail_all([(message, error) for message, _ in on_disk.take_all()])
        except BeamstreamError as error:
            log.debug("%s; looking again", error)
            safe, again = [], []
        if safe:
            self._succeed_all(safe)
        self.counts.n_again += len(again)
        for batch in _batches(again):
            self._send(batch, again=True)
        if on_disk:
            self._fail_all(on_disk.give_up(at_once=self.abandoned.is_set()))

    def _send(self, batch: list[Outgoing], *, again: bool = False) -> None:
        if not (again or self._on_disk):
            batch = self._begin(batch)
        if batch:
            self._finish()
        while batch:
            batch = self._send_first(batch, again=again)

    def _begin(self, batch: list[Outgoing]) -> list[Outgoing]:
        """Store a batch while the server works on the one before, and have it published without waiting for the answer.

        Returns what is left of it to be sent in the usual way, step by step: where there is no room for all of it now,
        or anything goes wrong.
        """
        try:
            n = self._store(batch)
        except BeamstreamError as error:
            log.debug("%s: %s", self._address, error)
            return batch
        begin = self._publishing.prepare(batch[:n], self._opening.life)
        tell = self._answered()
        if tell is None:
            return batch
        failure: BeamstreamError | None = None
        try:
            if self._is_stale:
                return batch
            self._begun = _Begun(batch[:n], begin())
        except BeamstreamError as error:
            failure = error
        finally:
            tell()  # while the server works
        if failure is not None:
            self._send_after(failure, batch[:n])
        return batch[n:]

    def _finish(self) -> None:
        """Wait for the answer to what was begun, and tell it."""
        if (tell := self._answered()) is not None:
            tell()

    def _answered(self) -> Callable[[], None] | None:
        """Wait for the answer to what was begun; returns what tells it, None where it had to be sent again."""
        if self._begun is None:
            return _nothing
        (batch, read), self._begun = self._begun, None
        try:
            answer = read()
        except BeamstreamError as error:
            self._send_after(error, batch)
            return None
        return partial(self._take_answer, batch, answer, again=False)

    def _send_after(self, error: BeamstreamError, batch: list[Outgoing]) -> None:
        """Send a batch in the usual way that was begun in vain; without an answer the server may have taken it."""
        log.debug("%s: %s", self._address, error)
        while batch:
            batch = self._send_first(batch, again=isinstance(error, ServerUnavailableError))

    def _send_first(self, batch: list[Outgoing], *, again: bool) -> list[Outgoing]:
        """Send a batch, or as much of it as there is room for now; returns what is left."""
        try:
            n, answer = self._store_and_publish(batch, again=again)
        except BeamstreamError as error:
            log.error("%d message(s) of %s were not sent: %s", len(batch), self._address, error)
            self._fail_all([(message, error) for message in batch])
            # Some may be in the stream all the same, and wait there.
            self._storing.settled(batch, max(message.message_id for message in batch), ())
            return []
        self._take_answer(batch[:n], answer, again=again)
        return batch[n:]

    def _take_answer(self, batch: list[Outgoing], answer: list[int], *, again: bool) -> None:
        self._gap_open = answer[1] > 0
        self._tell(batch, answer[4:], next_id=answer[0], n_received=answer[3], again=again)

    def _store_and_publish(self, batch: list[Outgoing], *, again: bool) -> tuple[int, list[int]]:
        """Store and publish the first messages of a batch, in the best case all; returns how many, and the answer."""
        while True:
            n = self._with_retries(lambda _: self._store(batch))
            try:
                with self._opening.missing_stream():
                    return n, self._with_retries(partial(self._publish_stored, batch[:n], again))
            except _StaleError:
                again = True  # the server may have taken them, and only its answer was lost
            except StreamNotFoundError:
                # A server that was started anew has lost the payloads, too.
                if not self._opening.reopen():
                    raise
                self._storing.forget()
            except NewLifeError:
                log.warning("%s was put back from disk; %d message(s) are stored again", self._address, len(batch))
                self._storing.forget()
                self._with_retries(lambda _: self._opening.read_life())

    def _with_retries(self, attempt: Callable[[int], T]) -> T:
        return with_retries(
            partial(self._saying_why, attempt),
            timeout_s=self._retry_timeout_s,
            stop=self.abandoned,
            counts=self.counts,
        )

    def _saying_why(self, attempt: Callable[[int], T], n_attempts: int) -> T:
        """Call the server; where it is full, say what keeps the broker from making room, if it knows."""
        try:
            return attempt(n_attempts)
        except BufferFullError as error:
            presence = read_presence(self._server)
            raise BufferFullError(
                error.url, error.waited_s, error.flaw or (presence.flaw if presence else "")
            ) from error

    def _store(self, batch: list[Outgoing]) -> int:
        """Store payloads; returns how many messages, from the first on, can be published then, at least one."""
        self._stored_at = time.monotonic()
        large = [message for message in batch if self._publishing.has_key(message)]
        if not large:
            return len(batch)
        n_stored = self._storing.store(large, self._opening.life)
        if n_stored == len(large):
            return len(batch)
        return batch.index(large[n_stored])

    def looks_later(self, payload_bytes: int) -> bool:
        """Whether the checksum of a payload is found while it is stored: so it is read from memory once."""
        return payload_bytes >= LOOK_LATER_BYTES and self._storing.is_shared

    @property
    def _is_stale(self) -> bool:
        """Whether what was stored may not be there any more."""
        return time.monotonic() - self._stored_at > STORED_FOR_S or self._storing.is_lost

    def _publish_stored(self, batch: list[Outgoing], again: bool, n_attempts: int) -> list[int]:
        """Publish what was stored; what lies there for long is stored again: the broker may take it for left."""
        if self._is_stale:
            raise _StaleError
        return self._publishing.publish(batch, self._opening.life, again=again or n_attempts > 0)

    def _settle(self) -> None:
        try:
            self._gap_open = self._publishing.settle() > 0
        except BufferFullError:
            log.debug("the buffer is full, the gap of %s stays open", self._address)
        except BeamstreamError as error:
            log.warning("cannot settle the gap of %s: %s", self._address, error)
            self._gap_open = False

    def _tell(self, batch: list[Outgoing], statuses: list[int], *, next_id: int, n_received: int, again: bool) -> None:
        """Tell futures what was answered; what was there `again`, after a crash, is what this producer had sent."""
        sent: Told = []
        failed: list[tuple[Outgoing, BeamstreamError]] = []
        useless: list[Outgoing] = []
        held_id = 0
        if statuses.count(Status.APPENDED) == len(batch):  # as nearly always
            sent = [(message, "sent") for message in batch]
        else:
            sent, failed, useless = self._sort(batch, statuses, again=again)
            held_id = max(
                (
                    message.message_id
                    for message, status in zip(batch, statuses, strict=True)
                    if status in WAITING and message.message_id >= next_id
                ),
                default=0,
            )
        if failed:
            self._fail_all(failed)
        if self._on_disk is not None and sent:
            self._on_disk.add(sent, n_received)
        elif sent:
            self._succeed_all(sent)
        try:
            self._storing.settled(batch, held_id, useless)
        except BeamstreamError as error:
            log.warning("%d payload(s) of %s stay behind: %s", len(useless), self._address, error)

    def _sort(
        self, batch: list[Outgoing], statuses: list[int], *, again: bool
    ) -> tuple[Told, list[tuple[Outgoing, BeamstreamError]], list[Outgoing]]:
        """Sort a batch by what was answered: what is in the stream, what is not, and whose payload serves nobody."""
        sent: Told = []
        failed: list[tuple[Outgoing, BeamstreamError]] = []
        useless = []
        for message, status in zip(batch, statuses, strict=True):
            if status in WITHOUT_USE and self._publishing.has_key(message):
                useless.append(message)
            outcome = SENT.get(status)
            if outcome is not None:
                sent.append((message, "sent" if again and outcome == "duplicate" else outcome))
            elif status == Status.CONFLICT:
                failed.append((message, IdConflictError(str(self._address), message.message_id, message.part)))
            else:
                failed.append((message, StreamSealedError(str(self._address), message.message_id, 0)))
        return sent, failed, useless

    def _succeed_all(self, told: Told) -> None:
        n_sent = n_bytes = 0
        for message, outcome in told:
            if outcome == "duplicate":
                self.counts.n_duplicate += 1
            elif not message.header:
                self.counts.n_declined += message.payload == DECLINED.encode()
            else:
                n_sent += 1
                n_bytes += message.payload_bytes
                self.counts.n_late += outcome == "late"
        self.counts.n_sent += n_sent
        self.counts.n_bytes += n_bytes
        tell((message.future, outcome) for message, outcome in told)
        self._queue.done([message for message, _ in told])

    def _fail_all(self, failed: Sequence[tuple[Outgoing, BeamstreamError]]) -> None:
        for message, error in failed:
            self._fail(message, error)
        self._queue.done([message for message, _ in failed])

    def _fail(self, message: Outgoing, error: BeamstreamError) -> None:
        self.counts.n_failed += 1
        message.future.set_exception(error)
        if self._on_failure is not None:
            try:
                self._on_failure(message.message_id, error)
            except Exception:  # the user's code; the other messages go on
                log.exception("on_failure raised for message %d of %s", message.message_id, self._address)


def _nothing() -> None:
    """Be what tells nothing."""


def _batches(messages: list[Outgoing]) -> Iterator[list[Outgoing]]:
    """Yield messages in batches as they come from the queue."""
    batch: list[Outgoing] = []
    n_bytes = 0
    for message in messages:
        n_bytes += message.payload_bytes
        if batch and (len(batch) == BATCH_MESSAGES or n_bytes > BATCH_BYTES):
            yield batch
            batch, n_bytes = [], message.payload_bytes
        batch.append(message)
    if batch:
        yield batch
