"""Reading against a real server: groups, members, redelivery, by id, newest, the three answers to «next»."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import (
    MessageNotFoundError,
    NothingNewError,
    PayloadGoneError,
    ServerUnavailableError,
    StreamFinishedError,
    StreamNotFoundError,
    UsageError,
)
from beamstream.groups import list_groups
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument

ADDRESS = "bt/det/run"
N_MESSAGES = 300


@pytest.fixture
def finished(broker: str) -> str:
    """A finished stream of small and large messages."""
    with Producer(ADDRESS, broker=broker, metadata={"mask": np.eye(100, dtype="u1"), "name": "lysozyme"}) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, payload(message_id), metadata={"number": message_id})
        producer.finish(next_stream="run2")
    return broker


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(4, "big") * (2 if message_id % 2 else 5000)


def ids(consumer: Consumer) -> list[int]:
    return [frame.message_id for frame in consumer]


def test_two_groups_each_see_every_message_in_order(finished: str) -> None:
    for group in ("one", "two"):
        with Consumer(ADDRESS, broker=finished, group=group) as consumer:
            frames = list(consumer)
        assert [frame.message_id for frame in frames] == list(range(1, N_MESSAGES + 1))
        assert all(frame.payload == payload(frame.message_id) for frame in frames)
        assert all(frame.metadata == {"number": frame.message_id} for frame in frames)


def test_three_members_share_the_messages_without_overlap(finished: str) -> None:
    seen: dict[int, list[int]] = {}
    barrier = threading.Barrier(3)

    def read(member: int) -> None:
        with Consumer(ADDRESS, broker=finished, group="shared", prefetch_messages=8) as consumer:
            first = consumer.next(10)
            barrier.wait(30)
            consumer.acknowledge(first)
            seen[member] = [first.message_id, *ids(consumer)]

    threads = [threading.Thread(target=read, args=(member,)) for member in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counts = Counter(message_id for read_ids in seen.values() for message_id in read_ids)
    assert counts == dict.fromkeys(range(1, N_MESSAGES + 1), 1)
    assert all(len(read_ids) > 1 for read_ids in seen.values())


MEMBER = """
import sys
from beamstream import Consumer
with Consumer(sys.argv[1], broker=sys.argv[2], group="shared", member_timeout_s=0.5) as consumer:
    for n, frame in enumerate(consumer, 1):
        print(frame.message_id, flush=True)
        if n == 20:
            sys.stdin.read()
"""


def test_a_dead_members_messages_go_to_a_live_one(finished: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", MEMBER, ADDRESS, finished], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdin is not None
    by_the_dead = [int(child.stdout.readline()) for _ in range(20)]
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    with Consumer(ADDRESS, broker=finished, group="shared", member_timeout_s=0.5) as consumer:
        frames = list(consumer)
    redelivered = [frame.message_id for frame in frames if frame.n_deliveries > 1]
    assert set(by_the_dead) | {frame.message_id for frame in frames} == set(range(1, N_MESSAGES + 1))
    assert by_the_dead[-1] in redelivered, "the last one was in the dead member's hands, unacknowledged"
    group = list_groups(Server(finished), Address.parse(ADDRESS))[0]
    assert group.n_redelivered == len(redelivered)
    assert (group.n_pending, group.lag_messages) == (0, 0)


def test_a_live_member_keeps_what_it_works_on_however_long_it_takes(finished: str) -> None:
    with (
        Consumer(ADDRESS, broker=finished, group="shared", member_timeout_s=1, prefetch_messages=1) as slow,
        Consumer(ADDRESS, broker=finished, group="shared", member_timeout_s=1) as quick,
    ):
        held = slow.next(10)
        ended = time.monotonic() + 3
        got: list[int] = []
        while time.monotonic() < ended:
            try:
                frame = quick.next(0.2)
            except NothingNewError:
                continue
            quick.acknowledge(frame)
            got.append(frame.message_id)
        assert held.message_id not in got


def test_a_loop_that_is_left_gives_its_frame_back(finished: str) -> None:
    class InterruptedWorkError(Exception):
        pass

    def work(stop_at: int) -> None:
        with Consumer(ADDRESS, broker=finished, group="g") as consumer:
            for frame in consumer:
                if frame.message_id == stop_at:
                    raise InterruptedWorkError

    with pytest.raises(InterruptedWorkError):
        work(stop_at=3)
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        rest = ids(consumer)
    assert sorted(rest) == list(range(3, N_MESSAGES + 1))


def test_messages_are_acknowledged_by_frame_by_id_and_by_range(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        frames = [consumer.next(10) for _ in range(10)]
        consumer.acknowledge(frames[0])
        consumer.acknowledge(2)
        consumer.acknowledge(range(3, 11))
        consumer.flush()
        assert consumer.counts.n_acknowledged == 10


def test_a_group_starts_where_it_is_told_and_stays_where_it_was(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished, group="late", start=298) as consumer:
        assert consumer.next(10).message_id == 298
        consumer.acknowledge(298)
    with Consumer(ADDRESS, broker=finished, group="late", start="start") as consumer:
        assert ids(consumer) == [299, 300]
    with Consumer(ADDRESS, broker=finished, group="newest", start="newest") as consumer:
        assert ids(consumer) == []


def test_next_tells_nothing_new_from_finished_from_no_such_stream(broker: str) -> None:
    with pytest.raises(StreamNotFoundError):
        Consumer(ADDRESS, broker=broker)
    with Producer(ADDRESS, broker=broker) as producer, Consumer(ADDRESS, broker=broker, group="g") as consumer:
        with pytest.raises(NothingNewError):
            consumer.next(0.01)
        producer.send(1, b"one")
        assert consumer.next(10).payload == b"one"
        consumer.acknowledge(1)
        producer.finish(next_stream="run2")
        with pytest.raises(StreamFinishedError) as caught:
            consumer.next(10)
        assert (caught.value.last_id, caught.value.next_stream) == (1, "run2")


def test_a_consumer_may_wait_for_a_stream_that_is_not_there_yet(broker: str) -> None:
    with pytest.raises(StreamNotFoundError):
        Consumer(ADDRESS, broker=broker, wait_for_stream=True, timeout_s=0.05)
    got: list[int] = []

    def read() -> None:
        with Consumer(ADDRESS, broker=broker, wait_for_stream=True) as consumer:
            got.extend(ids(consumer))

    thread = threading.Thread(target=read)
    thread.start()
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"one")
        producer.finish()
    thread.join(30)
    assert got == [1]


def test_a_reader_is_told_when_the_stream_is_deleted(broker: str) -> None:
    with Producer(ADDRESS, broker=broker), Consumer(ADDRESS, broker=broker, group="g") as consumer:
        with pytest.raises(NothingNewError):
            consumer.next(0.01)
        server = Server(broker)
        server.call("UNLINK", *StreamKeys(Address.parse(ADDRESS)).sequence)
        with pytest.raises(StreamNotFoundError):
            consumer.next(10)


def test_messages_are_found_by_id_and_by_range(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished) as consumer:
        assert consumer.read(2).payload == payload(2)
        assert [frame.message_id for frame in consumer.read_range(298, 305)] == [298, 299, 300]
        with pytest.raises(MessageNotFoundError, match="ended with 300"):
            consumer.read(301)
        with pytest.raises(MessageNotFoundError, match="begin at 1"):
            consumer.read(0)


def test_the_newest_message_comes_once_to_a_group(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in (1, 2, 3):
            producer.send(message_id, b"x")
        producer.flush()
        with (
            Consumer(ADDRESS, broker=broker) as one,
            Consumer(ADDRESS, broker=broker) as two,
            Consumer(ADDRESS, broker=broker) as alone,
        ):
            assert one.newest(10, group="monitor").message_id == 3
            assert alone.newest(10).message_id == 3
            with pytest.raises(NothingNewError):
                two.newest(0.01, group="monitor")
            producer.send(4, b"x").result(timeout=10)
            assert two.newest(10, group="monitor").message_id == 4
            producer.finish()
            with pytest.raises(StreamFinishedError):
                two.newest(10, group="monitor")


def test_a_payload_that_left_memory_is_skipped_and_counted(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished) as consumer:
        gone = consumer.read(2).header
        server.call("UNLINK", StreamKeys(Address.parse(ADDRESS)).payload(2, gone.checksum))
        with pytest.raises(PayloadGoneError):
            consumer.read(2)
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        assert 2 not in ids(consumer)
        assert consumer.counts.n_skipped == 1
    assert list_groups(server, Address.parse(ADDRESS))[0].n_skipped == 1


def test_a_damaged_payload_is_never_delivered(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished) as consumer:
        key = StreamKeys(Address.parse(ADDRESS)).payload(2, consumer.read(2).header.checksum)
    server.call("SETRANGE", key, 3, b"damage")
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        assert 2 not in ids(consumer)
        assert (consumer.counts.n_corrupt, consumer.counts.n_delivered) == (1, N_MESSAGES - 1)


def test_prefetching_stays_within_its_bytes(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished, prefetch_bytes=50_000) as consumer:
        seen = []
        for frame in consumer:
            seen.append(frame.message_id)
            assert consumer._delivery.limit_bytes - consumer._delivery.room_bytes <= 50_000
        assert seen == list(range(1, N_MESSAGES + 1))


def test_stream_metadata_come_as_they_were_set(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished) as consumer:
        metadata = consumer.metadata
    assert metadata["name"] == "lysozyme"
    np.testing.assert_array_equal(metadata["mask"], np.eye(100, dtype="u1"))


def test_an_array_comes_back_as_it_was_sent(broker: str) -> None:
    image = np.random.default_rng(1).poisson(2.0, (101, 103)).astype("u2")
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send_array(1, image)
        producer.finish()
    with Consumer(ADDRESS, broker=broker) as consumer:
        frame = consumer.next(10)
    np.testing.assert_array_equal(frame.array(), image)
    given = np.empty_like(image)
    assert frame.array(given) is given
    np.testing.assert_array_equal(given, image)
    assert len(frame.payload) < image.nbytes


def test_a_group_is_needed_to_acknowledge(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished) as consumer, pytest.raises(UsageError, match="without a group"):
        consumer.acknowledge(1)


@pytest.mark.parametrize("start", ["end", 0, -3])
def test_a_start_that_is_none_is_misuse(finished: str, start: str | int) -> None:
    with pytest.raises(UsageError, match="start"):
        Consumer(ADDRESS, broker=finished, group="g", start=start)


def test_a_consumer_without_a_server_says_what_to_do() -> None:
    with pytest.raises(ServerUnavailableError, match="stream broker run"):
        Consumer(ADDRESS, broker="redis://127.0.0.1:1")


def test_a_reader_finds_the_server_again_after_its_connection_broke(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", prefetch_messages=4, member_timeout_s=1) as consumer:
        got = []
        for frame in consumer:
            got.append(frame.message_id)
            if frame.message_id % 50 == 0:
                server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert set(got) == set(range(1, N_MESSAGES + 1))


def test_the_end_is_told_though_the_connection_breaks_at_that_moment(
    finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Consumer(ADDRESS, broker=finished) as consumer:
        while not consumer._delivery.finished:
            consumer.next(timeout_s=10)
            time.sleep(0.01)  # the fetching thread comes to the end
        server, call = consumer._server, Server.call
        broken = iter((True,))

        def break_once(self: Server, *arguments: Argument) -> Any:
            if self is server and next(broken, False):
                raise ServerUnavailableError(finished, "Connection closed by server.")
            return call(self, *arguments)

        monkeypatch.setattr(Server, "call", break_once)
        with pytest.raises(StreamFinishedError):
            consumer.next(timeout_s=10)
        assert next(broken, None) is None
        assert consumer.counts.n_reconnects == 1


def test_what_was_given_in_an_answer_that_never_came_is_not_lost_when_the_member_leaves(finished: str) -> None:
    server = Server(finished)
    index = StreamKeys(Address.parse(ADDRESS)).index
    with Consumer(ADDRESS, broker=finished, group="g", member="me", prefetch_messages=1) as consumer:
        consumer.acknowledge(consumer.next(10))
        # As if the server had answered, and the connection had broken before.
        server.call("XREADGROUP", "GROUP", "g", "me", "COUNT", 3, "STREAMS", index, ">")
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        assert sorted(ids(consumer)) == list(range(2, N_MESSAGES + 1))


def test_a_stream_is_not_finished_for_a_member_that_was_given_what_it_does_not_know(finished: str) -> None:
    server = Server(finished)
    index = StreamKeys(Address.parse(ADDRESS)).index
    with Consumer(ADDRESS, broker=finished, group="g", member="me", start=299, member_timeout_s=0.5) as consumer:
        server.call("XREADGROUP", "GROUP", "g", "me", "COUNT", 1, "STREAMS", index, ">")
        assert sorted(ids(consumer)) == [299, 300]


def test_an_entry_that_nobody_can_read_is_counted_and_the_others_go_on(broker: str) -> None:
    address = Address.parse(ADDRESS)
    server = Server(broker)
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"one").result(timeout=10)
        server.call("XADD", StreamKeys(address).index, "1-7", "h", "no header", "b", "1")
        producer.send(2, b"two").result(timeout=10)
        producer.finish()
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert ids(consumer) == [1, 2]
        assert consumer.counts.n_corrupt == 1
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        assert ids(consumer) == [1, 2]
    group = list_groups(server, address)[0]
    assert (group.n_dead, group.n_pending) == (1, 0)


def test_a_late_message_is_acknowledged_by_its_id(broker: str) -> None:
    with (
        Producer(ADDRESS, broker=broker, patience_s=0) as producer,
        Consumer(ADDRESS, broker=broker, group="g") as consumer,
    ):
        producer.send(2, b"two").result(timeout=10)
        producer.send(3, b"three").result(timeout=10)
        producer.send(1, b"one").result(timeout=10)
        got = [consumer.next(10).message_id for _ in range(3)]
        assert got == [2, 3, 1]
        consumer.acknowledge(range(1, 4))
        consumer.flush()
        assert consumer.counts.n_acknowledged == 3


@pytest.mark.parametrize("group", [None, "g"])
def test_what_was_lost_with_its_server_between_entry_and_payload_is_read_when_it_is_sent_again(
    broker: str, group: str | None
) -> None:
    server, keys = Server(broker), StreamKeys(Address.parse(ADDRESS))

    def send(message_ids: range, **options: object) -> None:
        with Producer(ADDRESS, broker=broker, **options) as producer:
            for message_id in message_ids:
                producer.send(message_id, payload(2 * message_id))  # none of them inline

    send(range(1, 5))
    created = server.call("HGET", keys.state, "created_ns")
    with Consumer(ADDRESS, broker=broker, group=group) as consumer:
        fetch, lost = consumer._tier.fetch, threading.Event()

        def lose_server_before(wanted: list[tuple[int, int]]) -> object:
            if not lost.is_set():
                # The server was killed, and put back with what was on disk: messages 1 and 2.
                server.call("DEL", keys.index, keys.state, *server.call("KEYS", "bs1:p:*"))
                send(range(1, 3))
                server.call("HSET", keys.state, "created_ns", created, "restored_ns", 1, "released_entry", "2-0")
                if group is not None:
                    server.call("XGROUP", "CREATE", keys.index, group, "2-0")
                lost.set()
            return fetch(wanted)

        consumer._tier.fetch = lose_server_before  # type: ignore[method-assign]
        assert consumer.next(5).message_id == 1
        assert lost.is_set()
        send(range(3, 5))
        assert [consumer.next(5).message_id for _ in range(3)] == [2, 3, 4]
        assert consumer.counts.n_skipped == 0
