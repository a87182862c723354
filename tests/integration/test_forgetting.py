"""Finished streams that nobody reads leave the server, and come back as they were when somebody asks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import StreamNotFoundError
from beamstream.groups import list_groups
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.streams import list_sources
from beamstream_broker.disk import Disk

ADDRESS = Address("bt", "det", "run")
PAYLOAD_BYTES = 16 << 10
N_MESSAGES = 30
AT_ONCE_S = 0.001


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


def fill(broker: str, *, finish: bool = True) -> None:
    with Producer(ADDRESS, broker=broker, metadata={"name": "lysozyme"}) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, payload(message_id))
        if finish:
            producer.finish()


def read(broker: str, n: int) -> list[int]:
    with Consumer(ADDRESS, broker=broker, group="peaks", required=True) as consumer:
        ids = []
        for _ in range(n):
            frame = consumer.next(timeout_s=10)
            assert frame.payload == payload(frame.message_id)
            consumer.acknowledge(frame)
            ids.append(frame.message_id)
        return ids


def look(broker: str, root: Path, after_s: float | None, *, spill: bool = True) -> Disk:
    """Have one turn of the broker's disk, all being spilled before if it is to be."""
    server = Server(broker)
    disk = Disk(server, root, forget_after_s=after_s)
    disk.begin()
    if spill:
        disk._keeping.keep(("overflow",))
    time.sleep(2 * AT_ONCE_S)  # so long nobody has to have read it
    disk.look()
    return disk


def n_keys(broker: str) -> int:
    return len(Server(broker).call("KEYS", "bs1:*"))


def test_a_finished_stream_leaves_and_comes_back_with_its_groups(broker: str, tmp_path: Path) -> None:
    fill(broker)
    assert read(broker, 10) == list(range(1, 11))
    before = make_receipt(Server(broker), ADDRESS)
    disk = look(broker, tmp_path, AT_ONCE_S)
    assert disk.events()["streams_forgotten"] == 1
    assert n_keys(broker) == 0
    assert list_sources(Server(broker)) == []
    disk.close(everything=False)

    again = Disk(Server(broker), tmp_path, forget_after_s=None)
    Server(broker).call("SADD", "bs1:wanted", str(ADDRESS))
    again.look()
    assert again.events()["streams_put_back"] == 1
    (group,) = list_groups(Server(broker), ADDRESS)
    assert (group.name, group.required, group.n_pending + group.lag_messages) == ("peaks", True, 20)
    assert sorted(read(broker, 20)) == list(range(11, 31))
    after = make_receipt(Server(broker), ADDRESS)
    assert (after.received, after.checksum, after.state) == (before.received, before.checksum, before.state)
    again.close(everything=False)


def test_what_has_left_does_not_come_back_by_itself(broker: str, tmp_path: Path) -> None:
    fill(broker)
    look(broker, tmp_path, AT_ONCE_S).close(everything=False)
    another = Disk(Server(broker), tmp_path)
    another.begin()
    assert another.events()["streams_put_back"] == 0
    with pytest.raises(StreamNotFoundError):
        Consumer(ADDRESS, broker=broker)


@pytest.mark.parametrize("why", ["open", "not on disk", "never", "just read", "dropped"])
def test_every_other_stream_stays(broker: str, tmp_path: Path, why: str) -> None:
    fill(broker, finish=why != "open")
    if why == "dropped":
        Server(broker).call("HSET", "bs1:{bt/det/run}:state", "n_dropped", 1)
    after_s = {"never": None, "just read": 60.0}.get(why, AT_ONCE_S)
    disk = look(broker, tmp_path, after_s, spill=why != "not on disk")
    assert disk.events()["streams_forgotten"] == 0
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(N_MESSAGES).payload == payload(N_MESSAGES)
    disk.close(everything=False)


def test_a_stream_with_a_living_member_stays(broker: str, tmp_path: Path) -> None:
    fill(broker)
    server = Server(broker)
    disk = Disk(server, tmp_path, forget_after_s=1.0)
    disk._keeping.keep(("overflow",))
    server.call("HSET", "bs1:{bt/det/run}:state", "finish_since_ms", 1)
    with Consumer(ADDRESS, broker=broker, group="peaks", prefetch_messages=1) as consumer:
        consumer.next(timeout_s=10)
        server.call("HSET", "bs1:{bt/det/run}:state", "read_ms", 1)  # an hour may pass; its member still asks
        disk.look()
        assert disk.events()["streams_forgotten"] == 0
    disk.close(everything=False)


def test_a_reader_without_a_group_is_seen(broker: str, tmp_path: Path) -> None:
    fill(broker)
    server = Server(broker)
    with Consumer(ADDRESS, broker=broker) as consumer:
        consumer.next(timeout_s=10)
    read_ms = int(server.call("HGET", "bs1:{bt/det/run}:state", "read_ms"))
    assert abs(read_ms / 1000 - int(server.call("TIME")[0])) < 60
    server.call("HSET", "bs1:{bt/det/run}:state", "finish_since_ms", 1)
    disk = look(broker, tmp_path, 600.0)
    assert disk.events()["streams_forgotten"] == 0
    disk.close(everything=False)
