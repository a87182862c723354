"""A cluster of servers: payloads of one stream on all nodes, its index on one, and all back as from one server."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from beamstream import Address, Consumer, Producer
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.streams import delete_stream, list_sources
from beamstream.testing.cluster import ClusterNode, move_slot, running_cluster
from beamstream_broker.binary import find_binary
from beamstream_broker.service import read_info

N_NODES = 3
N_MESSAGES = 120
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ClusterNode]]:
    with running_cluster(find_binary().path, N_NODES) as running:
        yield running


@pytest.fixture
def address(request) -> Address:
    return Address("cluster", "eiger", request.node.name[:60].replace("[", "_").replace("]", ""))


def payload_of(message_id: int) -> bytes:
    return random.Random(message_id).randbytes(10_000 + 1500 * message_id)  # some are received as bytes, some as views


def send_all(address: Address, url: str) -> None:
    with Producer(address, broker=url) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, payload_of(message_id))
        producer.finish()


def payload_keys(node: ClusterNode, address: Address) -> list[str]:
    return [key.decode() for key in node.call("KEYS", f"bs1:p:{address}:*")]


def test_payloads_of_one_stream_lie_on_all_nodes_and_come_back(nodes, address):
    send_all(address, nodes[0].url)
    of_each = [len(payload_keys(node, address)) for node in nodes]
    assert sum(of_each) == N_MESSAGES
    assert min(of_each) > N_MESSAGES / N_NODES / 2
    index_on = [node for node in nodes if node.call("KEYS", StreamKeys(address).index)]
    assert len(index_on) == 1
    for number, node in enumerate(nodes):  # whichever is named
        with Consumer(address, broker=node.url, group=f"group{number}", timeout_s=TIMEOUT_S) as consumer:
            assert [frame.message_id for frame in consumer if frame.payload == payload_of(frame.message_id)] == [
                *range(1, N_MESSAGES + 1)
            ]
    receipt = make_receipt(Server(nodes[1].url), address)
    assert receipt.clean
    assert receipt.received == N_MESSAGES


def test_members_of_a_group_share_what_lies_on_all_nodes(nodes, address):
    seen: list[list[int]] = [[], []]

    def read(member: int) -> None:
        with Consumer(address, broker=nodes[member].url, group="shared", wait_for_stream=True) as consumer:
            seen[member] = [frame.message_id for frame in consumer]

    reading = [threading.Thread(target=read, args=(member,)) for member in range(2)]
    for one in reading:
        one.start()
    send_all(address, nodes[2].url)
    for one in reading:
        one.join(TIMEOUT_S)
    assert sorted(seen[0] + seen[1]) == [*range(1, N_MESSAGES + 1)]


def test_slots_may_move_while_a_stream_is_written_and_read(nodes, address):
    keys = StreamKeys(address)
    with (
        Producer(address, broker=nodes[0].url) as producer,
        Consumer(address, broker=nodes[1].url, group="mover", timeout_s=TIMEOUT_S) as consumer,
    ):
        frames = iter(consumer)
        came = []
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, payload_of(message_id))
            if message_id % 20 == 0:
                producer.flush()
                came += [next(frames).message_id for _ in range(10)]
                stored = next(key for node in nodes for key in payload_keys(node, address))
                for key in (keys.index, stored):
                    move_slot(nodes, key_slot(key.encode()), nodes[message_id // 20 % N_NODES])
        producer.finish()
        came += [frame.message_id for frame in frames if frame.payload == payload_of(frame.message_id)]
        assert came == [*range(1, N_MESSAGES + 1)]
        assert producer.counts.n_failed == 0
        assert consumer.counts.n_skipped == 0


def test_what_is_deleted_leaves_all_nodes(nodes, address):
    send_all(address, nodes[0].url)
    server = Server(nodes[1].url)
    assert address.source_address in list_sources(server)
    delete_stream(server, address)
    assert not [key for node in nodes for key in payload_keys(node, address)]


def test_all_nodes_are_scanned_and_the_fullest_one_tells_its_memory(nodes):
    server = Server(nodes[0].url)
    names = [f"scanned:{number}" for number in range(100)]
    assert all(answer == b"OK" for answer in server.pipeline([("SET", name, "x") for name in names]))
    cursor, found = b"0", []
    while True:
        cursor, page = server.call("SCAN", cursor, "MATCH", "scanned:*", "COUNT", 10)
        found += page
        if cursor == b"0":
            break
    assert sorted(found) == sorted(name.encode() for name in names)
    assert server.strings([*names, "nothing"]) == [b"x"] * len(names) + [None]
    filled = "scanned:0"
    server.call("SET", filled, bytes(64 << 20))
    assert int(read_info(server)["used_memory"]) > 64 << 20
    assert server.call("UNLINK", *names) == len(names)
    assert set(server.nodes) == {f"127.0.0.1:{node.port}" for node in nodes}
