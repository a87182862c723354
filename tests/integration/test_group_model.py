"""The scripts of groups against a simple model, on the real server: whatever members do, every message is exactly in
one place, and its attempts are counted right."""

from __future__ import annotations

import uuid
from typing import Any

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

from beamstream import Address, Header
from beamstream.consumer.group import GroupMember
from beamstream.groups import (
    PARKED,
    Redelivery,
    Target,
    group_info,
    list_dead_letters,
    reinject_dead_letters,
    seek_group,
)
from beamstream.protocol import StreamKeys, encode_header
from beamstream.protocol.client import Server

MAX_ATTEMPTS = 2
LONG_S = 1000.0
MEMBERS = st.sampled_from([0, 1])
NUMBERS = st.integers(0, 3)


class Pending:
    """A message that a group waits for: who has it, which delivery it is, whether it was handed out."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.n = 1
        self.claimed = False
        self.handed_out = False


class Group(RuleBasedStateMachine):
    """Random operations of two members of one group, on the server and on the model."""

    server: Server

    @initialize()
    def open(self) -> None:
        self.address = Address("bt", "model", uuid.uuid4().hex)
        self.keys = StreamKeys(self.address)
        self.server.script("open", [self.keys.state], [1, 0, "", "", ""])
        self.n_published = 0
        self.position = 0
        self.pending: dict[int, Pending] = {}
        self.due: set[int] = set()
        self.waiting: set[int] = set()
        self.dead: dict[int, int] = {}
        self.members = [self.new_member(), self.new_member()]

    def new_member(self) -> GroupMember:
        member = GroupMember(self.server, self.keys, "g", uuid.uuid4().hex[:8], member_timeout_s=LONG_S)
        member.join("0-0", Redelivery(max_attempts=MAX_ATTEMPTS), required=False)
        return member

    def held_by(self, member: GroupMember, *, handed_out: bool) -> list[int]:
        return sorted(
            message_id
            for message_id, pending in self.pending.items()
            if pending.owner == member.member and pending.handed_out == handed_out
        )

    def publish(self, number: int) -> None:
        arguments: list[Any] = [0]
        for message_id in range(self.n_published + 1, self.n_published + number + 1):
            header = Header(payload_bytes=1, checksum=xxhash.xxh3_64_intdigest(b"x"), timestamp_ns=1)
            arguments += (message_id, encode_header(header), b"x")
        self.server.script("publish", self.keys.sequence, arguments)
        self.n_published += number

    @rule(which=MEMBERS, n_new=NUMBERS, count=st.integers(1, 3), n_handed_out=NUMBERS)
    def read(self, which: int, n_new: int, count: int, n_handed_out: int) -> None:
        self.publish(n_new)
        member = self.members[which]
        got = [entry.message_id for entry in member.read(count, 0)]
        last = min(self.position + count, self.n_published)
        assert got == list(range(self.position + 1, last + 1))
        self.pending.update((message_id, Pending(member.member)) for message_id in got)
        self.position = last
        self.hand_out(member, n_handed_out)

    def hand_out(self, member: GroupMember, number: int) -> None:
        for message_id in self.held_by(member, handed_out=False)[:number]:
            assert member.hand_out(f"{message_id}-0")
            pending = self.pending[message_id]
            pending.handed_out = True
            pending.n += pending.claimed

    @rule(which=MEMBERS, number=NUMBERS, delay_s=st.sampled_from([None, 0.0, 0.0, 2 * LONG_S]))
    def be_done(self, which: int, number: int, delay_s: float | None) -> None:
        for message_id in self.held_by(self.members[which], handed_out=True)[:number]:
            if delay_s is None:
                assert self.members[which].acknowledge([f"{message_id}-0"]) == 1
                del self.pending[message_id]
            else:
                self.give_back(self.members[which], message_id, delay_s)

    def give_back(self, member: GroupMember, message_id: int, delay_s: float) -> None:
        buried = member.give_back(message_id, f"{message_id}-0", delay_s, "why")
        pending = self.pending[message_id]
        assert buried == (pending.n >= MAX_ATTEMPTS)
        if buried:
            self.dead[message_id] = pending.n
            del self.pending[message_id]
        else:
            pending.owner = PARKED
            (self.waiting if delay_s else self.due).add(message_id)

    @rule(which=MEMBERS, n_handed_out=NUMBERS)
    def claim(self, which: int, n_handed_out: int) -> None:
        member = self.members[which]
        alive = {one.member for one in self.members}
        free = self.due | {
            message_id
            for message_id, pending in self.pending.items()
            if pending.owner not in alive and message_id not in self.waiting
        }
        claimed = member.claim(64, from_the_dead=True)
        expected = {}
        for message_id in sorted(free):
            pending = self.pending[message_id]
            if pending.n >= MAX_ATTEMPTS:
                self.dead[message_id] = pending.n
                del self.pending[message_id]
            else:
                expected[message_id] = pending.n + 1
                pending.owner, pending.claimed, pending.handed_out = member.member, True, False
        self.due.clear()
        assert {entry.message_id: n for entry, n in claimed.deliveries} == expected
        assert claimed.n_dead == len(free) - len(expected)
        self.hand_out(member, n_handed_out)

    @rule(which=MEMBERS, killed=st.booleans())
    def end(self, which: int, killed: bool) -> None:
        gone, self.members[which] = self.members[which], self.new_member()
        (self.crash if killed else self.leave)(gone)

    def crash(self, gone: GroupMember) -> None:
        # As if the member timeout had passed since it was last seen, and since others gave their messages back.
        for message_id, pending in self.pending.items():
            if pending.owner == gone.member or message_id in self.waiting:
                aged = ("IDLE", int(2000 * LONG_S), "JUSTID")
                self.server.call("XCLAIM", self.keys.index, "g", pending.owner, 0, f"{message_id}-0", *aged)

    def leave(self, gone: GroupMember) -> None:
        gone.leave()
        for message_id, pending in self.pending.items():
            if pending.owner == gone.member:
                pending.n -= not pending.handed_out and not pending.claimed
                pending.owner = PARKED
                self.due.add(message_id)

    @rule(which=MEMBERS)
    def touch(self, which: int) -> None:
        self.members[which].touch()

    @precondition(lambda self: self.dead)
    @rule()
    def reinject(self) -> None:
        assert reinject_dead_letters(self.server, self.address, "g") == sorted(self.dead)
        for message_id in self.dead:
            pending = self.pending[message_id] = Pending(PARKED)
            pending.n = 0
            self.due.add(message_id)
        self.dead.clear()

    @precondition(lambda self: self.n_published)
    @rule(data=st.data())
    def seek(self, data: st.DataObject) -> None:
        message_id = data.draw(st.integers(1, self.n_published))
        done = seek_group(self.server, self.address, "g", Target(message_id=message_id), force=True)
        assert done.n_again == max(0, self.position - message_id + 1)
        before = [one for one in self.pending if one < message_id]
        assert done.n_passed_over == max(0, message_id - 1 - self.position) + len(before)
        assert done.n_let_go == len(self.pending)
        self.position = message_id - 1
        self.pending.clear()
        self.due.clear()
        self.waiting.clear()
        self.dead = {one: n for one, n in self.dead.items() if one < message_id}

    @invariant()
    def the_server_says_what_the_model_says(self) -> None:
        listed = self.server.call("XPENDING", self.keys.index, "g", "-", "+", 1000)
        assert {int(one.partition(b"-")[0]): (owner.decode(), n) for one, owner, _, n in listed} == {
            message_id: (pending.owner, pending.n) for message_id, pending in self.pending.items()
        }
        delayed = self.server.call("ZRANGE", self.keys.delayed("g"), 0, -1)
        assert {int(one.partition(b"-")[0]) for one in delayed} == self.due | self.waiting
        letters = list_dead_letters(self.server, self.address, "g")
        assert {letter.message_id: letter.n_deliveries for letter in letters} == self.dead
        info = group_info(self.server, self.address, "g")
        assert (info.lag_messages, info.n_pending, info.n_dead) == (
            self.n_published - self.position,
            len(self.pending),
            len(self.dead),
        )


def test_the_scripts_of_groups_do_what_the_model_does(broker: str) -> None:
    Group.server = Server(broker)
    run_state_machine_as_test(
        Group,
        settings=settings(max_examples=120, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )


def test_a_message_that_comes_a_second_time_after_a_seek_counts_as_new_to_the_same_member(broker: str) -> None:
    Group.server = Server(broker)
    group = Group()
    Group.open(group)
    member = group.members[0]
    Group.read(group, which=0, n_new=1, count=1, n_handed_out=1)
    for _ in range(2):
        seek_group(group.server, group.address, "g", Target(message_id=1), force=True)
        assert [entry.message_id for entry in member.read(1, 0)] == [1]
        member.leave()
        claimed = member.claim(1, from_the_dead=False)
        assert [n for _, n in claimed.deliveries] == [1], "it was read, but never handed out"
