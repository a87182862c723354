"""Payloads that nobody can reach are found and freed, and no others."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xxhash

from beamstream import Address, Consumer, Producer
from beamstream.payloads import MemoryTier
from beamstream.producer.sender import STORED_FOR_S
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.streams import delete_stream
from beamstream.testing.waiting import wait_until
from beamstream_broker.orphans import STEP_KEYS, Orphans
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.spilling import Spilling

ADDRESS = Address("bt", "det", "run")
KEYS = StreamKeys(ADDRESS)
PAYLOAD_BYTES = 16 << 10

HALF_A_PRODUCER = """
import sys, xxhash
from beamstream import Address, Producer
from beamstream.payloads import MemoryTier
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
producer = Producer("bt/det/run", broker=sys.argv[1])
producer.send(1, bytes(16384)).result(30)
payloads = [((n, xxhash.xxh3_64_intdigest(bytes([n]) * 16384)), bytes([n]) * 16384) for n in range(2, 12)]
MemoryTier(Server(sys.argv[1]), StreamKeys(Address("bt", "det", "run"))).store(payloads)
print("stored", flush=True)
sys.stdin.read()
"""
"""A producer up to where its payloads are stored; what it would do next is to publish them."""


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


def payload_keys(broker: str) -> list[str]:
    return sorted(key.decode() for key in Server(broker).call("KEYS", "bs1:p:*"))


def let_grow_old(broker: str) -> None:
    """Wait until nobody has touched any payload for a second."""
    server = Server(broker)
    wait_until(lambda: all(server.call("OBJECT", "IDLETIME", key) >= 1 for key in payload_keys(broker)))


def one_round(broker: str, grace_s: int = 1) -> Orphans:
    orphans = Orphans(Server(broker), grace_s)
    while orphans.n_rounds == 0:
        orphans.step()
    return orphans


def test_what_a_killed_producer_left_is_freed_and_counted(broker: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HALF_A_PRODUCER, broker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stored\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(payload_keys(broker)) == 11
    assert one_round(broker, grace_s=60).n_freed == 0, "somebody could still be about to publish them"
    let_grow_old(broker)
    orphans = one_round(broker)
    assert (orphans.n_freed, orphans.freed_bytes) == (10, 10 * PAYLOAD_BYTES)
    assert len(payload_keys(broker)) == 1
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(1).payload == bytes(PAYLOAD_BYTES)


def test_what_waits_for_a_gap_or_came_late_is_none(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0) as producer:
        producer.send(3, payload(3))
        producer.flush()
        producer.send(2, payload(2))  # its gap was passed over: it comes late
        producer.flush()
    with Producer(Address("bt", "det", "held"), broker=broker, patience_s=1000) as producer:
        producer.send(3, payload(3))
        producer.flush()
        before = payload_keys(broker)
        let_grow_old(broker)
        assert one_round(broker).n_freed == 0
        assert payload_keys(broker) == before
        assert len(before) == 3


def test_what_waits_for_other_parts_is_none(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_parts=2, part=1, patience_s=1000) as one:
        for message_id in (1, 2):
            one.send(message_id, payload(message_id))
        one.flush()
        let_grow_old(broker)
        assert one_round(broker).n_freed == 0
        with Producer(ADDRESS, broker=broker, n_parts=2, part=2, patience_s=1000) as two:
            two.send(1, payload(9))
            two.flush()
        let_grow_old(broker)
        assert one_round(broker).n_freed == 0
    assert len(payload_keys(broker)) == 3


def test_another_payload_under_a_known_id_is_one(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, payload(1)).result(10)
    other = payload(2)
    MemoryTier(Server(broker), KEYS).store([((1, xxhash.xxh3_64_intdigest(other)), other)])
    let_grow_old(broker)
    assert one_round(broker).n_freed == 1
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(1).payload == payload(1)


def test_what_was_released_and_never_deleted_is_one(broker: str, tmp_path: Path) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, 6):
            producer.send(message_id, payload(message_id))
        producer.finish()
    server = Server(broker)
    kept = {key: server.call("GET", key) for key in payload_keys(broker)}
    spilling = Spilling(server, tmp_path)
    Retention(server, spilling).relieve(MemoryUse(used_bytes=10**12, limit_bytes=10**12))
    spilling.close()
    for key, value in kept.items():  # as if the broker had been killed before it deleted them
        server.call("SET", key, value)
    let_grow_old(broker)
    assert one_round(broker).n_freed == 5
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [frame.payload for frame in consumer] == [payload(message_id) for message_id in range(1, 6)]


def test_what_is_left_of_a_deleted_stream_is_one(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, payload(1)).result(10)
    MemoryTier(Server(broker), KEYS).store([((2, 2), payload(2))])
    delete_stream(Server(broker), ADDRESS)
    let_grow_old(broker)
    assert one_round(broker).n_freed == 1
    assert payload_keys(broker) == []


def test_other_peoples_keys_are_left_alone(broker: str) -> None:
    server = Server(broker)
    names = ["bs1:p:x", "bs1:p:a/b:1:0", "bs1:p:a/b/c/d:1:0000000000000000", "bs1:p:a/b/c:1:000000000000000g"]
    for name in names:
        server.call("SET", name, "theirs")
    let_grow_old(broker)
    assert one_round(broker).n_freed == 0
    assert payload_keys(broker) == sorted(names)


def test_one_step_looks_at_a_few_keys_only(broker: str) -> None:
    server = Server(broker)
    n = 20 * STEP_KEYS
    server.pipeline([("SET", KEYS.payload(number, number), "x") for number in range(n)])
    let_grow_old(broker)
    orphans = Orphans(server, 1)
    orphans.step()
    assert 0 < orphans.n_freed < 4 * STEP_KEYS
    while orphans.n_rounds < 2:
        orphans.step()
    assert orphans.n_freed == n


@pytest.mark.parametrize(("waited_s", "is_there"), [(STORED_FOR_S + 1, True), (0, False)])
def test_a_producer_that_could_not_publish_for_long_stores_again(
    broker: str, monkeypatch: pytest.MonkeyPatch, waited_s: float, is_there: bool
) -> None:
    data = payload(1)
    key = KEYS.payload(1, xxhash.xxh3_64_intdigest(data))
    with Producer(ADDRESS, broker=broker) as producer:
        sender = producer._sender
        store = sender._storing.store
        first = iter((True,))

        def store_and_wait(payloads: Sequence[Any], life: str) -> int:
            n_stored = store(payloads, life)
            if next(first, False):
                sender._stored_at -= waited_s
                Server(broker).call("UNLINK", key)  # the broker took it for left meanwhile
            return n_stored

        monkeypatch.setattr(sender._storing, "store", store_and_wait)
        producer.send(1, data).result(30)
    assert payload_keys(broker) == ([key] if is_there else [])
