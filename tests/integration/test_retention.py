"""Retention against a real server: what leaves memory, in which order, and what never does."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from beamstream import Address, Consumer, Producer, SourceAddress
from beamstream.errors import PayloadGoneError
from beamstream.groups import delete_group, list_groups
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument
from beamstream.receipt import make_receipt
from beamstream.service.consuming.joining import joining_early
from beamstream.testing.waiting import wait_until
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.spilling import Spilling

PAYLOAD_BYTES = 64 * 1024
N_MESSAGES = 20


def fill(broker: str, name: str, n_messages: int = N_MESSAGES) -> Address:
    """Make a finished stream of payloads that lie in memory."""
    address = Address("bt", "retention", name)
    with Producer(address, broker=broker) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, os.urandom(PAYLOAD_BYTES))
        producer.finish(n_messages)
    return address


def read(broker: str, address: Address, n_messages: int, *, group: str, required: bool = False) -> None:
    """Let a group read and acknowledge the first messages."""
    with Consumer(address, broker=broker, group=group, required=required) as consumer:
        for _ in range(n_messages):
            consumer.acknowledge(consumer.next(timeout_s=10.0))


def shortage(n_messages: int) -> MemoryUse:
    """Return a full memory in which `n_messages` payloads are too many: 7/8 used, 6/8 wanted."""
    n_bytes = n_messages * PAYLOAD_BYTES
    return MemoryUse(used_bytes=7 * n_bytes, limit_bytes=8 * n_bytes)


def in_memory(broker: str, address: Address, last_id: int = N_MESSAGES) -> list[int]:
    """Return the ids whose payload can still be read."""
    found = []
    with Consumer(address, broker=broker) as consumer:
        for message_id in range(1, last_id + 1):
            try:
                consumer.read(message_id)
            except PayloadGoneError:
                continue
            found.append(message_id)
    return found


def test_below_the_high_water_mark_nothing_leaves(broker: str) -> None:
    address = fill(broker, "calm")
    read(broker, address, N_MESSAGES, group="write", required=True)
    assert Retention(Server(broker)).relieve(MemoryUse(used_bytes=84, limit_bytes=100)) == 0
    assert in_memory(broker, address) == list(range(1, 21))


def test_what_lies_on_the_server_is_left_alone_while_only_shared_memory_is_full(broker: str) -> None:
    first, second = fill(broker, "elsewhere"), fill(broker, "shared")
    memory = MemoryUse(
        used_bytes=1, limit_bytes=100, shared_excess_bytes=5 * PAYLOAD_BYTES, shared_streams=frozenset({second})
    )
    assert Retention(Server(broker)).relieve(memory) == 5 * PAYLOAD_BYTES
    assert in_memory(broker, first) == list(range(1, 21)), "older, but not in the way"
    assert in_memory(broker, second) == list(range(6, 21))


def test_of_much_that_has_to_go_to_disk_some_goes_in_each_look(broker: str, tmp_path: Path) -> None:
    address = fill(broker, "turns")
    spilling = Spilling(Server(broker), tmp_path)
    retention = Retention(Server(broker), spilling, turn_bytes=5 * PAYLOAD_BYTES)
    freed = [retention.relieve(MemoryUse(used_bytes=10**12, limit_bytes=10**12)) for _ in range(5)]
    spilling.close()
    assert sum(freed) == N_MESSAGES * PAYLOAD_BYTES
    assert freed[-1] == 0
    assert max(freed) < N_MESSAGES * PAYLOAD_BYTES, "not all at once"
    assert in_memory(broker, address) == list(range(1, 21)), "all is on disk"


def test_what_every_group_has_read_goes_first_and_is_not_counted_as_dropped(broker: str) -> None:
    address = fill(broker, "read")
    read(broker, address, 12, group="write", required=True)
    read(broker, address, 8, group="bin")
    retention = Retention(Server(broker))
    assert retention.relieve(shortage(5)) == 5 * PAYLOAD_BYTES
    assert in_memory(broker, address) == list(range(6, 21))
    assert retention.counts.n_released == 5
    assert retention.counts.n_dropped == 0
    assert make_receipt(Server(broker), address).dropped == 0


def test_what_only_best_effort_groups_have_not_read_goes_next_and_is_counted(broker: str) -> None:
    address = fill(broker, "unread")
    read(broker, address, 12, group="write", required=True)
    read(broker, address, 8, group="bin")
    retention = Retention(Server(broker))
    assert retention.relieve(shortage(10)) == 10 * PAYLOAD_BYTES
    assert in_memory(broker, address) == list(range(11, 21))
    assert (retention.counts.n_released, retention.counts.n_dropped) == (8, 2)
    assert make_receipt(Server(broker), address).dropped == 2


def test_what_a_required_group_has_not_acknowledged_never_goes(broker: str, caplog: pytest.LogCaptureFixture) -> None:
    address = fill(broker, "held")
    read(broker, address, 12, group="write", required=True)
    retention = Retention(Server(broker), stuck_s=0)
    with caplog.at_level(logging.WARNING):
        assert retention.relieve(shortage(18)) == 12 * PAYLOAD_BYTES
        assert retention.relieve(shortage(18)) == 0
    assert in_memory(broker, address) == list(range(13, 21))
    assert caplog.text.count("write on bt/retention/held") == 1
    patient = Retention(Server(broker), stuck_s=1e9)
    caplog.clear()
    assert patient.relieve(shortage(18)) == 0
    assert not caplog.text, "not for a moment"


def test_what_a_required_group_was_given_but_has_not_acknowledged_stays(broker: str) -> None:
    address = fill(broker, "pending")
    with Consumer(address, broker=broker, group="write", required=True) as consumer:
        frames = [consumer.next(timeout_s=10.0) for _ in range(10)]
        for frame in (*frames[:4], *frames[5:]):
            consumer.acknowledge(frame)
        consumer.close()
        assert Retention(Server(broker)).relieve(shortage(18)) == 4 * PAYLOAD_BYTES
    assert in_memory(broker, address) == list(range(5, 21))


def test_older_streams_go_before_younger_ones(broker: str) -> None:
    first, second = fill(broker, "zz_first"), fill(broker, "aa_second")
    for address in (first, second):
        read(broker, address, N_MESSAGES, group="write", required=True)
    Retention(Server(broker)).relieve(shortage(25))
    assert in_memory(broker, first) == []
    assert in_memory(broker, second) == list(range(6, 21))


def test_what_is_read_in_a_young_stream_goes_before_what_is_unread_in_an_old_one(broker: str) -> None:
    old, young = fill(broker, "old"), fill(broker, "young")
    read(broker, young, N_MESSAGES, group="write", required=True)
    retention = Retention(Server(broker))
    retention.relieve(shortage(15))
    assert in_memory(broker, old) == list(range(1, 21))
    assert in_memory(broker, young) == list(range(16, 21))
    assert retention.counts.n_dropped == 0


def test_a_stream_of_many_pages_is_released_to_its_end(broker: str) -> None:
    address = fill(broker, "long", 600)
    retention = Retention(Server(broker))
    assert retention.relieve(shortage(700)) == 600 * PAYLOAD_BYTES
    assert retention.relieve(shortage(700)) == 0
    assert retention.counts.n_dropped == 600
    assert in_memory(broker, address, 600) == []


def test_a_monitor_of_the_newest_message_neither_holds_nor_counts(broker: str) -> None:
    address = fill(broker, "watched")
    with Consumer(address, broker=broker) as monitor:
        assert monitor.newest(timeout_s=10.0, group="monitor").message_id == N_MESSAGES
    read(broker, address, N_MESSAGES, group="write", required=True)
    retention = Retention(Server(broker))
    retention.relieve(shortage(5))
    assert (retention.counts.n_released, retention.counts.n_dropped) == (5, 0)


def test_a_group_that_is_deleted_while_the_broker_looks_is_left_out(
    broker: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = fill(broker, "left")
    read(broker, address, 4, group="stays", required=True)
    read(broker, address, 2, group="goes", required=True)
    server = Server(broker)
    pipeline = Server.pipeline

    def delete_before(self: Server, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        if any(command[0] == "XPENDING" for command in commands):
            delete_group(server, address, "goes", force=True)
        return pipeline(self, commands)

    monkeypatch.setattr(Server, "pipeline", delete_before)
    retention = Retention(server)
    assert retention.relieve(shortage(N_MESSAGES)) == 4 * PAYLOAD_BYTES
    assert "passed over" not in caplog.text


@pytest.mark.parametrize("damage", ["index", "state"])
def test_a_damaged_stream_is_passed_over_and_the_others_are_released(
    broker: str, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    broken, whole = fill(broker, "broken"), fill(broker, "whole")
    server = Server(broker)
    if damage == "index":
        server.call("XADD", StreamKeys(broken).index, "99-0", "h", "no header")
    else:
        server.call("HSET", StreamKeys(broken).state, "next", "many")
    retention = Retention(server)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            retention.relieve(shortage(2 * N_MESSAGES))
    assert in_memory(broker, whole) == []
    assert caplog.text.count("bt/retention/broken is passed over") == 1


def test_a_required_group_holds_a_stream_that_it_has_not_come_to_yet(broker: str) -> None:
    with joining_early(Server(broker), SourceAddress("bt", "retention"), "write", "start"):
        address = fill(broker, "next")
        server = Server(broker)
        wait_until(lambda: [group.name for group in list_groups(server, address)] == ["write"])
    retention = Retention(server)
    assert retention.relieve(shortage(N_MESSAGES)) == 0
    assert in_memory(broker, address) == list(range(1, N_MESSAGES + 1))
