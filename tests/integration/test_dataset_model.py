"""The scripts for datasets against a simple model, on the real server: whatever parts come in whatever order."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
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
from beamstream.errors import ServerRefusedError
from beamstream.producer.publishing import Status
from beamstream.protocol import Entry, EntryKind, StreamKeys, encode_header
from beamstream.protocol.client import Server
from beamstream.state import read_state
from beamstream.streams import index_entries

FOR_EVER_MS = 10**9
N_PARTS, MIN_PARTS = 3, 2

PARTS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, N_PARTS), st.sampled_from([b"a", b"bb"])), min_size=1, max_size=9
)
"""Few ids and two payloads each, so that complete ones, duplicates, conflicts and gaps are all common."""

Parts = dict[int, bytes]
Seen = tuple[str, int, int, tuple[tuple[int, int], ...], bool]


class Model:
    """What a stream of datasets is, in ten lines a transition."""

    def __init__(self) -> None:
        self.next = 1
        self.held: dict[int, Parts] = {}
        self.present: dict[int, Parts] = {}
        self.index: list[Seen] = []
        self.last: int | None = None
        self.sealed = False
        self.n_late = self.n_additions = 0
        self.declined: set[int] = set()

    def publish(self, message_id: int, part: int, payload: bytes) -> Status:
        known = (self.present if message_id < self.next else self.held).get(message_id, {}).get(part)
        if message_id in self.declined:
            return Status.CONFLICT
        if known is not None:
            return Status.DUPLICATE if known == payload else Status.CONFLICT
        if message_id < self.next:
            self.put("late", message_id, {part: payload})
            return Status.LATE
        if self.last is not None and message_id > self.last:
            return Status.REFUSED
        self.held.setdefault(message_id, {})[part] = payload
        self.drain()
        return Status.HELD if message_id in self.held else Status.APPENDED

    def decline(self, message_id: int) -> Status:
        if message_id in self.present or self.held.get(message_id):
            return Status.CONFLICT
        if message_id < self.next or message_id in self.declined:
            return Status.DUPLICATE
        if self.last is not None and message_id > self.last:
            return Status.REFUSED
        self.declined.add(message_id)
        self.held[message_id] = {}
        self.drain()
        return Status.HELD if message_id in self.held else Status.APPENDED

    def put(self, kind: str, message_id: int, parts: Parts) -> None:
        is_addition = message_id in self.present
        self.present.setdefault(message_id, {}).update(parts)
        numbers = tuple(sorted((part, xxhash.xxh3_64_intdigest(payload)) for part, payload in parts.items()))
        self.index.append((kind, message_id, message_id, numbers, is_addition))
        self.n_late += kind == "late"
        self.n_additions += is_addition

    def drain(self) -> None:
        while len(self.held.get(self.next, {})) == N_PARTS or self.next in self.held.keys() & self.declined:
            parts = self.held.pop(self.next)
            if self.next in self.declined:
                self.index.append(("declined", self.next, self.next, (), False))
            else:
                self.put("message", self.next, parts)
            self.next += 1

    def lose_patience(self) -> None:
        while self.held:
            first = min(self.held)
            if first > self.next:
                self.pass_over(first - 1)
            elif len(self.held[first]) >= MIN_PARTS:
                self.put("message", first, self.held.pop(first))
                self.next += 1
            else:
                parts = self.held.pop(first)
                self.pass_over(first)
                self.put("late", first, parts)
            self.drain()
        if self.last is not None and self.next <= self.last:
            self.pass_over(self.last)
        self.seal()

    def pass_over(self, last_id: int) -> None:
        self.index.append(("gap", self.next, last_id, (), False))
        self.next = last_id + 1

    def finish(self, last_id: int) -> None:
        if self.last is None:
            self.last = max(last_id, self.next - 1, *self.held, 0)
        self.seal()

    def seal(self) -> None:
        if self.last is not None and self.next > self.last and not self.sealed:
            self.sealed = True
            self.index.append(("end", self.last, self.last, (), False))


def seen(entry: Entry) -> Seen:
    if entry.gap is not None:
        return "gap" if not entry.gap.is_declined else "declined", entry.gap.first_id, entry.gap.last_id, (), False
    if entry.kind is EntryKind.END:
        return "end", entry.message_id, entry.message_id, (), False
    assert entry.header is not None, entry.flaw
    numbers = tuple((part.part, part.checksum) for part in entry.header.parts)
    kind = "late" if entry.late else "message"
    return kind, entry.message_id, entry.message_id, numbers, entry.header.is_addition


def end_aside(index: Iterable[Seen]) -> list[Seen]:
    """Put the end behind everything: late parts of the batch that completes a stream may stand on either side."""
    return sorted(index, key=lambda entry: entry[0] == "end")


def whole_gaps(index: Iterable[Seen]) -> list[Seen]:
    """Take declined ids one by one: how many entries neighbours are depends on how they came."""
    return [
        (kind, message_id, message_id, *rest) if kind == "declined" else (kind, first, last, *rest)
        for kind, first, last, *rest in index
        for message_id in (range(first, last + 1) if kind == "declined" else [last])
    ]


class Datasets(RuleBasedStateMachine):
    """Random operations on one stream of the server and on the model."""

    server: Server

    @initialize()
    def open(self) -> None:
        self.model = Model()
        self.address = Address("bt", "model", uuid.uuid4().hex)
        self.keys = StreamKeys(self.address)
        self.server.script("open", [self.keys.state], open_arguments(N_PARTS, MIN_PARTS))

    @rule(parts=PARTS, times=st.lists(st.integers(0, 2**63), min_size=9, max_size=9))
    def publish(self, parts: list[tuple[int, int, bytes]], times: list[int]) -> None:
        arguments: list[Any] = [0]
        for (message_id, part, payload), time_ns in zip(parts, times, strict=False):
            checksum = xxhash.xxh3_64_intdigest(payload)
            header = Header(
                payload_bytes=len(payload), checksum=checksum, timestamp_ns=time_ns, metadata={"t": time_ns}
            )
            arguments += (f"{message_id}:{part}", encode_header(header), b"")
        expected = []
        for one in parts:
            expected.append(self.model.publish(*one))
            self.model.seal()
        answer = self.server.script("publish", self.keys.sequence, arguments)
        assert [Status(number) for number in answer[-len(parts) :]] == expected
        assert answer[:3] == [self.model.next, len(self.model.held), int(self.model.sealed)]

    @rule(message_id=st.integers(1, 8))
    def decline(self, message_id: int) -> None:
        expected = self.model.decline(message_id)
        self.model.seal()
        answer = self.server.script("publish", self.keys.sequence, [0, message_id, b"", b"declined"])
        assert Status(answer[-1]) == expected

    @precondition(lambda self: self.model.held or self.model.last is not None)
    @rule()
    def lose_patience(self) -> None:
        self.server.call("HSET", self.keys.state, "patience_ms", 0)
        self.server.script("publish", self.keys.sequence, [0])
        self.server.call("HSET", self.keys.state, "patience_ms", FOR_EVER_MS)
        self.model.lose_patience()

    @rule(last_id=st.integers(0, 9))
    def finish(self, last_id: int) -> None:
        self.server.script("finish", self.keys.sequence, [last_id, "complete", ""])
        self.model.finish(last_id)

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        entries = list(index_entries(self.server, self.address))
        assert whole_gaps(end_aside(map(seen, entries))) == whole_gaps(end_aside(self.model.index))
        n_entries = total_bytes = 0
        for entry in entries:
            n_entries += entry.header is not None
            total_bytes += entry.header.payload_bytes if entry.header else 0
            assert (entry.n_messages, entry.total_bytes) == (n_entries, total_bytes)

    @invariant()
    def the_state_counts_what_there_is(self) -> None:
        state, model = read_state(self.server, self.keys), self.model
        assert state is not None
        gaps = {i for kind, first, last, *_ in model.index if kind == "gap" for i in range(first, last + 1)}
        there_bytes = [sum(map(len, parts.values())) for parts in model.present.values()]
        held_bytes = [sum(map(len, parts.values())) for parts in model.held.values()]
        assert {
            "next": state.next_id,
            "held": state.n_held,
            "finished": state.finished,
            "received": state.n_received,
            "additions": state.n_additions,
            "late": state.n_late,
            "incomplete": state.n_incomplete,
            "missing": state.n_missing,
            "bytes": state.total_bytes,
            "memory": state.memory_bytes,
        } == {
            "next": model.next,
            "held": len(model.held),
            "finished": model.sealed,
            "received": len(model.present),
            "additions": model.n_additions,
            "late": model.n_late,
            "incomplete": sum(len(parts) < N_PARTS for parts in model.present.values()),
            "missing": len(gaps - model.present.keys()),
            "bytes": sum(there_bytes),
            "memory": sum(there_bytes) + sum(held_bytes),
        }


def open_arguments(n_parts: int, min_parts: int) -> list[Any]:
    return [1, FOR_EVER_MS, "", "", "", n_parts, min_parts]


def test_the_scripts_do_what_the_model_does(broker: str) -> None:
    Datasets.server = Server(broker)
    run_state_machine_as_test(
        Datasets,
        settings=settings(max_examples=80, stateful_step_count=15, suppress_health_check=list(HealthCheck)),
    )


def header_of(payload: bytes, **fields: Any) -> bytes:
    checksum = xxhash.xxh3_64_intdigest(payload)
    return encode_header(Header(payload_bytes=len(payload), checksum=checksum, timestamp_ns=5, **fields))


def test_as_many_parts_as_there_may_be_make_one_entry(broker: str) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))
    server.script("open", [keys.state], open_arguments(1024, 1024))
    parts = [
        (number, header_of(b"%d" % number, metadata={"x": b"y" * (900 + number % 7)})) for number in range(1, 1025)
    ]
    for number, header in reversed(parts):
        answer = server.script("publish", keys.sequence, [0, f"1:{number}", header, b""])
    assert answer[-1] == Status.APPENDED
    (entry,) = index_entries(server, keys.address)
    assert entry.header is not None, entry.flaw
    assert [encode_header(part) for part in entry.header.parts] == [header for _, header in parts]


@pytest.mark.parametrize(
    ("n_parts", "name", "header"),
    [
        (4, "1", header_of(b"a")),
        (4, "1:5", header_of(b"a")),
        (4, "1:0", header_of(b"a")),
        (4, "x:1", header_of(b"a")),
        (1, "1:1", header_of(b"a")),
        (4, "1:1", header_of(b"a", metadata={"x": bytes(1 << 18)})),
        (4, "1:1", encode_header(Header(payload_bytes=(128 << 20) + 1, checksum=1, timestamp_ns=5))),
    ],
)
def test_a_batch_that_does_not_fit_the_stream_is_refused_as_a_whole(
    broker: str, n_parts: int, name: str, header: bytes
) -> None:
    server, keys = Server(broker), StreamKeys(Address("bt", "det", "run"))
    server.script("open", [keys.state], open_arguments(n_parts, n_parts))
    good = "1:1" if n_parts > 1 else "1"
    before = server.call("HGETALL", keys.state)
    with pytest.raises(ServerRefusedError, match="BADPART"):
        server.script("publish", keys.sequence, [0, good, header_of(b"a"), b"", name, header, b""])
    assert server.call("HGETALL", keys.state) == before
    assert server.call("EXISTS", keys.held, keys.index) == 0
