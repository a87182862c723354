"""One member's view of its consumer group: join, read, acknowledge, claim, give back. Thread-safe; no state of its own
but the set of messages in this member's hands.

A member that lives touches what it holds several times in each `member_timeout_s`; whatever nobody touched for so long
belongs to a dead member and is claimed by a live one. A message given back waits in the group's `delayed` set until it
is due. When that is, and whether it is delivered again at all, the server decides by its own clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from beamstream.errors import GroupNotFoundError, ServerRefusedError, ServerUnavailableError, StreamNotFoundError
from beamstream.groups import MEMBER_TIMEOUT_S, NO_GROUP, PARKED, STALE_MEMBER_S, Redelivery
from beamstream.protocol import Entry, StreamKeys, expired_entry, read_answer
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument

log = logging.getLogger(__name__)

TOUCHES_PER_TIMEOUT = 5
"""How often within the member timeout a member says that it still works on what it holds."""

GONE = ("NOSTREAM", NO_GROUP, "no longer exists")
"""What the server says of a stream that was deleted, or of a group."""

CLAIM_COUNT = 64
"""Most messages claimed at once."""

DEFAULT_REDELIVERY = Redelivery()

MAX_WHY_BYTES = 16384
"""What a dead letter keeps of what went wrong [bytes]: the end of a traceback, where the error stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a member was given of what was given back or left by the dead.

    Attributes
    ----------
    deliveries : list of (Entry, int)
        The entries, and which delivery of each this will be.
    n_dead : int
        Messages that had no attempt left, and went to the dead letters.
    next_due_s : float or None
        When the next one is due [s from now].
    expired : Entry or None
        The messages that became older than the stream is kept before the group came to them, as a gap; told once.
    """

    deliveries: list[tuple[Entry, int]]
    n_dead: int
    next_due_s: float | None
    expired: Entry | None = None


class _Life(NamedTuple):
    """What tells one life of a stream from another: when it was made, and when it was put back from disk."""

    created: bytes | None
    restored: bytes | None


class GroupMember:
    """A member of a consumer group on one stream."""

    def __init__(
        self, server: Server, keys: StreamKeys, group: str, member: str, *, member_timeout_s: float = MEMBER_TIMEOUT_S
    ) -> None:
        self._server = server
        self._keys = keys
        self.group = group
        self.member = member
        self.touch_every_s = member_timeout_s / TOUCHES_PER_TIMEOUT
        self._timeout_ms = int(member_timeout_s * 1000)
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._handed_out: set[str] = set()
        self._claimed: dict[str, int] = {}
        self._life = _Life(None, None)
        self._joining: Callable[[], object] | None = None
        self._asked: Callable[[], Any] | None = None

    def _script(self, name: str, *arguments: Argument) -> Any:
        keys = [*self._keys.delivery(self.group), self._keys.state]
        return self._joined(lambda: self._server.script(name, keys, [self.group, PARKED, *arguments]))

    def _call(self, *command: Argument) -> Any:
        return self._joined(lambda: self._server.call(*command))

    def _joined(self, call: Callable[[], Any]) -> Any:
        """Call the server; say what it means where it refuses because the stream, or only the group, is gone.

        A stream of the same name that was made after the one that was joined is another one: a server that was started
        anew may have it before the member looks. One that was put back from disk may not know a group that was made a
        moment before the server was lost: it is joined again.
        """
        try:
            return call()
        except ServerRefusedError as error:
            if not any(word in error.reason for word in GONE):
                raise
            life = self._read_life()
            if life.created is None or self._life.created not in (None, life.created):
                raise StreamNotFoundError(str(self._keys.address)) from error
            if self._joining is None or life == self._life:
                raise GroupNotFoundError(str(self._keys.address), self.group) from error
        log.warning("%s was put back without group %s; joining it again", self._keys.address, self.group)
        self._joining()
        return call()

    def _read_life(self) -> _Life:
        return _Life(*self._server.call("HMGET", self._keys.state, "created_ns", "restored_ns"))

    def join(self, start: str, redelivery: Redelivery = DEFAULT_REDELIVERY, *, required: bool) -> bool:
        """Make the group if it is new, starting behind the entry `start`; True where it was new."""

        def join() -> bool:
            made = self._script(
                "join",
                start,
                int(required),
                time.time_ns(),
                redelivery.max_attempts,
                redelivery.delays_text,
                int(STALE_MEMBER_S * 1000),
            )
            self._life = self._read_life()
            return bool(made)

        made = join()
        self._joining = join
        return made

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Read messages that no member has had yet; wait up to `block_ms` for one, 0 not at all."""
        answer = self._call(*self._reading(count, *(("BLOCK", block_ms) if block_ms else ())))
        return self._hold(answer[0][1] if answer else [])

    def _reading(self, count: int, *block: Argument) -> Sequence[Argument]:
        """Return the command that gives this member messages that nobody has had yet."""
        group = ("GROUP", self.group, self.member)
        return ("XREADGROUP", *group, "COUNT", count, *block, "STREAMS", self._keys.index, ">")

    def ask(self, count: int) -> None:
        """Ask for messages that no member has had yet; `collect` has to follow soon: nobody touches them before."""
        if self._asked is not None:
            return
        try:
            self._asked = self._server.begin(*self._reading(count))
        except ServerUnavailableError as error:  # whoever reads next waits for it
            log.debug("%s: %s", self._keys.address, error)

    def collect(self) -> list[Entry]:
        """Return what was asked for; nothing where nothing was, or where the group or the stream is gone."""
        if self._asked is None:
            return []
        read, self._asked = self._asked, None
        try:
            answer = read()
        except ServerRefusedError as error:  # whoever reads next finds out what that means
            log.debug("%s: %s", self._keys.address, error)
            return []
        return self._hold(answer[0][1] if answer else [])

    def claim(self, count: int, *, from_the_dead: bool) -> Claimed:
        """Take over what is due again and, if wanted, what nobody has touched for the member timeout.

        What this member knows to hold is left out, but not what was given to it in an answer that never arrived.
        """
        known = self.held() if from_the_dead else ()
        timeout_ms = self._timeout_ms if from_the_dead else 0
        due_ms, buried, raw, expired = self._script("claim", self.member, min(count, CLAIM_COUNT), timeout_ms, *known)
        entries = self._hold([(entry_id, flat) for entry_id, _, flat in raw])
        deliveries = [(entry, int(n)) for entry, (_, n, _) in zip(entries, raw, strict=True)]
        with self._lock:
            self._claimed.update((entry.entry_id, n) for entry, n in deliveries)
        if buried:
            log.error("%s: group %s gave up %d message(s)", self._keys.address, self.group, len(buried))
        return Claimed(
            deliveries=deliveries,
            n_dead=len(buried),
            next_due_s=None if due_ms < 0 else due_ms / 1000,
            expired=expired_entry(*map(int, expired)) if expired else None,
        )

    def _hold(self, raw: Sequence[Any]) -> list[Entry]:
        entries = read_answer(raw)
        held = {entry.entry_id: entry.message_id for entry in entries}
        with self._lock:
            self._held.update(held)
            # After a seek it may come a second time; what was known of the first time says nothing any more.
            self._handed_out.difference_update(held)
            for entry_id in self._claimed.keys() & held if self._claimed else ():
                del self._claimed[entry_id]
        return entries

    def hand_out_new(self, entry_id: str) -> bool:
        """Note that a message is handed out now, where the server need not be told; see `hand_out` for the others."""
        with self._lock:
            if entry_id not in self._held or entry_id in self._claimed:
                return False
            self._handed_out.add(entry_id)
            return True

    def hand_out(self, entry_id: str) -> bool:
        """Note that a message is handed out now; False where it is not this member's any more.

        One that was claimed is counted with the server first, so that one that kills its members runs out of attempts,
        and those that were only fetched ahead with it do not.
        """
        with self._lock:
            n = self._claimed.get(entry_id)
            held = entry_id in self._held
        if held and n is not None:
            held = bool(self._script("hand_out", self.member, entry_id, n))
        if not held:
            self._let_go([entry_id])
            return False
        with self._lock:
            self._claimed.pop(entry_id, None)
            self._handed_out.add(entry_id)
        return True

    def hand_back(self, entry_id: str) -> None:
        """Take back that a message was handed out: nobody has tried it, and that does not count as a delivery."""
        with self._lock:
            self._handed_out.discard(entry_id)

    def entry_ids(self, message_ids: Iterable[int]) -> list[str]:
        """Return the entries of messages in this member's hands; of others, the place where they would stand.

        A dataset may have several, where parts of it came late.
        """
        held: defaultdict[int, list[str]] = defaultdict(list)
        with self._lock:
            for entry_id, message_id in self._held.items():
                held[message_id].append(entry_id)
        return [entry_id for message_id in message_ids for entry_id in held.get(message_id) or [f"{message_id}-0"]]

    def held(self) -> set[str]:
        """Return the entry ids in this member's hands."""
        with self._lock:
            return set(self._held)

    def touch(self) -> None:
        """Say that this member lives and still works on what it holds; forget what has gone to others meanwhile."""
        held = self.held()
        if held:
            self._let_go(entry_id.decode() for entry_id in self._script("touch", self.member, *held))

    def acknowledge(self, entry_ids: Sequence[str]) -> int:
        """Be done with messages; returns how many of them the group was still waiting for."""
        if not entry_ids:
            return 0
        n_done = int(self._call("XACK", self._keys.index, self.group, *entry_ids))
        self._let_go(entry_ids)
        return n_done

    def give_back(self, message_id: int, entry_id: str, delay_s: float | None, why: str) -> bool:
        """Hand a message to somebody else, after a delay (None: the group's); True where it had no attempt left."""
        return self._take_back(message_id, entry_id, "" if delay_s is None else round(delay_s * 1000), why)

    def bury(self, message_id: int, entry_id: str, why: str) -> None:
        """Give a message up: note it among the dead letters, and be done with it."""
        self._take_back(message_id, entry_id, "never", why)

    def _take_back(self, message_id: int, entry_id: str, delay: str | int, why: str) -> bool:
        kept = why.encode("utf-8", "replace")[-MAX_WHY_BYTES:]
        answer = self._script("give_back", self.member, entry_id, message_id, delay, kept)
        self._let_go([entry_id])
        return bool(answer == 1)

    def forget(self, entry_id: str) -> None:
        """Forget a message without a word to the server, which does not know of it any more."""
        self._let_go([entry_id])

    def _let_go(self, entry_ids: Iterable[str]) -> None:
        gone = tuple(entry_ids)
        with self._lock:
            self._handed_out.difference_update(gone)
            for known in (self._held, self._claimed):
                if known:
                    for entry_id in gone:
                        known.pop(entry_id, None)

    def count(self, **counts: int) -> None:
        """Add to the group's counts."""
        pairs: list[str | int] = []
        for name, number in counts.items():
            if number:
                pairs += (name, number)
        if pairs:
            self._server.script("note", [self._keys.group(self.group)], ["add", *pairs])

    def is_alone(self) -> bool:
        """Whether nothing can come to this member any more from others: dead, alive, or given back.

        What the server gave to this member in an answer that never arrived will come again, too.
        """
        known = self.held()
        counts = {name.decode(): int(n) for name, n in self._call("XPENDING", self._keys.index, self.group)[3] or ()}
        n_mine = counts.pop(self.member, 0)
        if counts or not n_mine:
            return not counts
        mine = self._call("XPENDING", self._keys.index, self.group, "-", "+", n_mine, self.member)
        return all(entry_id.decode() in known for entry_id, *_ in mine)

    def leave(self) -> None:
        """Leave the group: what the server thinks this member holds is given back, then its name is removed."""
        self.collect()
        with self._lock:
            untried = self._held.keys() - self._handed_out - self._claimed.keys()
        self._script("leave", self.member, *untried)
        self._let_go(self.held())
