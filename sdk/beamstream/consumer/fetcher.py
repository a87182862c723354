"""The background side of a consumer: entries from the feed, payloads from their tier, frames into the delivery.

Payloads are asked for only as far as there is room, so that what a consumer holds is bounded in bytes. A payload that
is gone is counted as skipped, one whose checksum fails as corrupt; neither is delivered. One that cannot be had now,
because server or fetch service do not answer, is asked for again until the retry timeout. Of datasets only one part is
asked for where only one is wanted; one that lacks it is passed by, and the part counted as missing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import xxhash

from beamstream.dataset import Stored, make_frame, stored_payloads
from beamstream.errors import BeamstreamError, ChecksumError, StreamNotFoundError
from beamstream.frame import Frame, Header, Payload, new_frame
from beamstream.give_way import give_way
from beamstream.payloads import FETCH_BYTES, PayloadSource
from beamstream.protocol import EXPIRED, Entry, EntryKind, StreamKeys
from beamstream.protocol.client import Server
from beamstream.put_back import Comeback
from beamstream.retry import with_retries
from beamstream.state import read_state

from .ahead import LEAST_MESSAGES, Ahead
from .delivery import ConsumerCounts, Delivery
from .feed import Delivered, Feed
from .group import GroupMember
from .parts import only_part
from .sign import Sign

log = logging.getLogger(__name__)

BLOCK_MS = 200
"""How long one read waits for something new [ms]; also how soon the end is noticed by a member that did not get it."""


class Fetcher:
    """Fills a delivery from a feed, in a thread of its own, until the stream is finished."""

    def __init__(
        self,
        server: Server,
        keys: StreamKeys,
        feed: Feed,
        tier: PayloadSource,
        delivery: Delivery,
        counts: ConsumerCounts,
        *,
        member: GroupMember | None,
        sign: Sign,
        ahead: Ahead,
        retry_timeout_s: float | None,
        part: int | None = None,
    ) -> None:
        self._server = server
        self._keys = keys
        self._feed = feed
        self._tier = tier
        self._delivery = delivery
        self._counts = counts
        self._member = member
        self._sign = sign
        self._ahead = ahead
        self._retry_timeout_s = retry_timeout_s
        self._part = part
        self._todo: deque[Delivered] = deque()
        self._made: list[Frame] = []
        self._last_bytes = 1
        self._stop = threading.Event()
        self._comeback = Comeback(server, keys.address)
        self._thread = threading.Thread(target=self._run, name=f"fetch {keys.address}", daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        failure = BeamstreamError(f"reading {self._keys.address} was ended from outside")
        try:
            while not self._stop.is_set() and not self._step():
                pass
        except BeamstreamError as error:
            failure = error
            if not self._stop.is_set():
                log.error("reading %s ends: %s", self._keys.address, error)
        except BaseException as error:
            failure = BeamstreamError(f"reading {self._keys.address} ended unexpectedly: {error!r}; the log says where")
            log.exception("reading %s ended unexpectedly", self._keys.address)
            raise
        finally:
            # Whatever ended this thread, nobody may wait for it for ever.
            self._delivery.fail(failure)

    def _step(self) -> bool:
        """Do one read or one fetch; True when the stream has ended."""
        try:
            return self._read_or_fetch()
        except StreamNotFoundError:
            if not self._with_retries(self._comeback):
                raise
            log.warning("%s was lost with its server, and is back from disk", self._keys.address)
            return False

    def _read_or_fetch(self) -> bool:
        needed_bytes = _payload_bytes(self._todo[0][0]) if self._todo else self._last_bytes
        if not self._delivery.wait_room(needed_bytes, BLOCK_MS / 1000):
            self._take_in(self._feed.collect())  # so that it is known to be here
            return False
        if self._todo:
            self._with_retries(self._fetch)
            return False
        return self._with_retries(self._read)

    def _with_retries(self, attempt: Callable[[], bool]) -> bool:
        return with_retries(lambda _: attempt(), timeout_s=self._retry_timeout_s, stop=self._stop, counts=self._counts)

    def _read(self) -> bool:
        self._sign.tick()
        if self._ahead.measure():
            self._delivery.limit(self._ahead.limit_bytes, self._ahead.limit_messages)
        fits = self._delivery.room_bytes // self._last_bytes
        count = max(1, min(self._delivery.room_messages, fits))
        self._look_for(count, BLOCK_MS)
        if len(self._todo) >= count > LEAST_MESSAGES:  # there is more, and it will soon be wanted
            self._feed.ask(count)
        return not self._todo and self._ended(count)

    def _ended(self, count: int) -> bool:
        state = read_state(self._server, self._keys)
        if state is None:
            raise StreamNotFoundError(str(self._keys.address))
        if not state.finished:
            return False
        # The end was written before this second look: what it does not find is not there.
        self._look_for(count, 0)
        if self._todo or not self._feed.settled():
            return False
        self._delivery.finish()
        return True

    def _look_for(self, count: int, block_ms: int) -> None:
        self._take_in(self._feed.read(count, block_ms))

    def _take_in(self, found: Sequence[Delivered]) -> None:
        """Put entries behind the others; of datasets only the part that is wanted counts."""
        if self._part is None:
            self._todo.extend(found)
        else:
            self._todo.extend((only_part(entry, self._part), n_deliveries) for entry, n_deliveries in found)

    def _fetch(self) -> bool:
        batch = self._next_batch()
        wanted: list[Stored] = []
        for entry, _ in batch:
            if entry.header is not None and entry.inline is None:
                wanted += stored_payloads(entry.message_id, entry.header)
        fetched = iter(self._tier.fetch(wanted) if wanted else ())
        try:
            self._deliver_all(batch, fetched)
        finally:
            self._hand_over()
        return False

    def _deliver_all(self, batch: Sequence[Delivered], fetched: Iterator[Payload | None]) -> None:
        address = self._keys.address
        for entry, n_deliveries in batch:
            header = entry.header
            payload: Payload | None = entry.inline
            if header is None:
                payloads: list[Payload | None] = []
            elif header.parts:
                payloads = [next(fetched) for _ in header.parts]
            else:
                if payload is None:
                    payload = next(fetched)
                if (  # as nearly always
                    payload is not None and n_deliveries == 1 and xxhash.xxh3_64_intdigest(payload) == header.checksum
                ):
                    fields = (address, entry.message_id, header, payload, entry.late, 1)
                    self._made.append(new_frame(*fields, entry.entry_id, entry.n_messages))
                    self._last_bytes = header.payload_bytes or 1
                    self._todo.popleft()
                    continue
                payloads = [payload]
            if header is not None and None in payloads:
                if self._is_undone(entry):
                    if self._feed.let_go(entry):
                        self._todo.clear()
                        return
                    self._todo.popleft()
                    continue
                payloads = list(self._tier.fetch(stored_payloads(entry.message_id, header)))
            self._deliver(entry, n_deliveries, payloads)
            self._todo.popleft()

    def _hand_over(self) -> None:
        """Let what was made be taken; once for many messages, because each time may wake a thread."""
        if self._made:
            is_awaited = self._delivery.put_all(self._made)
            self._made = []
            if is_awaited:
                give_way()

    def _is_undone(self, entry: Entry) -> bool:
        """Whether an entry was lost with its server: what is neither on disk nor in the index is to be sent again."""
        released = self._server.call("HGET", self._keys.state, "released_entry")
        if released is not None and _place(entry.entry_id) <= _place(released.decode()):
            return False
        return not self._server.call("XRANGE", self._keys.index, entry.entry_id, entry.entry_id)

    def _next_batch(self) -> list[Delivered]:
        """Return what is fetched next: as much as there is room for; of what has to travel, one round trip's worth."""
        room_bytes, travel_bytes = self._delivery.room_bytes, FETCH_BYTES
        batch: list[Delivered] = []
        for entry, n_deliveries in self._todo:
            n_bytes = _payload_bytes(entry)
            room_bytes -= n_bytes
            if not _is_shared(entry):
                travel_bytes -= n_bytes
            if batch and min(room_bytes, travel_bytes) < 0:
                break
            batch.append((entry, n_deliveries))
        return batch

    def _deliver(self, entry: Entry, n_deliveries: int, payloads: Sequence[Payload | None]) -> None:
        if entry.gap is not None and entry.gap.reason == EXPIRED:
            log.warning("%s: %d message(s) up to %d grew too old unread",
                        self._keys.address, entry.n_messages, entry.message_id)  # fmt: skip
            self._counts.n_expired += entry.n_messages
            self._delivery.put_gap(entry.gap)
            return
        if entry.gap is not None:
            if entry.gap.is_declined:
                self._counts.n_declined += entry.gap.n_messages
            else:
                self._counts.n_missing += entry.gap.n_messages
            self._delivery.put_gap(entry.gap)
            self._drop(entry)
            return
        if entry.kind is EntryKind.UNREADABLE:
            self._reject(entry, entry.flaw)
            return
        if entry.kind is EntryKind.GAP:
            self._drop(entry)  # of nothing: late, and without the part that is wanted
            return
        header = _header(entry)
        self._last_bytes = max(1, header.payload_bytes)
        there = [payload for payload in payloads if payload is not None]
        if len(there) < len(payloads):
            self._skip(entry)
            return
        try:
            frame = make_frame(
                self._keys.address,
                entry.message_id,
                header,
                there,
                late=entry.late,
                n_deliveries=n_deliveries,
                entry_id=entry.entry_id,
                place=entry.n_messages,
            )
        except ChecksumError as error:
            self._reject(entry, str(error))
            return
        self._counts.n_redelivered += n_deliveries > 1
        if self._member is not None and n_deliveries > 1:
            self._member.count(n_redelivered=1)
        self._made.append(frame)

    def _skip(self, entry: Entry) -> None:
        if self._counts.n_skipped == 0:
            log.warning("%s: message %d has left memory unread; skipping", self._keys.address, entry.message_id)
        self._counts.n_skipped += 1
        if self._member is not None:
            self._member.count(n_skipped=1)
        self._drop(entry)

    def _reject(self, entry: Entry, why: str) -> None:
        log.error("%s: %s", self._keys.address, why)
        self._counts.n_corrupt += 1
        self._bury(entry, why)

    def _bury(self, entry: Entry, why: str) -> None:
        if self._member is not None:
            self._member.bury(entry.message_id, entry.entry_id, why)

    def _drop(self, entry: Entry) -> None:
        if self._member is not None:
            self._member.acknowledge([entry.entry_id])


def _place(entry_id: str) -> tuple[int, int]:
    position, _, number = entry_id.partition("-")
    return int(position), int(number or 0)


def _is_shared(entry: Entry) -> bool:
    """Whether a payload need not travel, because it lies in shared memory; of datasets that is not looked at."""
    return entry.header is not None and entry.header.location is not None


def _payload_bytes(entry: Entry) -> int:
    return entry.header.payload_bytes if entry.header else 0


def _header(entry: Entry) -> Header:
    if entry.header is None:
        raise TypeError(f"entry {entry.entry_id} is no message")
    return entry.header
