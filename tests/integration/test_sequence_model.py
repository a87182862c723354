"""The sequencing scripts against a simple model, on the real server: whatever is sent in whatever order, both agree."""

from __future__ import annotations

import uuid
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

from beamstream import Address, Header
from beamstream.producer.publishing import Status
from beamstream.protocol import EntryKind, StreamKeys, encode_header
from beamstream.protocol.client import Server
from beamstream.state import read_state
from beamstream.streams import index_entries

FOR_EVER_MS = 10**9

ABSENCES = (b"declined", b"stated")

MESSAGES = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([b"a", b"b", *ABSENCES])),
    min_size=1,
    max_size=6,
)
"""Few ids, two payloads each, and the word that there is none, so that duplicates, conflicts and gaps are common."""


class Model:
    """What a stream is, in ten lines a transition."""

    def __init__(self) -> None:
        self.next = 1
        self.held: dict[int, bytes] = {}
        self.present: dict[int, bytes] = {}
        self.index: list[tuple[str, int, int]] = []
        self.last: int | None = None
        self.sealed = False

    def publish(self, message_id: int, payload: bytes) -> Status:
        if payload in ABSENCES:
            return self.publish_absence(message_id, payload)
        known = self.present.get(message_id, self.held.get(message_id))
        if message_id in self.declined:
            return Status.CONFLICT
        if known is not None and known != b"stated":
            return Status.DUPLICATE if known == payload else Status.CONFLICT
        if message_id < self.next:
            self.present[message_id] = payload
            self.index.append(("late", message_id, message_id))
            return Status.LATE
        if self.last is not None and message_id > self.last:
            return Status.REFUSED
        self.held[message_id] = payload
        self.drain()
        return Status.HELD if message_id in self.held else Status.APPENDED

    def publish_absence(self, message_id: int, reason: bytes) -> Status:
        known = self.present.get(message_id, self.held.get(message_id))
        if known is not None and known not in ABSENCES and reason == b"declined":
            return Status.CONFLICT
        if known is not None or message_id < self.next:
            return Status.DUPLICATE
        if self.last is not None and message_id > self.last:
            return Status.REFUSED
        self.held[message_id] = reason
        self.drain()
        return Status.HELD if message_id in self.held else Status.APPENDED

    def drain(self) -> None:
        while self.next in self.held:
            payload = self.held.pop(self.next)
            if payload in ABSENCES:
                self.index.append((payload.decode(), self.next, self.next))
            else:
                self.present[self.next] = payload
                self.index.append(("message", self.next, self.next))
            self.next += 1

    @property
    def declined(self) -> set[int]:
        return self.absent("declined") | {i for i, payload in self.held.items() if payload == b"declined"}

    def absent(self, *reasons: str) -> set[int]:
        return {i for kind, first, last in self.index if kind in reasons for i in range(first, last + 1)}

    def lose_patience(self) -> None:
        while self.held:
            self.pass_over(min(self.held) - 1)
        if self.last is not None and self.next <= self.last:
            self.pass_over(self.last)
        self.seal()

    def pass_over(self, last_id: int) -> None:
        self.index.append(("gap", self.next, last_id))
        self.next = last_id + 1
        self.drain()

    def finish(self, last_id: int) -> None:
        if self.last is None:
            self.last = max(last_id, self.next - 1, *self.held, 0)
        self.seal()

    def seal(self) -> None:
        if self.last is not None and self.next > self.last and not self.sealed:
            self.sealed = True
            self.index.append(("end", self.last, self.last))


class Sequence(RuleBasedStateMachine):
    """Random operations on one stream of the server and on the model."""

    server: Server

    @initialize()
    def open(self) -> None:
        self.model = Model()
        self.address = Address("bt", "model", uuid.uuid4().hex)
        self.keys = StreamKeys(self.address)
        self.server.script("open", [self.keys.state], [1, FOR_EVER_MS, "", "", ""])

    @rule(messages=MESSAGES, again=st.booleans())
    def publish(self, messages: list[tuple[int, bytes]], again: bool) -> None:
        arguments: list[Any] = [int(again)]
        for message_id, payload in messages:
            if payload in ABSENCES:
                arguments += (message_id, b"", payload)
                continue
            header = Header(payload_bytes=1, checksum=xxhash.xxh3_64_intdigest(payload), timestamp_ns=0)
            arguments += (message_id, encode_header(header), payload)
        expected = []
        for message in messages:
            expected.append(self.model.publish(*message))
            self.model.seal()
        # The script writes the end after the whole batch; the model's index is compared behind it.
        answer = self.server.script("publish", self.keys.sequence, arguments)
        assert [Status(number) for number in answer[4:]] == expected
        assert answer[:4] == [
            self.model.next,
            len(self.model.held),
            int(self.model.sealed),
            len(self.model.present),
        ]

    @precondition(lambda self: self.model.held or self.model.last is not None)
    @rule()
    def lose_patience(self) -> None:
        self.server.call("HSET", self.keys.state, "patience_ms", 0)
        self.server.script("publish", self.keys.sequence, [0])
        self.server.call("HSET", self.keys.state, "patience_ms", FOR_EVER_MS)
        self.model.lose_patience()

    @rule(last_id=st.integers(0, 14))
    def finish(self, last_id: int) -> None:
        self.server.script("finish", self.keys.sequence, [last_id, "complete", ""])
        self.model.finish(last_id)

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        seen = []
        for entry in index_entries(self.server, self.address):
            if entry.gap is not None:
                reason = entry.gap.reason if entry.gap.reason.encode() in ABSENCES else "gap"
                seen.append((reason, entry.gap.first_id, entry.gap.last_id))
            elif entry.kind is EntryKind.END:
                seen.append(("end", entry.message_id, entry.message_id))
            else:
                seen.append(("late" if entry.late else "message", entry.message_id, entry.message_id))
        assert _whole_gaps(_end_aside(seen)) == _whole_gaps(_end_aside(self.model.index))
        state = read_state(self.server, self.keys)
        assert state is not None
        assert (state.next_id, state.n_held, state.finished) == (
            self.model.next,
            len(self.model.held),
            self.model.sealed,
        )
        assert state.n_received == len(self.model.present)
        assert state.n_missing == len(self.model.absent("gap", "stated") - self.model.present.keys())
        assert state.n_declined == len(self.model.absent("declined"))


def _end_aside(index: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Put the end behind everything: late messages of the batch that completes a stream may stand on either side."""
    return sorted(index, key=lambda entry: entry[0] == "end")


def _whole_gaps(index: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Join neighbouring gaps of one reason: how many entries they are depends on how they came."""
    whole: list[tuple[str, int, int]] = []
    for kind, first, last in index:
        if whole and kind in ("declined", "stated") and (whole[-1][0], whole[-1][2] + 1) == (kind, first):
            whole[-1] = kind, whole[-1][1], last
        else:
            whole.append((kind, first, last))
    return whole


def test_the_scripts_do_what_the_model_does(broker: str) -> None:
    Sequence.server = Server(broker)
    run_state_machine_as_test(
        Sequence,
        settings=settings(max_examples=60, stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )


def test_many_gaps_cost_no_more_patience_than_one(broker: str) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))
    server.script("open", [keys.state], [1, 50, "", "", ""])
    arguments: list[Any] = [0]
    for message_id in range(2, 42, 2):
        arguments += (message_id, encode_header(Header(payload_bytes=1, checksum=0, timestamp_ns=0)), b"x")
    n_held = server.script("publish", keys.sequence, arguments)[1]
    assert n_held == 20
    while n_held == 20:
        _, n_held, *_ = server.script("publish", keys.sequence, [0])
    assert n_held == 0, "all twenty came at the same time and have waited equally long"


def test_a_stream_made_by_another_session_is_told_from_ones_own(broker: str) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))

    def made(session: str) -> bool:
        return bool(server.script("open", [keys.state], [1, 1000, "", session, ""])[0])

    assert made("one")
    assert made("one"), "a repeated attempt of the same session"
    assert not made("two")
    assert not made("")


@pytest.mark.parametrize("last_id", [0, 5])
def test_finishing_twice_changes_nothing(broker: str, last_id: int) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))
    server.script("open", [keys.state], [1, 0, "", "", ""])
    first = server.script("finish", keys.sequence, [last_id, "complete", ""])
    assert server.script("finish", keys.sequence, [99, "aborted", "other"]) == first == [last_id, 1]
    state = read_state(server, keys)
    assert state is not None
    assert (state.word, state.next_stream, state.last_id) == ("complete", None, last_id)


def test_a_finished_stream_waits_as_long_as_others_still_send(broker: str) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))
    server.script("open", [keys.state], [1, 60_000, "", ""])
    server.script("finish", keys.sequence, [3, "complete", ""])

    def send_after_50_s(message_id: int) -> Any:
        server.call("HINCRBY", keys.state, "finish_since_ms", -50_000)
        header = encode_header(Header(payload_bytes=1, checksum=0, timestamp_ns=0))
        return server.script("publish", keys.sequence, [0, message_id, header, b"x"])

    assert [Status(send_after_50_s(message_id)[-1]) for message_id in (1, 2, 3)] == [Status.APPENDED] * 3
    state = read_state(server, keys)
    assert state is not None
    assert (state.finished, state.n_missing, state.n_late) == (True, 0, 0)
