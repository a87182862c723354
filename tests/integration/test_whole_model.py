"""Everything at once against a simple model, on the real server and a real disk.

Producers publish in any order, twice, other payloads under the same id, and crash on the way; two groups read,
acknowledge, give back, crash, claim, seek; the broker spills, releases and is killed in between. After every step
the index, every payload, what each group waits for, the server's accounts and its keys are what the model says, and in
the end the same stands in the segments.

`BEAMSTREAM_MODEL_EXAMPLES=2000 pytest tests/integration/test_whole_model.py` is the long form: other examples every
time, as many as that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from beamstream import Address, Consumer, Header
from beamstream.consumer.group import GroupMember
from beamstream.dataset import Stored
from beamstream.groups import (
    PARKED,
    Redelivery,
    Target,
    group_info,
    list_dead_letters,
    reinject_dead_letters,
    seek_group,
)
from beamstream.offline import path_receipt
from beamstream.payloads import MemoryTier
from beamstream.producer.publishing import WITHOUT_USE, Status
from beamstream.protocol import EntryKind, StreamKeys, encode_header
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments.reader import SegmentReader
from beamstream.state import read_state
from beamstream.streams import delete_stream, index_entries, list_sources
from beamstream.tiers import TieredPayloads
from beamstream_broker import retention, spilling
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.spilling import Spilling

N_EXAMPLES = int(os.environ.get("BEAMSTREAM_MODEL_EXAMPLES", "0"))
FOR_EVER_MS = 10**9
LONG_S = 1000.0
MAX_ATTEMPTS = 2
LARGE_BYTES = 40
"""Payloads of this size have a key of their own here; the others lie in the index."""

PAYLOADS = (b"a", b"b", b"A" * LARGE_BYTES, b"A" * LARGE_BYTES, b"A" * LARGE_BYTES, b"B" * LARGE_BYTES)
MESSAGES = st.lists(st.tuples(st.integers(1, 10), st.sampled_from(PAYLOADS)), min_size=1, max_size=5)
"""Few ids and payloads, so that duplicates, conflicts and gaps are common."""

GROUPS = ("one", "two")
MEMBERS = st.tuples(st.sampled_from(GROUPS), st.sampled_from([0, 1]))
NUMBERS = st.integers(0, 3)


@dataclass
class Stream:
    """What a stream is: entries are (kind, message id or last id of the gap)."""

    next: int = 1
    held: dict[int, bytes] = field(default_factory=dict)
    present: dict[int, bytes] = field(default_factory=dict)
    index: list[tuple[str, int]] = field(default_factory=list)
    last: int | None = None
    sealed: bool = False

    def publish(self, message_id: int, payload: bytes) -> Status:
        known = self.present.get(message_id, self.held.get(message_id))
        if known is not None:
            return Status.DUPLICATE if known == payload else Status.CONFLICT
        if message_id < self.next:
            self.present[message_id] = payload
            self.index.append(("late", message_id))
            return Status.LATE
        if self.last is not None and message_id > self.last:
            return Status.REFUSED
        self.held[message_id] = payload
        self.drain()
        return Status.HELD if message_id in self.held else Status.APPENDED

    def drain(self) -> None:
        while self.next in self.held:
            self.present[self.next] = self.held.pop(self.next)
            self.index.append(("message", self.next))
            self.next += 1

    def lose_patience(self) -> None:
        while self.held:
            self.pass_over(min(self.held) - 1)
        if self.last is not None and self.next <= self.last:
            self.pass_over(self.last)
        self.seal()

    def pass_over(self, last_id: int) -> None:
        self.index.append(("gap", last_id))
        self.next = last_id + 1
        self.drain()

    def finish(self, last_id: int) -> None:
        if self.last is None:
            self.last = max(last_id, self.next - 1, *self.held, 0)
        self.seal()

    def seal(self) -> None:
        if self.last is not None and self.next > self.last and not self.sealed:
            self.sealed = True
            self.index.append(("end", self.last))


@dataclass
class Pending:
    """A message that a group waits for: who has it, which delivery it is, whether it was handed out."""

    owner: str
    n: int = 1
    claimed: bool = False
    handed_out: bool = False


@dataclass
class Group:
    """Where a group is: behind this place, which may lie before entries that come later. Entries by their number."""

    name: str
    members: list[GroupMember]
    place: tuple[int, int] = (0, 0)
    pending: dict[int, Pending] = field(default_factory=dict)
    due: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    dead: dict[int, int] = field(default_factory=dict)


def large(payload: bytes) -> bool:
    return len(payload) >= LARGE_BYTES


def checksum(payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload)


def place(entry_id: str) -> tuple[int, int]:
    position, _, number = entry_id.partition("-")
    return int(position), int(number)


class Whole(RuleBasedStateMachine):
    """Random operations of producers, groups and the broker, on one stream of the server and on the model."""

    server: Server

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="beamstream-model-"))
        self.address = Address("bt", "model", uuid.uuid4().hex)
        self.keys = StreamKeys(self.address)
        self.server.script("open", [self.keys.state], [1, FOR_EVER_MS, "", "", ""])
        self.server.call("SADD", "bs1:sources", "bt/model")
        self.server.call("ZADD", "bs1:{bt/model}:streams", 1, self.address.name)
        self.memory = MemoryTier(self.server, self.keys)
        self.tier = TieredPayloads(self.server, self.keys)
        self.stream = Stream()
        self.ids: list[str] = []
        self.orphans: set[str] = set()
        self.before: list[tuple[int, bytes]] = []
        self.spilling = Spilling(self.server, self.folder)
        self.groups = {name: Group(name, []) for name in GROUPS}
        for group in self.groups.values():
            group.members = [self.new_member(group.name), self.new_member(group.name)]

    def new_member(self, group: str) -> GroupMember:
        member = GroupMember(self.server, self.keys, group, uuid.uuid4().hex[:8], member_timeout_s=LONG_S)
        member.join("0-0", Redelivery(max_attempts=MAX_ATTEMPTS), required=False)
        return member

    def see(self) -> None:
        """Take down the ids of the entries that the server has."""
        entries = list(index_entries(self.server, self.address))
        self.ids = [entry.entry_id for entry in entries]
        kinds = {EntryKind.GAP: "gap", EntryKind.END: "end", EntryKind.MESSAGE: "message"}
        assert [
            ("late" if entry.late else kinds[entry.kind], entry.message_id) for entry in entries
        ] == self.stream.index

    # --- producers ---------------------------------------------------------------------------------------------

    @rule(messages=MESSAGES, crash=st.sampled_from(["no", "no", "no", "before", "half", "after"]))
    def publish(self, messages: list[tuple[int, bytes]], crash: str) -> None:
        stored = [((one, checksum(payload)), payload) for one, payload in messages if large(payload)]
        self.memory.store(stored)
        if crash != "no":
            self.orphans |= {self.keys.payload(*payload_id) for payload_id, _ in stored}
        self.before = messages
        if crash == "before":
            return
        batch = messages[: len(messages) // 2] if crash == "half" else messages
        statuses = self.send(batch, again=False)
        if crash == "no":
            useless = [
                (one, checksum(payload))
                for (one, payload), status in zip(messages, statuses, strict=True)
                if status in WITHOUT_USE and large(payload)
            ]
            self.memory.delete(useless)

    @precondition(lambda self: self.before)
    @rule()
    def come_back_and_send_again(self) -> None:
        self.publish(self.before, "no")

    def send(self, batch: list[tuple[int, bytes]], *, again: bool) -> list[Status]:
        arguments: list[Any] = [int(again)]
        expected = []
        for message_id, payload in batch:
            header = Header(payload_bytes=len(payload), checksum=checksum(payload), timestamp_ns=0)
            arguments += (message_id, encode_header(header), b"" if large(payload) else payload)
            status = self.stream.publish(message_id, payload)
            if status is Status.DUPLICATE and self.has_left(message_id):
                status = Status.RELEASED
            expected.append(status)
        self.stream.seal()
        _put_end_aside(self.stream.index, len(self.ids))
        answer = self.server.script("publish", self.keys.sequence, arguments)
        assert [Status(number) for number in answer[4:]] == expected
        assert answer[:4] == [
            self.stream.next,
            len(self.stream.held),
            int(self.stream.sealed),
            len(self.stream.present),
        ]
        self.see()
        return expected

    def released(self) -> int:
        """Return how many entries have left memory."""
        raw = self.server.call("HGET", self.keys.state, "released_entry")
        return sum(place(one) <= place(raw.decode()) for one in self.ids) if raw else 0

    def has_left(self, message_id: int) -> bool:
        known = [(kind, one) for kind, one in self.stream.index[: self.released()] if kind in ("message", "late")]
        return any(one == message_id for _, one in known)

    @precondition(lambda self: self.stream.held or self.stream.last is not None)
    @rule()
    def lose_patience(self) -> None:
        self.server.call("HSET", self.keys.state, "patience_ms", 0)
        self.server.script("publish", self.keys.sequence, [0])
        self.server.call("HSET", self.keys.state, "patience_ms", FOR_EVER_MS)
        self.stream.lose_patience()
        self.see()

    @precondition(lambda self: self.stream.last is None)
    @rule(last_id=st.integers(5, 16))
    def finish(self, last_id: int) -> None:
        self.server.script("finish", self.keys.sequence, [last_id, "complete", ""])
        self.stream.finish(last_id)
        self.see()

    # --- the broker --------------------------------------------------------------------------------------------

    @rule(n_bytes=st.sampled_from([1, 50, 100, 10**9]))
    def relieve(self, n_bytes: int) -> None:
        memory = MemoryUse(used_bytes=4 * n_bytes, limit_bytes=4 * n_bytes)
        assert memory.excess_bytes == n_bytes
        Retention(self.server, self.spilling).relieve(memory)

    @rule(n_bytes=st.sampled_from([1, 50, 10**9]), torn_bytes=st.sampled_from([0, 0, 7]))
    def spill_and_die(self, n_bytes: int, torn_bytes: int) -> None:
        self.spilling.spill(self.address, 1, n_bytes)
        self.spilling.close()
        if torn_bytes:
            # As if it had been killed while it wrote the next record; nothing is written behind a closed segment.
            for path in sorted(self.folder.rglob("*.seg"))[-1:]:
                with SegmentReader(path) as reader:
                    closed = reader.report.closed
                if not closed:
                    with path.open("ab") as file:
                        file.write(b"\xb5BSREC\x01"[:torn_bytes])
        self.spilling = Spilling(self.server, self.folder)

    # --- groups ------------------------------------------------------------------------------------------------

    def position(self, group: Group) -> int:
        """Return how many entries lie behind a group."""
        return sum(place(one) <= group.place for one in self.ids)

    def held_by(self, group: Group, member: GroupMember, *, handed_out: bool) -> list[int]:
        return sorted(
            number
            for number, pending in group.pending.items()
            if pending.owner == member.member and pending.handed_out == handed_out
        )

    @rule(who=MEMBERS, count=st.integers(1, 4), n_handed_out=NUMBERS)
    def read(self, who: tuple[str, int], count: int, n_handed_out: int) -> None:
        group = self.groups[who[0]]
        member = group.members[who[1]]
        got = [entry.entry_id for entry in member.read(count, 0)]
        begin = self.position(group)
        numbers = range(begin, min(begin + count, len(self.ids)))
        assert got == [self.ids[number] for number in numbers]
        marks = [number for number in numbers if self.stream.index[number][0] in ("gap", "end")]
        member.acknowledge([self.ids[number] for number in marks])
        group.pending.update((number, Pending(member.member)) for number in numbers if number not in marks)
        group.place = max(group.place, *(place(self.ids[number]) for number in numbers), (0, 0))
        self.hand_out(group, member, n_handed_out)

    def hand_out(self, group: Group, member: GroupMember, n_wanted: int) -> None:
        for number in self.held_by(group, member, handed_out=False)[:n_wanted]:
            assert member.hand_out(self.ids[number])
            pending = group.pending[number]
            pending.handed_out = True
            pending.n += pending.claimed

    @rule(who=MEMBERS, n_wanted=NUMBERS, delay_s=st.sampled_from([None, None, 0.0, 0.0, 2 * LONG_S]))
    def be_done(self, who: tuple[str, int], n_wanted: int, delay_s: float | None) -> None:
        group = self.groups[who[0]]
        member = group.members[who[1]]
        for number in self.held_by(group, member, handed_out=True)[:n_wanted]:
            if delay_s is None:
                assert member.acknowledge([self.ids[number]]) == 1
                del group.pending[number]
                continue
            pending = group.pending[number]
            buried = member.give_back(self.stream.index[number][1], self.ids[number], delay_s, "why")
            assert buried == (pending.n >= MAX_ATTEMPTS)
            if buried:
                group.dead[number] = pending.n
                del group.pending[number]
            else:
                pending.owner = PARKED
                (group.waiting if delay_s else group.due).add(number)

    @rule(who=MEMBERS, n_handed_out=NUMBERS)
    def claim(self, who: tuple[str, int], n_handed_out: int) -> None:
        group = self.groups[who[0]]
        member = group.members[who[1]]
        alive = {one.member for one in group.members}
        left = {n for n, one in group.pending.items() if one.owner not in alive and n not in group.waiting}
        expected = {}
        for number in sorted(group.due | left):
            pending = group.pending[number]
            if pending.n >= MAX_ATTEMPTS:
                group.dead[number] = pending.n
                del group.pending[number]
            else:
                expected[self.ids[number]] = pending.n + 1
                pending.owner, pending.claimed, pending.handed_out = member.member, True, False
        group.due.clear()
        claimed = member.claim(64, from_the_dead=True)
        assert {entry.entry_id: n for entry, n in claimed.deliveries} == expected
        self.hand_out(group, member, n_handed_out)

    @rule(who=MEMBERS, killed=st.booleans())
    def end(self, who: tuple[str, int], killed: bool) -> None:
        group = self.groups[who[0]]
        gone, group.members[who[1]] = group.members[who[1]], self.new_member(group.name)
        if not killed:
            gone.leave()
        for number, pending in group.pending.items():
            if pending.owner == gone.member and not killed:
                pending.n -= not pending.handed_out and not pending.claimed
                pending.owner = PARKED
                group.due.add(number)
            elif killed and (pending.owner == gone.member or number in group.waiting):
                # As if the member timeout had passed since it was last seen, and since others gave theirs back.
                aged = ("IDLE", int(2000 * LONG_S), "JUSTID")
                self.server.call("XCLAIM", self.keys.index, group.name, pending.owner, 0, self.ids[number], *aged)

    @rule(who=MEMBERS)
    def touch(self, who: tuple[str, int]) -> None:
        self.groups[who[0]].members[who[1]].touch()

    @rule(name=st.sampled_from(GROUPS))
    def reinject(self, name: str) -> None:
        group = self.groups[name]
        assert reinject_dead_letters(self.server, self.address, name) == sorted(
            self.stream.index[number][1] for number in group.dead
        )
        for number in group.dead:
            group.pending[number] = Pending(PARKED, n=0)
            group.due.add(number)
        group.dead.clear()

    @precondition(lambda self: self.ids)
    @rule(name=st.sampled_from(GROUPS), message_id=st.integers(1, 16))
    def seek(self, name: str, message_id: int) -> None:
        group = self.groups[name]
        done = seek_group(self.server, self.address, name, Target(message_id=message_id), force=True)
        position = sum(place(one)[0] < message_id for one in self.ids)
        again = self.n_messages(self.position(group)) - self.n_messages(position)
        assert done.n_again == max(0, again)
        assert done.n_passed_over == max(0, -again) + sum(number < position for number in group.pending)
        assert done.n_let_go == len(group.pending)
        group.place = (message_id - 1, 2**64 - 1)
        for waits in (group.pending, group.due, group.waiting):
            waits.clear()
        group.dead = {number: n for number, n in group.dead.items() if number < position}

    def n_messages(self, up_to: int | None = None) -> int:
        return sum(kind in ("message", "late") for kind, _ in self.stream.index[:up_to])

    # --- never differs -----------------------------------------------------------------------------------------

    @invariant()
    def every_message_can_be_read_and_nothing_else_is_kept(self) -> None:
        self.see()
        stored = [(one, payload) for one, payload in self.stream.present.items() if large(payload)]
        fetched = self.tier.fetch([Stored((one, checksum(payload)), None, len(payload)) for one, payload in stored])
        assert [bytes(payload or b"gone") for payload in fetched] == [payload for _, payload in stored]
        in_memory = {one: payload for one, payload in self.stream.held.items() if large(payload)}
        for kind, one in self.stream.index[self.released() :]:
            if kind in ("message", "late") and large(self.stream.present[one]):
                in_memory[one] = self.stream.present[one]
        keys = {key.decode() for key in self.server.call("KEYS", f"bs1:p:{self.address}:*")}
        needed = {self.keys.payload(one, checksum(payload)) for one, payload in in_memory.items()}
        assert needed <= keys
        assert keys - needed <= self.orphans
        state = read_state(self.server, self.keys)
        assert state is not None
        assert (state.memory_bytes, state.total_bytes, state.n_dropped) == (
            sum(map(len, in_memory.values())),
            sum(map(len, self.stream.present.values())),
            0,
        )

    @invariant()
    def each_group_waits_for_what_the_model_says(self) -> None:
        for name, group in self.groups.items():
            listed = self.server.call("XPENDING", self.keys.index, name, "-", "+", 1000)
            assert {one.decode(): (owner.decode(), n) for one, owner, _, n in listed} == {
                self.ids[number]: (pending.owner, pending.n) for number, pending in group.pending.items()
            }
            delayed = self.server.call("ZRANGE", self.keys.delayed(name), 0, -1)
            assert {one.decode() for one in delayed} == {self.ids[n] for n in group.due | group.waiting}
            letters = list_dead_letters(self.server, self.address, name)
            assert {one.entry_id: one.n_deliveries for one in letters} == {
                self.ids[number]: n for number, n in group.dead.items()
            }
            info = group_info(self.server, self.address, name)
            assert (info.lag_messages, info.n_pending, info.n_dead) == (
                self.n_messages() - self.n_messages(self.position(group)),
                len(group.pending),
                len(group.dead),
            )

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            if self.ids:
                self.compare_the_disk()
        finally:
            self.spilling.close()
            delete_stream(self.server, self.address)
            shutil.rmtree(self.folder)

    def compare_the_disk(self) -> None:
        """In the end everything goes to disk, and is the same there."""
        self.spilling.spill(self.address, 1, 10**12)
        self.spilling.close()
        online = make_receipt(self.server, self.address)
        (folder,) = {path.parent for path in self.folder.rglob("*.seg")}
        offline = path_receipt(folder, verify=True)
        for name in ("state", "received", "missing", "late", "payload_bytes", "checksum"):
            assert getattr(offline, name) == getattr(online, name), name
        with Consumer(folder) as reader:
            read = [(frame.message_id, bytes(frame.payload)) for frame in reader]
        messages = [one for kind, one in self.stream.index if kind in ("message", "late")]
        assert read == [(one, self.stream.present[one]) for one in messages]


def _put_end_aside(index: list[tuple[str, int]], n_before: int) -> None:
    """The script writes the end after the whole batch: late messages of that batch stand before it."""
    new = sorted(index[n_before:], key=lambda entry: entry[0] == "end")
    index[n_before:] = new


@pytest.mark.timeout(0 if N_EXAMPLES else 120)
def test_whatever_producers_groups_and_the_broker_do_the_server_is_what_the_model_says(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spilling, "PAGE_MESSAGES", 3)  # so that pages end in the middle of everything
    monkeypatch.setattr(retention, "MAX_PAGE_MESSAGES", 2)
    Whole.server = Server(broker)
    assert list_sources(Whole.server) == []
    run_state_machine_as_test(
        Whole,
        settings=settings(
            max_examples=N_EXAMPLES or 60,
            stateful_step_count=30,
            derandomize=not N_EXAMPLES,
            suppress_health_check=list(HealthCheck),
        ),
    )
