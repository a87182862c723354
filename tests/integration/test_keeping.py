"""What streams keep, and what is back after a crash: real broker processes, servers killed with -9, a real disk."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import NotKeptError, NotOnDiskError, StreamNotFoundError, UsageError
from beamstream.groups import list_dead_letters, list_groups
from beamstream.producer.on_disk import OnDisk, read_safe
from beamstream.producer.storing import Tier
from beamstream.protocol import StreamKeys, fields_of, unlocate_header
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import SegmentStream
from beamstream.streams import delete_stream, list_streams, stream_state
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.snapshots import read_snapshot, write_snapshot
from beamstream_broker.testing import BrokerProcess

ADDRESS = Address("bt", "det", "run")
KEYS = StreamKeys(ADDRESS)
SPILL = "spill"
PAYLOAD_BYTES = 20_000
"""Large enough to lie under a key of its own."""


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    one = BrokerProcess(tmp_path_factory.mktemp("b"), "--spill", SPILL)
    one.start()
    yield one
    one.kill()


def fill(broker: BrokerProcess, n: int, *, keep: str, finish: bool = True, name: str = "run") -> None:
    address = Address("bt", "det", name)
    with Producer(address, broker=broker.url, keep=keep, metadata={"sample": name}) as producer:  # type: ignore[arg-type]
        futures = [producer.send(i, payload(i)) for i in range(1, n + 1)]
        assert [future.result(PATIENCE_S) for future in futures] == ["sent"] * n
        if finish:
            producer.finish()


def frames(broker: BrokerProcess, **options: object) -> list[int]:
    with Consumer(ADDRESS, broker=broker.url, **options) as consumer:  # type: ignore[arg-type]
        ids = []
        for frame in consumer:
            assert frame.payload == payload(frame.message_id)
            ids.append(frame.message_id)
        return ids


def on_disk(broker: BrokerProcess) -> set[int]:
    with SegmentStream(broker.folder / SPILL / "bt" / "det" / "run") as stream:
        return {stored.entry.message_id for stored in stream.entries() if stored.entry.header is not None}


# --- all ------------------------------------------------------------------------------------------------------------


def test_what_was_reported_as_sent_is_on_disk(broker: BrokerProcess) -> None:
    with Producer(ADDRESS, broker=broker.url, keep="all") as producer:
        for i in range(1, 21):
            producer.send(i, payload(i))
        assert producer.flush(PATIENCE_S)
        assert on_disk(broker) == set(range(1, 21))
        assert producer.queued_bytes == 0
        producer.finish()
    with SegmentStream(broker.folder / SPILL / "bt" / "det" / "run") as stream:
        assert stream.ending() is not None


def test_what_waits_behind_a_gap_is_sent_when_the_gap_has_closed_and_it_is_on_disk(broker: BrokerProcess) -> None:
    with Producer(ADDRESS, broker=broker.url, keep="all", patience_s=60) as producer:
        second = producer.send(2, b"b")
        wait_until(lambda: stream_state(Server(broker.url), ADDRESS).n_held == 1, "the second message")
        assert not second.done()
        producer.send(1, b"a")
        assert second.result(PATIENCE_S) == "sent"
        assert on_disk(broker) == {1, 2}


def test_a_killed_broker_loses_no_part_of_a_dataset_that_was_sent(broker: BrokerProcess) -> None:
    n, n_parts, sent = 400, 3, set()

    def produce(part: int) -> None:
        with Producer(
            ADDRESS, broker=broker.url, keep="all", retry_timeout_s=None, n_parts=n_parts, part=part, patience_s=60
        ) as producer:
            for i in range(1, n + 1):
                producer.send(i, payload(part * i)).add_done_callback(lambda _, i=i: sent.add((i, part)))
            producer.finish(n)

    threads = [threading.Thread(target=produce, args=(part,)) for part in range(1, n_parts + 1)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(sent) > n, "a third of the parts")
    broker.kill()
    with SegmentStream(broker.folder / SPILL / "bt" / "det" / "run") as stream:
        headers = [(one.entry.message_id, one.entry.header) for one in stream.entries() if one.entry.header is not None]
    on_disk = {(message_id, part.part) for message_id, header in headers for part in header.parts}
    assert sent <= on_disk, "before anybody could send it again"
    broker.start()
    for thread in threads:
        thread.join()
    assert len(sent) == n * n_parts
    with Consumer(ADDRESS, broker=broker.url) as consumer:
        for i, frame in enumerate(consumer, start=1):
            assert (frame.message_id, frame.missing_parts) == (i, ())
            assert [part.payload for part in frame.parts] == [payload(part * i) for part in range(1, n_parts + 1)]
    assert make_receipt(Server(broker.url), ADDRESS).clean


@pytest.mark.parametrize("whom", ["server", "broker"])
def test_a_killed_server_or_broker_loses_nothing_that_was_sent(broker: BrokerProcess, whom: str) -> None:
    n, sent = 1500, []
    with Producer(ADDRESS, broker=broker.url, keep="all", retry_timeout_s=None, metadata={"a": 1}) as producer:

        def produce() -> None:
            for i in range(1, n + 1):
                producer.send(i, payload(i)).add_done_callback(lambda _, i=i: sent.append(i))
            producer.finish()

        thread = threading.Thread(target=produce)
        thread.start()
        for n_before in (200, 700):
            wait_until(lambda n_before=n_before: len(sent) > n_before, f"{n_before} messages")
            if whom == "server":
                os.kill(broker.server_pid, signal.SIGKILL)
                wait_until(lambda: not Path(f"/proc/{broker.server_pid}").exists(), "its end")
                wait_until(lambda: _answers(Server(broker.url)), "the new one")
                broker.server_pid = int(dict(_info(Server(broker.url)))["process_id"])
            else:
                broker.kill()
                assert set(sent) <= on_disk(broker), "before anybody could send it again"
                broker.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert producer.counts.n_failed == 0
    assert frames(broker, group="g") == list(range(1, n + 1))
    receipt = make_receipt(Server(broker.url), ADDRESS)
    assert (receipt.received, receipt.n_missing, receipt.late, receipt.state) == (n, 0, 0, "complete")


@pytest.mark.parametrize("tier", ["memory", "shared"])
def test_a_server_lost_between_payload_and_entry_leaves_no_entry_without_payload(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch, tier: Tier
) -> None:
    with Producer(ADDRESS, broker=broker.url, keep="all", retry_timeout_s=None, tier=tier) as producer:
        producer.send(1, payload(1)).result(PATIENCE_S)
        store = producer._sender._storing.store
        crashes = iter((True, True))

        def store_and_lose(payloads: Sequence[Any], life: str) -> int:
            n_stored: int = store(payloads, life)
            if next(crashes, False):
                broker.kill()
                broker.start()
            return n_stored

        monkeypatch.setattr(producer._sender._storing, "store", store_and_lose)
        look = OnDisk.look

        def look_late(waiting: OnDisk) -> tuple[list[Any], list[Any]]:
            """Notice the crash only when the broker has written everything, as on a busy machine."""
            return look(waiting) if read_safe(Server(broker.url), ADDRESS).n_messages >= 40 else ([], [])

        monkeypatch.setattr(OnDisk, "look", look_late)
        futures = [producer.send(i, payload(i)) for i in range(2, 41)]
        assert [future.result(PATIENCE_S) for future in futures] == ["sent"] * 39
        producer.finish()
    assert frames(broker, group="g") == list(range(1, 41))
    with SegmentStream(broker.folder / SPILL / "bt" / "det" / "run") as stream:
        assert not any(stored.is_gone for stored in stream.entries())


def _answers(server: Server) -> bool:
    try:
        return bool(server.run_id())
    except Exception:  # noqa: BLE001 (whatever a server says that is just starting)
        return False


def _info(server: Server) -> Iterator[tuple[str, str]]:
    for line in server.call("INFO", "server").decode().splitlines():
        if ":" in line:
            key, value = line.split(":", 1)
            yield key, value


def test_groups_are_where_they_were(broker: BrokerProcess) -> None:
    fill(broker, 100, keep="all")
    with Consumer(ADDRESS, broker=broker.url, group="g", max_attempts=2, prefetch_messages=4) as consumer:
        for _ in range(40):
            consumer.acknowledge(consumer.next(PATIENCE_S))
        consumer.negative_acknowledge(consumer.next(PATIENCE_S), 3600, "much later")
        bad = consumer.next(PATIENCE_S)
        consumer.negative_acknowledge(bad, 0, "once")
        taken = {bad.message_id}
        while True:
            again = consumer.next(PATIENCE_S)
            if again.message_id in taken:
                break
            consumer.acknowledge(again)
        consumer.negative_acknowledge(again, 0, "the second time")
        consumer.flush()
    with Consumer(ADDRESS, broker=broker.url, group="h") as consumer:
        for _ in range(30):
            consumer.acknowledge(consumer.next(PATIENCE_S))
    server = Server(broker.url)
    before = list_groups(server, ADDRESS)[0]
    assert before.n_dead == 1
    assert before.n_pending >= 1, "and what was fetched ahead, as far as the prefetching had come"
    wait_until(lambda: _snapshot_has(broker, before.n_pending, 30), "the snapshot")
    broker.kill()
    broker.start()
    after = list_groups(server, ADDRESS)[0]
    assert (after.n_dead, after.n_pending, after.lag_messages) == (1, before.n_pending, before.lag_messages)
    (letter,) = list_dead_letters(server, ADDRESS, "g")
    assert (letter.message_id, letter.why) == (bad.message_id, "the second time")
    server.call("ZADD", KEYS.delayed("g"), "XX", 0, *server.call("ZRANGE", KEYS.delayed("g"), 0, -1))
    rest = frames(broker, group="g")
    assert len(rest) == before.lag_messages + before.n_pending
    assert bad.message_id not in rest
    assert sorted(frames(broker, group="h")) == list(range(31, 101))


def _snapshot_has(broker: BrokerProcess, n_pending: int, last_id: int) -> bool:
    snapshot = read_snapshot(broker.folder / SPILL / "bt" / "det" / "run")
    groups = {} if snapshot is None else {group.name: group for group in snapshot.groups}
    if len(groups) < 2 or len(groups[b"g"].pending) != n_pending:
        return False
    # What was fetched ahead was given, and has been parked since.
    return int(groups[b"h"].last.partition(b"-")[0]) - len(groups[b"h"].pending) == last_id


def test_a_consumer_goes_on_by_itself_when_the_server_was_killed(broker: BrokerProcess) -> None:
    fill(broker, 300, keep="all")
    seen = []
    with Consumer(ADDRESS, broker=broker.url, group="g", prefetch_messages=8) as consumer:
        for frame in consumer:
            assert frame.payload == payload(frame.message_id)
            seen.append(frame.message_id)
            if len(seen) == 100:
                os.kill(broker.server_pid, signal.SIGKILL)
    assert set(seen) == set(range(1, 301))
    assert len(seen) < 450, "what was acknowledged long before does not come again"


def test_a_server_of_somebody_else_gets_its_streams_back_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("x")
    broker = BrokerProcess(folder, "--spill", SPILL, attach=f"unix://{folder}/b.sock")
    seen: list[int] = []
    with ExitStack() as stack:
        stack.callback(broker.kill)
        server = EmbeddedServer(memory_bytes=64 << 20, socket_path=folder / "b.sock")
        stack.callback(server.close)
        server.start()
        broker.start()
        producer = stack.enter_context(Producer(ADDRESS, broker=broker.url, keep="all", retry_timeout_s=None))
        producer.send(1, payload(1)).result(PATIENCE_S)

        def read() -> None:
            with Consumer(ADDRESS, broker=broker.url, group="g") as consumer:
                seen.extend(frame.message_id for frame in consumer)

        thread = threading.Thread(target=read)
        thread.start()
        wait_until(lambda: seen, "the first message")
        for i in range(2, 301):
            producer.send(i, payload(i))
            if i == 150:
                os.kill(server.pid, signal.SIGKILL)
                server.close()
                server = EmbeddedServer(memory_bytes=64 << 20, socket_path=folder / "b.sock")
                stack.callback(server.close)
                server.start()
        producer.finish()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert producer.counts.n_failed == 0
        receipt = make_receipt(Server(broker.url), ADDRESS)
    assert set(seen) == set(range(1, 301))
    assert (receipt.received, receipt.n_missing, receipt.late) == (300, 0, 0)


def test_a_gap_that_a_dead_producer_leaves_is_passed_over_all_the_same(broker: BrokerProcess) -> None:
    producer = Producer(ADDRESS, broker=broker.url, patience_s=0.3)
    producer.send(2, b"b").result(PATIENCE_S)
    producer._queue.close()  # as if it were dead: nobody looks at the gap any more
    producer._sender.join()
    with Consumer(ADDRESS, broker=broker.url) as consumer:
        assert consumer.next(PATIENCE_S).message_id == 2
        assert [(gap.first_id, gap.last_id, gap.reason) for gap in consumer.take_gaps()] == [(1, 1, "patience")]
    producer._server.close()


def test_all_is_refused_where_nobody_keeps(broker: BrokerProcess, tmp_path: Path) -> None:
    with EmbeddedServer(memory_bytes=32 << 20) as server, pytest.raises(NotKeptError, match="stream broker run"):
        Producer(ADDRESS, broker=server.url, keep="all")
    with Producer(ADDRESS, broker=broker.url, keep="memory"):
        with pytest.raises(NotKeptError, match="keeps 'memory'"):
            Producer(ADDRESS, broker=broker.url, keep="all")
        Producer(ADDRESS, broker=broker.url).close()
    with pytest.raises(UsageError, match="overflow"):
        Producer(ADDRESS, broker=broker.url, keep="some")  # type: ignore[arg-type]


def test_a_broker_that_stands_still_makes_messages_fail_in_bounded_time(broker: BrokerProcess) -> None:
    with Producer(ADDRESS, broker=broker.url, keep="all", retry_timeout_s=0.5) as producer:
        assert producer.send(1, b"a").result(PATIENCE_S) == "sent"
        broker.send_signal(signal.SIGSTOP)
        try:
            error = producer.send(2, b"b").exception(PATIENCE_S)
        finally:
            broker.send_signal(signal.SIGCONT)
        assert isinstance(error, NotOnDiskError)
        assert error.message_id == 2


# --- overflow, memory -----------------------------------------------------------------------------------------------


def test_a_broker_that_is_told_to_end_writes_down_what_is_in_memory(broker: BrokerProcess) -> None:
    fill(broker, 50, keep="overflow")
    assert not (broker.folder / SPILL / "bt").exists()
    assert broker.stop() == 0
    broker.start()
    assert frames(broker, group="g") == list(range(1, 51))


def test_what_only_memory_keeps_does_not_go_to_disk(broker: BrokerProcess) -> None:
    fill(broker, 50, keep="memory", finish=False)
    assert broker.stop() == 0
    broker.start()
    assert list_streams(Server(broker.url), ADDRESS.source_address) == []


def test_what_only_memory_keeps_is_dropped_and_counted_when_memory_is_full(broker: BrokerProcess) -> None:
    n = 6000  # twice the memory
    with Producer(ADDRESS, broker=broker.url, keep="memory") as producer:
        for i in range(1, n + 1):
            producer.send(i, payload(i))
        producer.finish()
    read = frames(broker)
    state = stream_state(Server(broker.url), ADDRESS)
    assert state.n_spilled == 0
    assert 0 < n - len(read) <= state.n_dropped, "what was dropped later may have been read before"
    assert read == sorted(read)
    assert set(range(state.released_id, n + 1)) <= set(read), "the oldest go first, while some are read as well"


# --- putting back ---------------------------------------------------------------------------------------------------


def test_a_stream_whose_index_has_left_is_put_back_when_somebody_asks(broker: BrokerProcess) -> None:
    fill(broker, 30, keep="all")
    server = Server(broker.url)
    before = make_receipt(server, ADDRESS)
    wait_until(lambda: (broker.folder / SPILL / "bt/det/run/broker.snapshot").exists(), "the snapshot")
    delete_stream(server, ADDRESS)
    with pytest.raises(StreamNotFoundError):
        Consumer(Address("bt", "det", "other"), broker=broker.url)
    assert frames(broker, group="g") == list(range(1, 31))
    after = make_receipt(server, ADDRESS)
    assert (after.received, after.checksum, after.state) == (before.received, before.checksum, "complete")


def test_a_deleted_stream_does_not_come_back_by_itself(broker: BrokerProcess) -> None:
    fill(broker, 5, keep="all")
    fill(broker, 5, keep="all", name="other")
    wait_until(lambda: (broker.folder / SPILL / "bt/det/run/broker.snapshot").exists(), "the snapshot")
    delete_stream(Server(broker.url), ADDRESS)
    assert broker.stop() == 0
    broker.start()
    assert [one.name for one in list_streams(Server(broker.url), ADDRESS.source_address)] == ["other"]


@pytest.mark.parametrize("synced", [10, 20])
def test_what_a_loss_of_power_has_damaged_is_set_aside_and_sent_again(broker: BrokerProcess, synced: int) -> None:
    fill(broker, 20, keep="all", finish=False)
    folder = broker.folder / SPILL / "bt" / "det" / "run"
    wait_until(lambda: (folder / "broker.snapshot").exists(), "the snapshot")
    broker.kill()
    snapshot = read_snapshot(folder)
    assert snapshot is not None
    write_snapshot(folder, replace(snapshot, state=snapshot.state | {b"spilled_entry": b"%d-0" % synced}))
    with SegmentStream(folder) as stream:
        found = stream.find(15)
        assert found is not None
    with (folder / "000001.seg").open("r+b") as file:
        file.seek(found.location.offset)
        file.write(b"what lay there before")
    broker.start()
    state = stream_state(Server(broker.url), ADDRESS)
    if synced == 20:  # a disk that forgets: nothing that was reported as sent is cut off
        assert state.n_received == 20
        assert not list(folder.glob("*.torn"))
        return
    assert (state.n_received, state.next_id) == (14, 15)
    assert len(list(folder.glob("*.torn"))) == 1
    with Producer(ADDRESS, broker=broker.url, keep="all") as producer:
        futures = [producer.send(i, payload(i)) for i in range(1, 21)]
        assert [future.result(PATIENCE_S) for future in futures] == ["duplicate"] * 14 + ["sent"] * 6
        producer.finish()
    assert frames(broker, group="g") == list(range(1, 21))
    with Consumer(folder) as consumer:
        assert [(f.message_id, bytes(f.payload)) for f in consumer] == [(i, payload(i)) for i in range(1, 21)]


def test_late_messages_gaps_and_metadata_come_back_as_they_were(broker: BrokerProcess) -> None:
    server = Server(broker.url)
    with Producer(ADDRESS, broker=broker.url, keep="all", patience_s=0, metadata={"detector": "Eiger"}) as producer:
        for i in (1, 2, 5, 6):
            producer.send(i, payload(i)).result(PATIENCE_S)
        assert producer.send(4, payload(4)).result(PATIENCE_S) == "late"
        producer.send(7, b"inline").result(PATIENCE_S)
        for i in (8, 9):
            assert producer.decline(i).result(PATIENCE_S) == "sent", "and on disk"

        def index() -> list:
            """Return all entries; where payloads were in shared memory is nothing that comes back."""
            entries = server.call("XRANGE", KEYS.index, "-", "+")
            return [(one, fields | {b"h": unlocate_header(fields[b"h"])} if b"h" in fields else fields)
                    for one, fields in ((one, fields_of(flat)) for one, flat in entries)]  # fmt: skip

        before, late = index(), server.call("HGETALL", KEYS.late)
        broker.kill()
        broker.start()
        assert index() == before
        assert server.call("HGETALL", KEYS.late) == late
        for i in (9, 10):
            producer.decline(i).result(PATIENCE_S)
        producer.send(11, payload(11)).result(PATIENCE_S)
        producer.finish()
    with Consumer(ADDRESS, broker=broker.url) as consumer:
        assert consumer.metadata == {"detector": "Eiger"}
        assert [(f.message_id, f.late) for f in consumer] == [
            (1, False),
            (2, False),
            (5, False),
            (6, False),
            (4, True),
            (7, False),
            (11, False),
        ]
        assert bytes(consumer.read(7).payload) == b"inline"
        assert consumer.read(4).late
    receipt = make_receipt(server, ADDRESS)
    assert (receipt.missing, receipt.declined) == ([(3, 3)], 3)
