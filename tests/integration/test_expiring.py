"""Streams without an end against a real server: what is too old leaves, and everybody who missed it is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import MessageNotFoundError, NothingNewError, UsageError
from beamstream.groups import Target, group_info, seek_group
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import StreamWriter, list_segments
from beamstream.state import StreamState, read_state
from beamstream_broker.expiring import Expiring
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.spilling import Spilling

ADDRESS = Address("bt", "temperature", "t1")
KEYS = StreamKeys(ADDRESS)
HOUR_NS = 3_600_000_000_000
DAY_S = 86400.0
PAYLOAD_BYTES = 16 << 10
N_OLD = 300
N_NEW = 100
"""More than one step of the script each."""


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


@pytest.fixture
def producer(broker: str) -> Iterator[Producer]:
    """A producer whose stream is kept for a day and has messages of two days ago and of now."""
    with Producer(ADDRESS, broker=broker, retain_s=DAY_S, patience_s=0) as producer:
        send(producer, range(1, N_OLD + 1), age_h=48)
        send(producer, range(N_OLD + 1, N_OLD + N_NEW + 1), age_h=0)
        yield producer


def send(producer: Producer, ids: range, *, age_h: int) -> None:
    now_ns = time.time_ns()
    for message_id in ids:
        producer.send(message_id, payload(message_id), timestamp_ns=now_ns - age_h * HOUR_NS)
    producer.flush()


def state_of(broker: str) -> StreamState:
    state = read_state(Server(broker), KEYS)
    assert state is not None
    return state


def payload_keys(broker: str) -> int:
    return len(Server(broker).call("KEYS", "bs1:p:*"))


def expire(broker: str) -> Expiring:
    expiring = Expiring(Server(broker))
    expiring.look()
    return expiring


def test_what_is_too_old_leaves_index_and_memory_and_the_rest_stays(broker: str, producer: Producer) -> None:
    expiring = expire(broker)
    assert (expiring.counts.n_expired, expiring.counts.n_missed) == (N_OLD, 0)
    assert payload_keys(broker) == N_NEW
    state = state_of(broker)
    assert (state.expired_id, state.n_expired, state.memory_bytes) == (N_OLD, N_OLD, N_NEW * PAYLOAD_BYTES)
    assert (state.expired_bytes, state.retain_s) == (N_OLD * PAYLOAD_BYTES, DAY_S)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(N_OLD + 1).payload == payload(N_OLD + 1)
        with pytest.raises(MessageNotFoundError, match="older than the stream is kept"):
            consumer.read(N_OLD)


def test_a_stream_that_says_nothing_is_kept_for_ever_or_as_the_broker_says(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0) as producer:
        send(producer, range(1, 11), age_h=48)
        assert expire(broker).counts.n_expired == 0
        default = Expiring(Server(broker), DAY_S)
        default.look()
        assert default.counts.n_expired == 10


def test_a_stream_that_has_ended_keeps_its_end(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, retain_s=DAY_S, patience_s=0) as producer:
        send(producer, range(1, 11), age_h=48)
        producer.finish()
    expire(broker)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [frame.message_id for frame in consumer] == []
        assert consumer.counts.n_expired == 10


def test_what_a_group_missed_is_counted_for_it_and_its_members_are_told(broker: str, producer: Producer) -> None:
    with Consumer(ADDRESS, broker=broker, group="slow", required=True, prefetch_messages=4) as slow:
        frames = [slow.next(timeout_s=10) for _ in range(10)]
        for frame in frames[:5]:
            slow.acknowledge(frame)
        slow.flush()
        expiring = expire(broker)
        assert expiring.counts.n_missed == N_OLD - 5
        ids = [frame.message_id]
        while ids[-1] < N_OLD + N_NEW:
            ids.append(slow.next(timeout_s=10).message_id)
        while slow.counts.n_expired == 0:  # told within a tenth of a second, or when it comes back for more
            with contextlib.suppress(NothingNewError):
                slow.next(timeout_s=0.01)
        gaps = slow.take_gaps()
        assert slow.counts.n_expired == N_OLD - 5
    assert ids[-N_NEW:] == list(range(N_OLD + 1, N_OLD + N_NEW + 1))
    assert [(gap.first_id, gap.last_id, gap.reason) for gap in gaps] == [(6, N_OLD, "expired")]
    info = group_info(Server(broker), ADDRESS, "slow")
    assert (info.n_expired, info.required) == (N_OLD - 5, True)


def test_nothing_of_what_has_gone_stays_pending(broker: str, producer: Producer) -> None:
    with Consumer(ADDRESS, broker=broker, group="g", redelivery_delays_s=[1000.0]) as consumer:
        consumer.negative_acknowledge(consumer.next(timeout_s=10))
        expire(broker)
        server = Server(broker)
        pending = server.call("XPENDING", KEYS.index, "g", "-", "+", 1000)
        assert all(int(entry_id.partition(b"-")[0]) > N_OLD for entry_id, *_ in pending)
        assert server.call("ZCARD", KEYS.delayed("g")) == 0
    info = group_info(server, ADDRESS, "g")
    assert info.n_delayed == 0
    assert info.n_expired == N_OLD


def test_a_group_that_has_read_everything_missed_nothing(broker: str, producer: Producer) -> None:
    with Consumer(ADDRESS, broker=broker, group="quick") as quick:
        for _ in range(N_OLD + N_NEW):
            quick.acknowledge(quick.next(timeout_s=10))
        quick.flush()
        assert expire(broker).counts.n_missed == 0
        info = group_info(Server(broker), ADDRESS, "quick")
        assert (info.n_expired, info.lag_messages, info.position) == (0, 0, N_OLD + N_NEW)
        assert quick.take_gaps() == []


def test_lag_and_seek_count_what_is_still_there(broker: str, producer: Producer) -> None:
    with Consumer(ADDRESS, broker=broker, group="g", prefetch_messages=1) as consumer:
        consumer.acknowledge(consumer.next(timeout_s=10))
    expire(broker)
    server = Server(broker)
    info = group_info(server, ADDRESS, "g")
    assert (info.lag_messages, info.lag_bytes) == (N_NEW, N_NEW * PAYLOAD_BYTES)
    done = seek_group(server, ADDRESS, "g", Target(newest=True))
    assert (done.n_again, done.n_passed_over) == (0, N_NEW)
    assert seek_group(server, ADDRESS, "g", Target()).n_again == N_NEW


@pytest.mark.parametrize(("start", "first"), [("start", 1), (6, 6)])
def test_a_reader_without_a_group_is_told_what_was_too_old(
    broker: str, producer: Producer, start: str | int, first: int
) -> None:
    expire(broker)
    with Consumer(ADDRESS, broker=broker, start=start) as consumer:
        ids = [consumer.next(timeout_s=10).message_id for _ in range(N_NEW)]
        gaps = consumer.take_gaps()
        assert consumer.counts.n_expired == N_OLD - first + 1
    assert ids == list(range(N_OLD + 1, N_OLD + N_NEW + 1))
    assert [(gap.first_id, gap.last_id, gap.reason) for gap in gaps] == [(first, N_OLD, "expired")]


def test_a_reader_without_a_group_that_is_overtaken_is_told(broker: str, producer: Producer) -> None:
    with Consumer(ADDRESS, broker=broker, prefetch_messages=2) as consumer:
        first = consumer.next(timeout_s=10).message_id
        expire(broker)
        ids = [first]
        while ids[-1] < N_OLD + N_NEW:
            ids.append(consumer.next(timeout_s=10).message_id)
        gaps = consumer.take_gaps()  # one, or one for each step that overtook it
        assert len(ids) + consumer.counts.n_expired == N_OLD + N_NEW
    lost = [message_id for gap in gaps for message_id in range(gap.first_id, gap.last_id + 1)]
    assert sorted(ids + lost) == list(range(1, N_OLD + N_NEW + 1))
    assert {gap.reason for gap in gaps} == {"expired"}


def test_one_that_starts_with_the_newest_is_told_nothing(broker: str, producer: Producer) -> None:
    expire(broker)
    with Consumer(ADDRESS, broker=broker, start="newest") as consumer:
        with pytest.raises(NothingNewError):
            consumer.next(timeout_s=0.5)
        send(producer, range(N_OLD + N_NEW + 1, N_OLD + N_NEW + 2), age_h=0)
        assert consumer.next(timeout_s=10).message_id == N_OLD + N_NEW + 1
        assert consumer.take_gaps() == []


def test_sending_again_what_has_gone_is_harmless(broker: str, producer: Producer) -> None:
    expire(broker)
    assert producer.send(7, payload(7)).result(10) == "duplicate"
    producer.flush()
    assert payload_keys(broker) == N_NEW
    assert state_of(broker).n_late == 0


def test_gaps_and_late_messages_go_with_what_is_around_them(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, retain_s=DAY_S, patience_s=0) as producer:
        send(producer, range(1, 4), age_h=48)
        send(producer, range(6, 8), age_h=48)  # 4 and 5 are missing
        producer.flush()
        send(producer, range(4, 5), age_h=48)  # and 4 comes late
        send(producer, range(8, 11), age_h=0)
        expire(broker)
        server = Server(broker)
        assert server.call("XLEN", KEYS.index) == 3
        assert server.call("HLEN", KEYS.late) == 0
        receipt = make_receipt(server, ADDRESS)
    assert (receipt.received, receipt.expired, receipt.n_missing, receipt.missing) == (9, 6, 1, [])


def test_what_is_to_be_kept_on_disk_waits_for_the_disk(broker: str, producer: Producer) -> None:
    server = Server(broker)
    server.call("HSET", KEYS.state, "keep", "all")
    assert expire(broker).counts.n_expired == 0
    server.call("HSET", KEYS.state, "spilled_entry", "200-0")
    assert expire(broker).counts.n_expired == 200


def test_an_empty_index_goes_on_where_it_was(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, retain_s=DAY_S, patience_s=0) as producer:
        send(producer, range(1, 11), age_h=48)
        with Consumer(ADDRESS, broker=broker, group="g") as consumer:
            for _ in range(10):
                consumer.acknowledge(consumer.next(timeout_s=10))
            consumer.flush()
            expire(broker)
            assert Server(broker).call("XLEN", KEYS.index) == 0
            info = group_info(Server(broker), ADDRESS, "g")
            assert (info.position, info.n_delivered, info.lag_messages, info.n_expired) == (10, 10, 0, 0)
            send(producer, range(11, 12), age_h=0)
            assert consumer.next(timeout_s=10).message_id == 11


def test_whole_segments_go_and_the_others_stay(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(broker)
    writer_options = StreamWriter.__init__.__kwdefaults__
    assert writer_options is not None
    monkeypatch.setitem(writer_options, "segment_bytes", 20 * PAYLOAD_BYTES)
    with Producer(ADDRESS, broker=broker, retain_s=DAY_S, patience_s=0) as producer:
        spilling = Spilling(server, tmp_path)
        for begin in range(1, 101, 10):
            send(producer, range(begin, begin + 10), age_h=48 if begin < 50 else 0)
            Retention(server, spilling).relieve(MemoryUse(used_bytes=10**12, limit_bytes=10**12))
        folder = tmp_path / "bt" / "temperature" / "t1"
        before = list_segments(folder)
        expiring = Expiring(server, root=tmp_path)
        expiring.look()
        spilling.close()
    assert expiring.counts.n_files > 0
    left = list_segments(folder)
    assert min(left) == expiring.counts.n_files + 1
    assert max(left) == max(before)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [consumer.next(timeout_s=10).message_id for _ in range(50)] == list(range(51, 101))
        assert consumer.counts.n_skipped == 0


@pytest.mark.parametrize("retain_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(broker: str, retain_s: float) -> None:
    with pytest.raises(UsageError, match="retain_s"):
        Producer(ADDRESS, broker=broker, retain_s=retain_s)
