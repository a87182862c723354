"""Retention of the memory tier: what leaves memory when it fills up.

With a folder to spill to, above `HIGH_WATER` of the server's memory the oldest payloads go to disk until `LOW_WATER` is
reached, whoever has read them; nothing is dropped, and a disk that takes nothing keeps the producers waiting.

Without one, and of streams that keep only what memory has room for, the oldest payloads go from memory: first those
that every group has acknowledged, then those that only best-effort groups have not (counted as dropped). What a
required group has not acknowledged never goes; the producer waits instead. Index entries stay in both cases.

"Oldest" means: the stream that was made first, and in it the first message. A stream whose keys hold something else
than the protocol says is passed over, with a line in the log: one damaged stream must not fill the memory of all.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from beamstream.address import Address
from beamstream.dataset import keyed_payload_ids
from beamstream.errors import CorruptDataError, ServerRefusedError, StreamNotFoundError
from beamstream.groups import NO_GROUP
from beamstream.groups.listing import as_map
from beamstream.payloads import MemoryTier
from beamstream.protocol import StreamKeys, decode_header, is_located, stated_bytes
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state
from beamstream.streams import all_streams

from .memory import HIGH_WATER, LOW_WATER
from .position import (
    START,
    GroupPosition,
    Place,
    Releasable,
    acknowledged_up_to,
    find_releasable,
    format_place,
    parse_place,
)
from .spilling import Spilling

log = logging.getLogger(__name__)

STUCK_S = 1.0
"""How long nothing could be released before that is told [s]: a group that reads as fast as others send is often behind
for some hundredths."""

NO_KEY = "no such key"
"""What the server says of an index that is not there."""

MAX_PAGE_MESSAGES = 256
"""Most payloads released by one script [messages]: about a millisecond in which the server does nothing else."""


@dataclass(slots=True)
class RetentionCounts:
    """What was released up to now.

    Attributes
    ----------
    n_released, released_bytes : int
        Payloads that left memory after every group had read them [messages, bytes].
    n_dropped, dropped_bytes : int
        Payloads that left memory before that [messages, bytes].
    """

    n_released: int = 0
    released_bytes: int = 0
    n_dropped: int = 0
    dropped_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """The server's memory, and what has to leave the segments beside it.

    Attributes
    ----------
    used_bytes, limit_bytes : int
        ``used_memory`` and ``maxmemory`` [bytes]; a limit of 0 means none.
    shared_excess_bytes : int
        What has to go from shared memory [bytes].
    shared_streams : collection of Address
        The streams that have something there.
    """

    used_bytes: int
    limit_bytes: int
    shared_excess_bytes: int = 0
    shared_streams: Collection[Address] = ()

    @property
    def is_full(self) -> bool:
        """Whether the server is above the high-water mark."""
        return self.limit_bytes > 0 and self.used_bytes > HIGH_WATER * self.limit_bytes

    @property
    def excess_bytes(self) -> int:
        """What has to go to get from above the high-water mark to the low-water mark; 0 below the former [bytes]."""
        if not self.is_full:
            return self.shared_excess_bytes
        return max(self.used_bytes - int(LOW_WATER * self.limit_bytes), self.shared_excess_bytes)


@dataclass(slots=True)
class Retention:
    """Releases payloads of one server.

    Parameters
    ----------
    server : Server
        The broker's server.
    spilling : Spilling, optional
        Where payloads go before they leave memory; without it those that nobody waits for are dropped.
    stuck_s : float
        How long nothing could be released before that is told [s].
    turn_bytes : int, optional
        How much goes to disk in one look, so that whoever looks has time for other things [bytes].
    """

    server: Server
    spilling: Spilling | None = None
    stuck_s: float = STUCK_S
    turn_bytes: int | None = None
    counts: RetentionCounts = field(default_factory=RetentionCounts)
    _stuck: frozenset[str] = frozenset()
    _freed_at: float = field(default_factory=time.monotonic)
    _damaged: set[Address] = field(default_factory=set)

    def relieve(self, memory: MemoryUse) -> int:
        """Release payloads if there is too little memory; returns how much was released [bytes].

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        excess_bytes = memory.excess_bytes
        if excess_bytes == 0:
            self._stuck = frozenset()
            self._freed_at = time.monotonic()
            return 0
        # What lies on the server is not in the way unless that is full.
        streams = self._in_memory(all_streams(self.server) if memory.is_full else memory.shared_streams)
        freed_bytes = 0
        left_bytes = excess_bytes if self.turn_bytes is None else self.turn_bytes
        for dropping in (False, True):
            for address, state, releasable in streams:
                wanted_bytes = excess_bytes - freed_bytes
                if wanted_bytes <= 0:
                    return freed_bytes
                with self._passing_over(address):
                    if self.spilling is None or state.keep == "memory":
                        freed_bytes += self._release(address, state, releasable, wanted_bytes, dropping=dropping)
                    elif not dropping and left_bytes > 0:
                        spilled_bytes = self._spill(self.spilling, address, state, min(wanted_bytes, left_bytes))
                        freed_bytes += spilled_bytes
                        left_bytes -= spilled_bytes
        if freed_bytes:
            self._freed_at = time.monotonic()
        if freed_bytes < excess_bytes and time.monotonic() - self._freed_at >= self.stuck_s:
            self._tell_who_holds([one for one in streams if self.spilling is None or one[1].keep == "memory"])
        return freed_bytes

    def _spill(self, spilling: Spilling, address: Address, state: StreamState, wanted_bytes: int) -> int:
        """Move payloads of one stream to disk; returns how much left memory [bytes]."""
        place = spilling.spill(address, state.created_ns, wanted_bytes)
        on_disk = Releasable(read=place, unread=START, holding=())
        return self._release(address, state, on_disk, wanted_bytes, dropping=False)

    def _in_memory(self, addresses: Iterable[Address]) -> list[tuple[Address, StreamState, Releasable]]:
        """Return those of some streams that have payloads in memory, oldest first."""
        found = []
        for address in addresses:
            with self._passing_over(address):
                state = read_state(self.server, StreamKeys(address))
                if state is not None and state.memory_bytes > 0:
                    found.append((address, state, find_releasable(read_positions(self.server, address))))
        return sorted(found, key=lambda one: one[1].created_ns)

    @contextlib.contextmanager
    def _passing_over(self, address: Address) -> Iterator[None]:
        """Pass over a stream that is not what it should be, and say so once."""
        try:
            yield
        except StreamNotFoundError as error:
            log.debug("%s", error)  # deleted just now
        except (CorruptDataError, ServerRefusedError) as error:
            if address not in self._damaged:
                self._damaged.add(address)
                log.error("%s is passed over when memory is released: %s", address, error)

    def _release(
        self, address: Address, state: StreamState, releasable: Releasable, excess_bytes: int, *, dropping: bool
    ) -> int:
        """Release payloads of one stream until there is no excess or nothing that may go; returns the bytes."""
        limit = releasable.unread if dropping else releasable.read
        freed_bytes = 0
        while limit > START and freed_bytes < excess_bytes:
            n_wanted = _page_size(state, excess_bytes - freed_bytes)
            sizes = self._release_page(address, limit, n_wanted, dropping=dropping)
            if sizes is None:
                break
            freed_bytes += sum(sizes)
            self._count(sizes, dropping=dropping)
        return freed_bytes

    def _release_page(self, address: Address, limit: Place, n_wanted: int, *, dropping: bool) -> list[int] | None:
        """Release some payloads up to `limit`; returns their sizes [bytes], None where nothing was left up to there."""
        keys = StreamKeys(address)
        before = self.server.call("HGET", keys.state, "released_entry")
        flat = self.server.script("release", [keys.index, keys.state], [format_place(limit), n_wanted, int(dropping)])
        headers = list(zip(flat[::2], flat[1::2], strict=True))
        keyed = [(int(message_id), decode_header(packed)) for message_id, packed in headers if not is_located(packed)]
        MemoryTier(self.server, keys).delete([one for named in keyed for one in keyed_payload_ids(*named)])
        if not headers and before == self.server.call("HGET", keys.state, "released_entry"):
            return None
        return [stated_bytes(packed) for _, packed in headers]

    def _count(self, sizes: list[int], *, dropping: bool) -> None:
        if dropping:
            self.counts.n_dropped += len(sizes)
            self.counts.dropped_bytes += sum(sizes)
        else:
            self.counts.n_released += len(sizes)
            self.counts.released_bytes += sum(sizes)

    def _tell_who_holds(self, streams: list[tuple[Address, StreamState, Releasable]]) -> None:
        """Say once which required groups keep the memory full."""
        holding = frozenset(f"{group} on {address}" for address, _, place in streams for group in place.holding)
        if holding and holding != self._stuck:
            log.warning(
                "the memory is full and producers wait: required groups have not acknowledged what is in it (%s); "
                "start a member of the group, or see 'stream group ls'",
                ", ".join(sorted(holding)),
            )
        self._stuck = holding


def _page_size(state: StreamState, excess_bytes: int) -> int:
    """Return how many payloads of a stream make up `excess_bytes`, as far as one page goes."""
    mean_bytes = max(1, state.total_bytes // max(1, state.n_received))
    return min(MAX_PAGE_MESSAGES, -(-excess_bytes // mean_bytes))


def read_positions(server: Server, address: Address) -> list[GroupPosition]:
    """Return how far the groups of a stream are; none where its index is not there yet."""
    keys = StreamKeys(address)
    (flat,) = server.pipeline([("XINFO", "GROUPS", keys.index)])
    if isinstance(flat, ServerRefusedError) and NO_KEY in flat.reason:
        return []
    if isinstance(flat, Exception):
        raise flat
    groups = [as_map(one) for one in flat]
    names = [group["name"].decode() for group in groups]
    answers = server.pipeline(
        [("HGET", keys.group(name), "required") for name in names] + [("XPENDING", keys.index, name) for name in names]
    )
    found = []
    for name, group, required, pending in zip(names, groups, answers[: len(names)], answers[len(names) :], strict=True):
        if isinstance(pending, ServerRefusedError) and NO_GROUP in pending.reason:
            continue  # it was deleted just now
        for answer in (required, pending):
            if isinstance(answer, Exception):
                raise answer
        done = acknowledged_up_to(
            parse_place(group["last-delivered-id"]), parse_place(pending[1]) if pending[1] else None
        )
        found.append(GroupPosition(name=name, required=required == b"1", done=done))
    return found
