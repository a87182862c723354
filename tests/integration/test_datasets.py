"""Datasets from real producers through a real server: together, late, twice, lost, spilled, whole and by part."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beamstream import Address, Consumer, Gap, Producer
from beamstream.cli.root import app
from beamstream.errors import (
    DatasetStreamError,
    EntryError,
    IdConflictError,
    IncompleteDatasetError,
    MessageNotFoundError,
    MessageTooLargeError,
    PartsMismatchError,
    StreamSealedError,
    UsageError,
)
from beamstream.offline import path_receipt
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import SegmentStream, stream_folder
from beamstream.service import run_handler, run_processor
from beamstream.state import StreamState, read_state
from beamstream.streams import delete_stream
from beamstream.testing.waiting import wait_until
from beamstream_broker.restoring import restore_stream
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.spilling import SpillCounts, Spilling, StreamSpiller
from beamstream_consumers.bin import BinProcessor
from beamstream_consumers.monitor.terminal.watching import watch
from beamstream_consumers.write.handler import WriteHandler

ADDRESS = Address("bt", "det", "run")
FOR_EVER_S = 600.0
MODULE_PROCESS = Path(__file__).with_name("module_process.py")


@pytest.fixture
def four(broker: str) -> Iterator[Producer]:
    """A producer that sends any of four parts; three of them are enough when the patience is over."""
    with Producer(ADDRESS, broker=broker, n_parts=4, min_parts=3, patience_s=FOR_EVER_S) as producer:
        yield producer


def send(producer: Producer, message_id: int, *parts: int) -> list[str]:
    """Send parts and wait until the server has them."""
    return [producer.send(message_id, payload(message_id, part), part=part).result(10) for part in parts]


def lose_patience(broker: str) -> None:
    """Let everything settle that waits, as if the patience were over."""
    server, keys = Server(broker), StreamKeys(ADDRESS)
    server.call("HSET", keys.state, "patience_ms", 0)
    server.script("publish", keys.sequence, [0])
    server.call("HSET", keys.state, "patience_ms", int(FOR_EVER_S * 1000))


def payload(message_id: int, part: int) -> bytes:
    return b"%d of %d " % (part, message_id) * (part * 100)


def parts_of(consumer: Consumer) -> list[tuple[int, tuple[int, ...], bool]]:
    """Read all, check each payload, and return ids, parts, and whether they came late."""
    found = []
    for frame in consumer:
        assert [part.payload for part in frame.parts] == [payload(frame.message_id, one.part) for one in frame.parts]
        found.append((frame.message_id, tuple(part.part for part in frame.parts), frame.late))
    return found


def state_of(broker: str) -> StreamState:
    state = read_state(Server(broker), StreamKeys(ADDRESS))
    assert state is not None
    return state


def payload_keys(broker: str) -> int:
    return len(Server(broker).call("KEYS", "bs1:p:*"))


# --- from several processes ------------------------------------------------------------------------------------------

N_MESSAGES, N_PARTS, STOP_AFTER = 60, 4, 25


def start_module(broker: str, part: int, *stop_after: int) -> subprocess.Popen[str]:
    numbers = [part, N_PARTS, N_MESSAGES, part, *stop_after]
    return subprocess.Popen(
        [sys.executable, str(MODULE_PROCESS), broker, str(ADDRESS), *map(str, numbers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def said_by(process: subprocess.Popen[str]) -> list[int]:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [int(word) for word in said.split()]


def test_four_processes_make_one_stream_and_one_that_is_killed_sends_again(broker: str) -> None:
    module = runpy.run_path(str(MODULE_PROCESS))
    others = [start_module(broker, part) for part in (4, 1, 3)]
    victim = start_module(broker, 2, STOP_AFTER)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "stopped\n"
    victim.kill()
    victim.communicate()
    assert [said_by(process) for process in others] == [[N_MESSAGES, 0, 0]] * 3
    before = state_of(broker)
    assert before.n_received < N_MESSAGES
    assert before.n_received + before.n_held == N_MESSAGES, "the others wait for its part"
    assert said_by(start_module(broker, 2)) == [N_MESSAGES - STOP_AFTER, STOP_AFTER, 0]
    with Producer(ADDRESS, broker=broker, n_parts=N_PARTS) as producer:
        assert producer.finish(N_MESSAGES) == N_MESSAGES
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        frames = list(consumer)
    assert [frame.message_id for frame in frames] == list(range(1, N_MESSAGES + 1))
    for frame in frames:
        assert frame.missing_parts == ()
        assert frame.header.timestamp_ns == frame.message_id
        expected = np.stack([module["pixels"](frame.message_id, part) for part in range(1, N_PARTS + 1)])
        assert np.array_equal(frame.array(), expected)
        assert [part.metadata["module"] for part in frame.parts] == [1, 2, 3, 4]
    receipt = make_receipt(Server(broker), ADDRESS)
    assert (receipt.clean, receipt.received, receipt.incomplete, receipt.duplicated) == (True, 60, 0, STOP_AFTER)


# --- what is not complete --------------------------------------------------------------------------------------------


def test_a_dataset_goes_without_what_is_missing_where_enough_is_there(four: Producer, broker: str) -> None:
    send(four, 1, 2, 4, 1)
    send(four, 2, 1, 2, 3, 4)
    assert state_of(broker).n_received == 0
    lose_patience(broker)
    assert four.finish() == 2
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert parts_of(consumer) == [(1, (1, 2, 4), False), (2, (1, 2, 3, 4), False)]
        assert (consumer.counts.n_incomplete, consumer.counts.n_missing) == (1, 0)
        frame = consumer.read(1)
        assert frame.missing_parts == (3,)
        with pytest.raises(IncompleteDatasetError):
            frame.array()
    receipt = make_receipt(Server(broker), ADDRESS)
    assert (receipt.received, receipt.incomplete, receipt.missing_parts, receipt.clean) == (2, 1, {3: 1}, False)


def test_with_too_few_parts_an_id_is_passed_over_and_what_came_follows_late(four: Producer, broker: str) -> None:
    send(four, 1, 2, 4)
    send(four, 2, 1)
    send(four, 4, 1, 2, 3, 4)
    lose_patience(broker)
    assert four.finish() == 4
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert parts_of(consumer) == [(1, (2, 4), True), (2, (1,), True), (4, (1, 2, 3, 4), False)]
        assert consumer.take_gaps() == [
            Gap(first_id=1, last_id=1, reason="incomplete"),
            Gap(first_id=2, last_id=2, reason="incomplete"),
            Gap(first_id=3, last_id=3, reason="patience"),
        ]
    receipt = make_receipt(Server(broker), ADDRESS)
    assert (receipt.missing, receipt.incomplete, receipt.late) == ([(3, 3)], 2, 2)
    assert receipt.missing_parts == {1: 1, 2: 1, 3: 2, 4: 1}


def test_too_much_behind_an_incomplete_dataset_ends_its_patience(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_parts=2, min_parts=1, patience_s=FOR_EVER_S) as producer:
        send(producer, 1, 1)
        for message_id in range(2, 80):
            for part in (1, 2):
                future = producer.send(message_id, b"", part=part, metadata={"x": bytes(500_000)})
        future.result(30)
        assert producer.finish() == 79
    state = state_of(broker)
    assert (state.n_received, state.n_incomplete, state.n_missing, state.n_held) == (79, 1, 0, 0)
    assert Server(broker).call("HGET", StreamKeys(ADDRESS).state, "held_bytes") == b"0"


def test_patience_counts_from_the_first_part(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_parts=2, min_parts=1, patience_s=FOR_EVER_S) as producer:
        send(producer, 1, 1)
        assert state_of(broker).n_held == 1
        Server(broker).call("HSET", StreamKeys(ADDRESS).state, "patience_ms", 50)
        # The sender looks by itself as long as something waits: nothing more has to be sent.
        wait_until(lambda: state_of(broker).n_received == 1)


def test_a_part_that_comes_late_is_delivered_late_and_found_by_the_id(four: Producer, broker: str) -> None:
    send(four, 1, 1, 2, 4)
    lose_patience(broker)
    send(four, 2, 1, 2, 3, 4)
    assert send(four, 1, 3) == ["late"]
    assert send(four, 1, 3) == ["duplicate"]
    four.finish()
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        assert parts_of(consumer) == [(1, (1, 2, 4), False), (2, (1, 2, 3, 4), False), (1, (3,), True)]
        consumer.flush()
        assert consumer.counts.n_acknowledged == 3
        assert Server(broker).call("XPENDING", StreamKeys(ADDRESS).index, "g")[0] == 0
        whole = consumer.read(1)
        assert (whole.missing_parts, whole.late) == ((), True)
        assert whole.payload == b"".join(payload(1, part) for part in (1, 2, 3, 4))
    state, receipt = state_of(broker), make_receipt(Server(broker), ADDRESS)
    assert (state.n_received, state.n_additions, state.n_incomplete, state.n_late) == (2, 1, 0, 1)
    assert (receipt.received, receipt.incomplete, receipt.clean) == (2, 0, True)


def test_the_checksum_of_a_stream_does_not_depend_on_when_its_parts_came(broker: str) -> None:
    checksums = []
    for order in ((1, 2, 3, 4), (3, 1, 4, 2), (4, 2, 1)):
        with Producer(ADDRESS, broker=broker, n_parts=4, min_parts=3, patience_s=FOR_EVER_S) as producer:
            send(producer, 1, *order)
            lose_patience(broker)
            send(producer, 1, 3)
            producer.finish()
        checksums.append(make_receipt(Server(broker), ADDRESS).checksum)
        delete_stream(Server(broker), ADDRESS)
    assert len(set(checksums)) == 1


# --- what is refused -------------------------------------------------------------------------------------------------


def test_another_payload_of_a_part_is_refused_and_takes_no_other_part_with_it(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_parts=2) as producer:
        same = producer.send(1, b"what module 1 saw", part=1)
        mine = producer.send(1, b"what module 2 saw", part=2)
        assert (same.result(10), mine.result(10)) == ("sent", "sent")
        with pytest.raises(IdConflictError, match="part 2 of message 1"):
            producer.send(1, b"what module 1 saw", part=2).result(10)
        assert producer.send(2, b"nothing", part=1).result(10) == "sent"
        with pytest.raises(IdConflictError, match="part 1 of message 2"):
            producer.send(2, b"something", part=1).result(10)
        producer.send(2, b"nothing", part=2)
        producer.finish()
        with pytest.raises(StreamSealedError):
            producer.send(3, b"too late", part=1).result(10)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [frame.payload for frame in consumer] == [b"what module 1 sawwhat module 2 saw", b"nothingnothing"]
    assert payload_keys(broker) == 4, "those that were refused are gone"
    assert state_of(broker).n_conflict == 2


@pytest.mark.parametrize(("n_parts", "min_parts"), [(3, 3), (4, 4), (1, None)])
def test_producers_that_do_not_agree_on_the_parts_are_told_both_numbers(
    four: Producer, broker: str, n_parts: int, min_parts: int | None
) -> None:
    with pytest.raises(PartsMismatchError, match="n_parts=4, min_parts=3") as caught:
        Producer(ADDRESS, broker=broker, n_parts=n_parts, min_parts=min_parts)
    assert (caught.value.wanted_parts, caught.value.wanted_min) == (n_parts, min_parts or n_parts)


def test_an_ordinary_stream_takes_no_parts(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        with pytest.raises(PartsMismatchError, match="n_parts=1"):
            Producer(ADDRESS, broker=broker, n_parts=2)
        with pytest.raises(UsageError, match="have no parts"):
            producer.send(1, b"", part=1)
        producer.send(1, b"x").result(10)
    with pytest.raises(UsageError, match="have no parts"):
        Consumer(ADDRESS, broker=broker, part=1)


@pytest.mark.parametrize("part", [0, 5, None])
def test_a_part_that_does_not_exist_cannot_be_sent(four: Producer, part: int | None) -> None:
    with pytest.raises(UsageError):
        four.send(1, b"", part=part)


@pytest.mark.parametrize(
    "options", [{"n_parts": 0}, {"n_parts": 1025}, {"n_parts": 4, "min_parts": 0}, {"n_parts": 4, "min_parts": 5},
                {"n_parts": 4, "part": 5}, {"part": 1}],
)  # fmt: skip
def test_numbers_of_parts_that_make_no_sense_are_refused_before_anything_is_made(
    broker: str, options: dict[str, int]
) -> None:
    with pytest.raises(UsageError):
        Producer(ADDRESS, broker=broker, **options)  # type: ignore[arg-type]
    assert read_state(Server(broker), StreamKeys(ADDRESS)) is None


def test_a_part_may_only_have_its_share_of_a_message(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beamstream.producer.parts.MAX_PAYLOAD_BYTES", 64)
    with Producer(ADDRESS, broker=broker, n_parts=4, part=1) as producer:
        with pytest.raises(MessageTooLargeError):
            producer.send(1, bytes(17))
        with pytest.raises(EntryError, match="the limit with 4 parts"):
            producer.send(1, bytes(16), metadata={"x": bytes(1 << 18)})
        assert producer.send(1, bytes(16)).result(10) == "sent"


# --- one part --------------------------------------------------------------------------------------------------------


def fill(producer: Producer, broker: str) -> None:
    """Four datasets: complete, without part 2, passed over with parts 2 and 4, complete in the end."""
    send(producer, 1, 4, 3, 2, 1)
    send(producer, 2, 1, 3, 4)
    send(producer, 3, 4, 2)
    send(producer, 4, 1, 3, 4)
    lose_patience(broker)
    send(producer, 4, 2)
    producer.finish()


ONE_PART = [(1, 2, False), (3, 2, True), (4, 2, True)]
ONE_PART_GAPS = [(2, "part"), (3, "incomplete"), (4, "part")]


def test_a_reader_of_one_part_gets_that_and_is_told_where_it_is_missing(four: Producer, broker: str) -> None:
    fill(four, broker)
    with Consumer(ADDRESS, broker=broker, group="g", part=2) as consumer:
        frames = list(consumer)
        assert [(frame.message_id, frame.part, frame.late) for frame in frames] == ONE_PART
        assert [frame.payload for frame in frames] == [payload(frame.message_id, 2) for frame in frames]
        assert [(gap.first_id, gap.reason) for gap in consumer.take_gaps()] == ONE_PART_GAPS
        assert consumer.counts.n_missing == 3
        consumer.flush()
        assert consumer.read(4).payload == payload(4, 2)
        with pytest.raises(MessageNotFoundError, match="part 2"):
            consumer.read(2)
        assert consumer.newest().message_id == 4
    pending = Server(broker).call("XPENDING", StreamKeys(ADDRESS).index, "g")[0]
    assert pending == 0


def test_only_the_bytes_of_that_part_are_fetched(four: Producer, broker: str) -> None:
    fill(four, broker)
    server, keys = Server(broker), StreamKeys(ADDRESS)
    with Consumer(ADDRESS, broker=broker) as consumer:
        headers = [frame.header for frame in consumer]
    for message_id, header in zip((1, 2, 3, 4, 4), headers, strict=True):
        for part in header.parts:
            if part.part != 2:
                server.call("DEL", keys.payload(message_id, part.checksum, part.part))
    with Consumer(ADDRESS, broker=broker, part=2) as consumer:
        assert [(frame.message_id, frame.part, frame.late) for frame in consumer] == ONE_PART
        assert consumer.counts.n_skipped == 0
        assert consumer.counts.n_bytes == sum(len(payload(message_id, 2)) for message_id in (1, 3, 4))
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [(frame.message_id, frame.late) for frame in consumer] == [(4, True)], "part 2, which came alone"
        assert consumer.counts.n_skipped == 4


@pytest.mark.parametrize("part", [0, 5])
def test_a_part_that_does_not_exist_cannot_be_read(four: Producer, broker: str, part: int) -> None:
    with pytest.raises(UsageError, match="parts 1 to 4"):
        Consumer(ADDRESS, broker=broker, part=part)


# --- memory and disk -------------------------------------------------------------------------------------------------


def relieve(server: Server, root: Path | None) -> None:
    """Let everything leave memory, as from a server that is full to the brim."""
    spilling = Spilling(server, root) if root else None
    Retention(server, spilling).relieve(MemoryUse(used_bytes=10**12, limit_bytes=10**12))
    if spilling:
        spilling.close()


def test_what_was_spilled_is_read_whole_and_by_part_with_and_without_a_server(
    four: Producer, broker: str, tmp_path: Path
) -> None:
    fill(four, broker)
    server, folder = Server(broker), stream_folder(tmp_path, ADDRESS)
    with Consumer(ADDRESS, broker=broker) as consumer:
        before = list(consumer)
        gaps, by_id = consumer.take_gaps(), [consumer.read(message_id) for message_id in (1, 2, 3, 4)]
    online = make_receipt(server, ADDRESS)
    relieve(server, tmp_path)
    assert (payload_keys(broker), state_of(broker).memory_bytes) == (0, 0)
    for where in (ADDRESS, folder):
        with Consumer(where, broker=broker) as consumer:
            assert list(consumer) == before
            assert consumer.take_gaps() == gaps
            assert [consumer.read(message_id) for message_id in (1, 2, 3, 4)] == by_id
            assert consumer.counts.n_incomplete == 3
        with Consumer(where, broker=broker, part=2) as consumer:
            assert [(frame.message_id, frame.part, frame.late) for frame in consumer] == ONE_PART
            assert [(gap.first_id, gap.reason) for gap in consumer.take_gaps()] == ONE_PART_GAPS
            assert consumer.read(4).payload == payload(4, 2)
            assert consumer.newest().payload == payload(4, 2)
        with pytest.raises(UsageError):
            Consumer(where, broker=broker, part=5)
    for verify in (False, True):
        offline = path_receipt(folder, verify=verify)
        assert (offline.checksum, offline.received, offline.incomplete, offline.missing_parts, offline.n_missing) == (
            online.checksum, 4, 2, {1: 1, 2: 1, 3: 1}, 0,
        )  # fmt: skip
    assert make_receipt(server, ADDRESS) == online


def test_a_stream_that_is_put_back_from_its_segments_is_what_it_was(
    four: Producer, broker: str, tmp_path: Path
) -> None:
    fill(four, broker)
    server = Server(broker)
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        before = list(consumer)
        by_id = [consumer.read(message_id) for message_id in (1, 2, 3, 4)]
    receipt, live = make_receipt(server, ADDRESS), state_of(broker)
    relieve(server, tmp_path)
    delete_stream(server, ADDRESS)
    assert restore_stream(server, stream_folder(tmp_path, ADDRESS)) == (ADDRESS, 4)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert list(consumer) == before
        assert [consumer.read(message_id) for message_id in (1, 2, 3, 4)] == by_id
    assert replace(make_receipt(server, ADDRESS), groups=[]) == replace(receipt, groups=[])
    assert send(four, 4, 2, 1) == ["duplicate"] * 2
    assert send(four, 3, 1, 3) == ["late"] * 2
    state = state_of(broker)
    assert (state.n_received, state.n_incomplete, state.n_additions) == (4, live.n_incomplete - 1, live.n_additions + 2)


def test_what_came_of_a_dataset_goes_to_disk_together_with_its_gap(
    four: Producer, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beamstream_broker.spilling.PAGE_MESSAGES", 2)
    for message_id in range(1, 8):
        send(four, message_id, *((1, 2, 3, 4) if message_id % 3 == 1 else (1,)))
    lose_patience(broker)
    spiller = StreamSpiller(Server(broker), ADDRESS, tmp_path / "run", SpillCounts())
    reached = [spiller.spilled]
    with ThreadPoolExecutor(1) as reading:
        while not reached[1:] or reached[-1] > reached[-2]:
            spiller.spill(1, reading)
            reached.append(spiller.spilled)
    spiller.close()
    assert reached[1:-1] == [(1, 0), (2, 1), (3, 1), (4, 0), (5, 1), (6, 1), (7, 0)]


def test_the_state_is_drawn_up_from_segments_as_it_was(four: Producer, broker: str, tmp_path: Path) -> None:
    fill(four, broker)
    relieve(Server(broker), tmp_path)
    live = state_of(broker)
    with SegmentStream(stream_folder(tmp_path, ADDRESS)) as stream:
        assert not stream.damage
        assert not any(reader.verify().n_damaged for reader in stream.segments.values())
        numbers = [stored.entry.n_messages for stored in stream.entries()]
    with Consumer(stream_folder(tmp_path, ADDRESS)) as consumer:
        assert consumer.state == replace(live, released_id=live.next_id, spilled_position=0, n_spilled=0)
    server, keys = Server(broker), StreamKeys(ADDRESS)
    entries = server.call("XRANGE", keys.index, "-", "+")
    assert numbers == [int(dict(zip(flat[::2], flat[1::2], strict=True))[b"n"]) for _, flat in entries]


def test_a_damaged_part_on_disk_is_told_and_the_others_are_read(four: Producer, broker: str, tmp_path: Path) -> None:
    fill(four, broker)
    relieve(Server(broker), tmp_path)
    segment = stream_folder(tmp_path, ADDRESS) / "000001.seg"
    data = bytearray(segment.read_bytes())
    data[data.index(payload(1, 3)) + 5] ^= 1
    segment.write_bytes(data)
    for where in (ADDRESS, segment.parent):
        with Consumer(where, broker=broker) as consumer:
            assert [frame.message_id for frame in consumer] == [2, 3, 4, 4]
            assert consumer.counts.n_corrupt + consumer.counts.n_skipped == 1
        with Consumer(where, broker=broker, part=2) as consumer:
            assert [frame.message_id for frame in consumer] == [1, 3, 4]


def test_parts_are_released_together_and_counted_once(four: Producer, broker: str) -> None:
    fill(four, broker)
    relieve(Server(broker), None)
    assert (payload_keys(broker), state_of(broker).memory_bytes, state_of(broker).n_dropped) == (0, 0, 5)
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        assert list(consumer) == []
        assert consumer.counts.n_skipped == 5
    assert send(four, 1, 2) == ["duplicate"]
    assert payload_keys(broker) == 0, "what served nobody was taken away again"


def test_deleting_a_stream_takes_the_parts_along_also_those_that_wait(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_parts=4, patience_s=FOR_EVER_S) as producer:
        send(producer, 1, 1, 2, 3, 4)
        send(producer, 2, 1, 3)
        send(producer, 4, 1, 2, 3, 4)
        assert payload_keys(broker) == 10
        assert delete_stream(Server(broker), ADDRESS) == 1
    assert Server(broker).call("KEYS", "*") == []


# --- those who do not know of parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bin", "write", "monitor"])
def test_who_takes_frames_of_one_part_only_says_so_once(
    four: Producer, broker: str, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(four, broker)
    run = {
        "bin": lambda: run_processor(lambda: BinProcessor(2), str(ADDRESS), broker=broker),
        "write": lambda: run_handler(WriteHandler(tmp_path), str(ADDRESS), broker=broker),
        "monitor": lambda: watch(ADDRESS, broker, "monitor", lambda _: None, threading.Event()),
    }[name]
    with pytest.raises(DatasetStreamError, match=f"bt/det/run: its messages are datasets of 4 parts, and {name}"):
        run()
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_shows_parts_and_what_is_incomplete(four: Producer, broker: str) -> None:
    fill(four, broker)

    def run(*words: str) -> str:
        return CliRunner().invoke(app, [*words, "--broker", broker]).stdout

    (row,) = json.loads(run("ls", "--json"))
    assert (row["n_parts"], row["incomplete"], row["messages"]) == (4, 2, 4)
    info = json.loads(run("info", str(ADDRESS), "--json"))
    assert (info["n_parts"], info["min_parts"], info["incomplete"]) == (4, 3, 2)
    receipt = json.loads(run("receipt", str(ADDRESS), "--json"))
    assert (receipt["n_parts"], receipt["incomplete"], receipt["missing_parts"]) == (4, 2, {"1": 1, "2": 1, "3": 1})
    assert "2 (missing: part 1 of 1, part 2 of 1, part 3 of 1)" in run("receipt", str(ADDRESS))
    assert '"parts": {"1": {}, "2": {}' in run("tail", str(ADDRESS), "--json").splitlines()[0]
