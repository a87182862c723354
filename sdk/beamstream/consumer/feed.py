"""Where a consumer's entries come from: a group that shares them, or the whole index for one reader."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from beamstream.errors import UsageError
from beamstream.groups.listing import LOOK_BACK
from beamstream.groups.position import before_message
from beamstream.protocol import Entry, EntryKind, StreamKeys, expired_entry, fields_of, read_answer, read_entry
from beamstream.protocol.client import Server
from beamstream.state import read_state

from .delivery import ConsumerCounts
from .group import GroupMember

CLAIM_EVERY_S = 1.0
"""How often a member looks for what dead members left [s]."""

LOOK_EVERY_S = 0.08
"""How often a member looks for what is due again, and longest wait of one read [s]: what others gave back without a
delay is found within 0.1 s, by some ten looks a second."""

SERVER_TICK_S = 0.1
"""How much longer than it was told a read may wait [s]: idle servers look at their clock ten times a second."""

Start = str | int
"""Where reading begins: ``start``, ``newest``, or a message id."""

Delivered = tuple[Entry, int]
"""An entry, and how often it was delivered, this time included."""


class Feed(Protocol):
    """Gives entries in the order of the index."""

    def read(self, count: int, block_ms: int) -> list[Delivered]:
        """Return the next entries, at most `count` new ones; wait up to `block_ms` for one, 0 not at all.

        Right behind the end of the stream nothing is waited for.
        """
        ...

    def ask(self, count: int) -> None:
        """Ask for the next entries where that saves time: the next `read` or `collect` returns them."""
        ...

    def collect(self) -> list[Delivered]:
        """Return what was asked for, if anything was."""
        ...

    def settled(self) -> bool:
        """Whether nothing that was given to others can still come back to this reader."""
        ...

    def let_go(self, entry: Entry) -> bool:
        """Take back an entry that was lost with its server and will come again; True where all behind it does, too."""
        ...


def check_start(start: Start) -> Start:
    """Return a start position if it is one, else raise `UsageError`."""
    if start in ("start", "newest") or (isinstance(start, int) and start > 0):
        return start
    raise UsageError(f"start {start!r} is none of 'start', 'newest' and a message id from 1")


def entry_before(server: Server, keys: StreamKeys, start: Start) -> str:
    """Return the entry id behind which reading begins: from ``start``, from ``newest``, or from a message id."""
    if start == "start":
        return "0-0"
    if start == "newest":
        newest = server.call("XREVRANGE", keys.index, "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else "0-0"
    return before_message(int(start))


class GroupFeed:
    """What falls to one member of a group."""

    def __init__(self, member: GroupMember, counts: ConsumerCounts) -> None:
        self._member = member
        self._counts = counts
        self._claim_at = 0.0
        self._look_at = 0.0
        self._due_at = math.inf
        self._at_end = False

    def read(self, count: int, block_ms: int) -> list[Delivered]:
        """Return what is due again or was left by the dead, else new messages."""
        now = time.monotonic()
        if now >= min(self._look_at, self._due_at):
            claimed = self._claim(count, now)
            if claimed:
                return claimed
        if asked := self.collect():
            return asked
        entries = self._read_new(count, 0 if self._at_end else block_ms)
        return self._new(entries)

    def ask(self, count: int) -> None:
        """Ask for new messages, so that the server looks for them while those before are worked on."""
        self._member.ask(count)

    def collect(self) -> list[Delivered]:
        """Return what was asked for."""
        entries = self._member.collect()
        return self._new(entries) if entries else []

    def _new(self, entries: list[Entry]) -> list[Delivered]:
        deliveries = self._without_end([(entry, 1) for entry in entries])
        self._at_end = len(deliveries) < len(entries)
        return deliveries

    def _without_end(self, deliveries: list[Delivered]) -> list[Delivered]:
        """Leave out the mark that ends the stream, and be done with it."""
        ends = [entry.entry_id for entry, _ in deliveries if entry.header is None and entry.kind is EntryKind.END]
        if not ends:
            return deliveries
        self._member.acknowledge(ends)
        return [(entry, n) for entry, n in deliveries if entry.kind is not EntryKind.END]

    def _claim(self, count: int, now: float) -> list[Delivered]:
        from_the_dead = now >= self._claim_at
        claimed = self._member.claim(count, from_the_dead=from_the_dead)
        now = time.monotonic()
        self._look_at = now + LOOK_EVERY_S
        self._due_at = math.inf if claimed.next_due_s is None else now + claimed.next_due_s
        self._counts.n_dead += claimed.n_dead
        if from_the_dead and not claimed.deliveries:
            self._claim_at = now + CLAIM_EVERY_S
        deliveries = self._without_end(claimed.deliveries)  # a member may die between reading the mark and saying so
        return deliveries if claimed.expired is None else [(claimed.expired, 1), *deliveries]

    def _read_new(self, count: int, block_ms: int) -> list[Entry]:
        """Read what is new, and be back for what is due next: the server's own timer is too coarse for that."""
        until_due_s = max(0.0, self._due_at - time.monotonic())
        if block_ms and until_due_s > SERVER_TICK_S:
            wait_s = min(block_ms / 1000, LOOK_EVERY_S, until_due_s - SERVER_TICK_S)
            return self._member.read(count, max(1, int(wait_s * 1000)))
        entries = self._member.read(count, 0)
        if block_ms and not entries:
            time.sleep(until_due_s)
        return entries

    def settled(self) -> bool:
        """Whether no other member holds anything that could come here."""
        return self._member.is_alone()

    def let_go(self, entry: Entry) -> bool:
        """Forget this one; the group was put back to before it."""
        self._member.forget(entry.entry_id)
        return False


class WholeFeed:
    """Every entry of the index, for a reader without a group."""

    def __init__(self, server: Server, keys: StreamKeys, start: Start) -> None:
        self._server = server
        self._keys = keys
        self._position = entry_before(server, keys, start)
        self._n_passed = self._n_up_to(self._position)
        self._at_end = False

    def read(self, count: int, block_ms: int) -> list[Delivered]:
        """Return the entries after the last one."""
        block: Sequence[str | int] = ("BLOCK", block_ms) if block_ms and not self._at_end else ()
        self._at_end = False
        answer = self._server.call("XREAD", "COUNT", count, *block, "STREAMS", self._keys.index, self._position)
        if not answer:
            return []
        entries = read_answer(answer[0][1])
        self._at_end = any(entry.kind is EntryKind.END for entry in entries)
        return [(entry, 1) for entry in self._with_what_expired(entries) if entry.kind is not EntryKind.END]

    def _with_what_expired(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Put a gap where the index was cut off between two reads: each entry says how many messages are before it."""
        for entry in entries:
            if entry.kind is not EntryKind.UNREADABLE:
                n_before = entry.n_messages - (entry.kind is EntryKind.MESSAGE)
                position = int(entry.entry_id.partition("-")[0])
                if n_before > self._n_passed:
                    first_id = int(self._position.partition("-")[0]) + 1
                    yield expired_entry(first_id, max(first_id, position - 1), n_before - self._n_passed)
                self._n_passed = max(self._n_passed, entry.n_messages)
            self._position = entry.entry_id
            yield entry

    def _n_up_to(self, position: str) -> int:
        """Return how many messages the stream had up to a place."""
        if position == "0-0":
            return 0
        for entry_id, flat in self._server.call("XREVRANGE", self._keys.index, position, "-", "COUNT", LOOK_BACK):
            entry = read_entry(entry_id, fields_of(flat))
            if entry.kind is not EntryKind.UNREADABLE:
                return entry.n_messages
        state = read_state(self._server, self._keys)
        if state is None:
            return 0
        # Of what has gone behind this place nobody knows any more how many there were: as many as there were ids.
        return max(0, state.n_expired - max(0, state.expired_id - int(position.partition("-")[0])))

    def ask(self, count: int) -> None:
        """Do without: nobody reads whole streams by the ten thousand a second."""

    def collect(self) -> list[Delivered]:
        """Return nothing."""
        return []

    def settled(self) -> bool:
        """Nothing is ever given to others."""
        return True

    def let_go(self, entry: Entry) -> bool:
        """Go back to before this entry."""
        position, _, number = entry.entry_id.partition("-")
        self._position = f"{position}-{int(number) - 1}" if int(number) else before_message(int(position))
        self._n_passed = max(0, entry.n_messages - 1)
        return True
