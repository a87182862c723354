"""Folders of CBF files on their way to a real broker: what arrives, what survives kill -9, what stays in the folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import h5py
import numpy as np
import pytest
import redis

from beamstream import Address, Consumer
from beamstream.address import SourceAddress
from beamstream.errors import StreamExistsError
from beamstream.offline import path_receipt
from beamstream.producer import Producer
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import Upkeep, run_handler, run_processor, run_source
from beamstream.state import StreamState, read_state
from beamstream.stop import Stop
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_consumers.bin import BinProcessor
from beamstream_consumers.write.handler import WriteHandler
from beamstream_producers.cbf import CbfOptions, CbfSource, Folders
from beamstream_producers.cbf.errors import SeveralScansError
from beamstream_producers.cbf.known_streams import KnownStreams
from beamstream_producers.cbf.removal import Remover
from beamstream_producers.sim.pilatus import SimulatedPilatus, SimulatedPilatusOptions

SOURCE = SourceAddress("11012345", "pilatus")
STREAM = SOURCE.stream("scan")
SUMS = {1: 1886800, 2: 1866929, 5: 1871885}


def simulate(folder: Path, n: int, *, stop: Stop | None = None, **options: Any) -> None:
    """Let files come; the same name gives the same bytes but for the time in their header."""
    settings = SimulatedPilatusOptions(**{"base": "scan", "n_frames": n, "rate_hz": 0, **options})
    SimulatedPilatus(folder, settings).run(stop or Stop())


def produce(
    broker: str, *folders: Path, remove: bool = False, queue_bytes: int = 256 << 20, **options: Any
) -> tuple[int, CbfSource]:
    """Do what `stream produce cbf` does; returns its exit status and the source."""
    remover = Remover()
    source = CbfSource(
        Folders(folders),
        CbfOptions(**{"patience_s": 1.0, "settle_s": 0.5, **options}),
        known=KnownStreams(SOURCE, broker),
        remover=remover if remove else None,
    )
    with remover:
        status = run_source(source, SOURCE, broker=broker, upkeep=Upkeep(queue_bytes=queue_bytes))
    return status, source


def state_of(broker: str, address: Address = STREAM) -> StreamState | None:
    client = Server(broker)
    try:
        return read_state(client, StreamKeys(address))
    finally:
        client.close()


def n_received(broker: str, address: Address = STREAM) -> int:
    state = state_of(broker, address)
    return state.n_received if state else 0


@pytest.fixture
def command(broker: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `stream produce cbf`; what is left of it is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "beamstream.cli", "produce", "cbf", *arguments, "--to", str(SOURCE)]
        log = (tmp_path / f"log_{len(started)}").open("wb")
        with log:
            started.append(subprocess.Popen([*line, "--broker", broker], stdout=log, stderr=log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


# --- what arrives --------------------------------------------------------------------------------------------------


def test_captured_files_arrive_and_every_reader_sees_their_counts(broker: str, captured_data: Path) -> None:
    folder = captured_data / "cbf_pilatus300k_albis"
    status, _ = produce(broker, folder, zone=ZoneInfo("Europe/Zurich"))
    assert status == 0
    with Consumer(SOURCE.stream("in16c"), broker=broker, timeout_s=PATIENCE_S) as frames:
        read = {frame.message_id: frame for frame in frames}
        assert [(gap.first_id, gap.last_id) for gap in frames.take_gaps()] == [(3, 4)]
        mask = frames.metadata["entry"]["instrument"]["detector"]["pixel_mask"]
    for message_id, frame in read.items():
        image = frame.array()
        assert (image.shape, image.dtype) == ((619, 487), np.dtype("<i4"))
        assert int(image[image >= 0].sum()) == SUMS[message_id]
        assert ((image < 0) == (mask != 0)).all()
        assert frame.metadata["file_number"] == 10000 + message_id
    assert read.keys() == SUMS.keys()
    assert read[1].header.timestamp_ns == 1320166744733000000


def test_the_writer_makes_a_valid_file_of_captured_images_and_its_receipt_is_the_streams(
    broker: str, captured_data: Path, tmp_path: Path
) -> None:
    address = SOURCE.stream("in16c")
    produce(broker, captured_data / "cbf_pilatus300k_albis", zone=ZoneInfo("Europe/Zurich"))
    assert run_handler(WriteHandler(tmp_path, verify=True, min_free_bytes=0), str(address), broker=broker) == 0
    receipt = make_receipt(Server(broker), address)
    assert (receipt.written, receipt.file_checksum) == (3, receipt.checksum)
    (path,) = tmp_path.glob("*.nxs")
    with h5py.File(path) as file:
        images = file["entry/data/data"]
        assert images.attrs["codec"] == "byte-offset"
        assert {1 + at: int(image[image >= 0].sum()) for at, image in enumerate(images) if image.max() > -1} == SUMS
        assert file["entry/start_time"].asstr()[()] == "2011-11-01T17:59:04.733000+01:00"
        assert file["entry/instrument/detector/serial_number"].asstr()[()] == "3-0118"
        assert file["entry/beamstream/messages/file_number"][()].tolist() == [10001, 10002, 0, 0, 10005]
        assert file["entry/beamstream/metadata_left_out"].size == 0
    script = "from nexusformat.scripts.nxvalidate import main; main()"
    checked = subprocess.run(
        [sys.executable, "-c", script, "-a", "NXmx", "-e", str(path)], capture_output=True, text=True, check=True
    )
    assert re.search(r"Total number of errors: 0\b", checked.stdout + checked.stderr), checked.stderr


def test_binning_leaves_gaps_and_bad_pixels_out(broker: str, captured_data: Path) -> None:
    address = SOURCE.stream("in16c")
    produce(broker, captured_data / "cbf_pilatus300k_albis")
    assert run_processor(lambda: BinProcessor(4), str(address), broker=broker) == 0
    with Consumer("11012345/pilatus-bin/in16c", broker=broker, timeout_s=PATIENCE_S) as frames:
        binned = {frame.message_id: frame.array() for frame in frames}
    for message_id, image in binned.items():
        good = image[image != np.iinfo(image.dtype).max] if image.dtype.kind == "u" else image[image >= 0]
        assert int(good.sum()) == SUMS[message_id]
    assert binned.keys() == SUMS.keys()


def test_a_folder_is_read_as_its_stream_is(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TIMEZONE", "Asia/Tokyo")
    folder = tmp_path / "run_042"
    simulate(folder, 5, start_number=10001)
    (folder / "scan_10003.cbf").unlink()
    produce(broker, folder, zone=ZoneInfo("Asia/Tokyo"))
    with Consumer(STREAM, broker=broker, timeout_s=PATIENCE_S) as online, Consumer(f"{folder}/") as offline:
        sent, there = list(online), list(offline)
        assert [(gap.first_id, gap.last_id) for gap in offline.take_gaps()] == [(3, 3)]
        metadata = [dict(reader.metadata) for reader in (online, offline)]
        assert offline.read(4).header == sent[2].header
        assert offline.newest().message_id == 5
        masks = [tree["entry"]["instrument"]["detector"].pop("pixel_mask") for tree in metadata]
    assert [frame.message_id for frame in there] == [1, 2, 4, 5]
    assert [frame.header for frame in there] == [frame.header for frame in sent]
    assert [bytes(frame.payload) for frame in there] == [bytes(frame.payload) for frame in sent]
    assert metadata[0] == metadata[1]
    np.testing.assert_array_equal(*masks)
    receipts = make_receipt(Server(broker), STREAM), path_receipt(folder)
    for name in ("state", "expected", "received", "missing", "payload_bytes", "checksum"):
        assert getattr(receipts[0], name) == getattr(receipts[1], name), name


def test_a_folder_of_several_scans_is_read_by_naming_a_file(tmp_path: Path) -> None:
    simulate(tmp_path, 2, base="a")
    simulate(tmp_path, 3, base="b")
    with pytest.raises(SeveralScansError, match="a, b"):
        Consumer(tmp_path)
    with Consumer(tmp_path / "b_00002.cbf") as frames:
        assert [frame.metadata["file_name"] for frame in frames] == [f"b_{k:05d}.cbf" for k in (1, 2, 3)]


def test_garbage_in_a_folder_is_read_past_and_counted(tmp_path: Path) -> None:
    simulate(tmp_path, 3)
    (tmp_path / "scan_00002.cbf").write_bytes(b"###CBF: VERSION 1.5\r\n")
    (tmp_path / "scan_00001.cbf").write_bytes(bytes(100))
    with Consumer(tmp_path) as frames:
        assert [frame.message_id for frame in frames] == [3]
        assert frames.counts.n_corrupt == 2
        assert frames.metadata["cbf"]["first_number"] == 1
    receipt = path_receipt(tmp_path)
    assert (receipt.received, receipt.missing, receipt.state) == (1, [(1, 2)], "incomplete")


def test_a_folder_that_fills_by_renames_and_by_a_slow_writer_arrives_whole(broker: str, tmp_path: Path) -> None:
    def fill() -> None:
        simulate(tmp_path, 20, base="renamed", rate_hz=100)
        simulate(tmp_path, 8, base="slow", slow_writer=True)

    writer = threading.Thread(target=fill)
    writer.start()
    status, source = produce(broker, tmp_path, follow=True, idle_timeout_s=3.0, n_scans=2, patience_s=30.0)
    writer.join()
    assert status == 0
    counted = source.counters()
    assert (counted["images"], counted["rejected"], counted.get("overwritten", 0)) == (28, 0, 0)
    for name, n in (("renamed", 20), ("slow", 8)):
        receipt = make_receipt(Server(broker), SOURCE.stream(name))
        assert (receipt.clean, receipt.received) == (True, n)


def test_garbage_beside_good_files_is_a_gap_in_the_stream(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 12)
    for number, data in ((3, b""), (6, b"###CBF: garbage"), (9, os.urandom(5000))):
        (tmp_path / f"scan_{number:05d}.cbf").write_bytes(data)
    status, source = produce(broker, tmp_path)
    assert status == 0
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.received, receipt.missing) == (9, [(3, 3), (6, 6), (9, 9)])
    assert (source.counters()["rejected"], receipt.state) == (3, "incomplete")


# --- going on ------------------------------------------------------------------------------------------------------


def test_a_producer_that_was_killed_goes_on_and_nothing_is_missing_or_twice(
    broker: str, tmp_path: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    stop = Stop()
    writer = threading.Thread(target=lambda: simulate(folder, 150, rate_hz=60, stop=stop, start_number=0))
    writer.start()
    try:
        for already in (20, 60):
            process = command(str(folder), "--follow")
            wait_until(lambda already=already: n_received(broker) >= already)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        writer.join()
    finally:
        stop.set()
        writer.join()
    status, _ = produce(broker, folder)
    assert status == 0
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.clean, receipt.received) == (True, 150)
    with Consumer(STREAM, broker=broker, timeout_s=PATIENCE_S) as online, Consumer(folder) as offline:
        pairs = [(one.message_id, one.header.checksum) for one in online]
        assert pairs == [(one.message_id, one.header.checksum) for one in offline]


def test_ctrl_c_leaves_the_stream_open_and_the_next_run_sends_only_the_rest(
    broker: str, tmp_path: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = tmp_path / "frames"
    simulate(folder, 10)
    process = command(str(folder), "--follow")
    wait_until(lambda: n_received(broker) == 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    state = state_of(broker)
    assert state is not None
    assert not state.finished
    simulate(folder, 5, start_number=11)
    status, source = produce(broker, folder)
    assert (status, source.counters()["images"], source.counters()["already_there"]) == (0, 5, 10)
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.clean, receipt.received, receipt.duplicated) == (True, 15, 0)


def test_ids_stay_where_the_first_files_were_deleted_in_between(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 6, start_number=10001)
    source = CbfSource(Folders([tmp_path]), CbfOptions(follow=True), known=KnownStreams(SOURCE, broker))
    stop_when_sent(source, broker, 6)
    for number in range(10001, 10005):
        (tmp_path / f"scan_{number}.cbf").unlink()
    simulate(tmp_path, 2, start_number=10007)
    status, source = produce(broker, tmp_path)
    assert (status, source.counters()["images"]) == (0, 2)
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.clean, receipt.received) == (True, 8)


def stop_when_sent(source: CbfSource, broker: str, n: int) -> None:
    """Run a source and interrupt it when so many messages are in the stream."""

    def interrupt() -> None:
        wait_until(lambda: n_received(broker) == n)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    assert run_source(source, SOURCE, broker=broker) == 130
    watcher.join()


def test_what_was_missing_at_the_first_run_is_sent_by_the_second(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 4)
    aside = (tmp_path / "scan_00002.cbf").rename(tmp_path / "aside")
    source = CbfSource(Folders([tmp_path]), CbfOptions(follow=True), known=KnownStreams(SOURCE, broker))

    def interrupt() -> None:
        def is_passed_over() -> bool:
            state = state_of(broker)
            return state is not None and state.next_id == 5

        wait_until(is_passed_over)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    run_source(source, SOURCE, broker=broker)
    watcher.join()
    aside.rename(tmp_path / "scan_00002.cbf")
    assert produce(broker, tmp_path)[0] == 0
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.received, receipt.n_missing, receipt.late, receipt.state) == (4, 0, 1, "complete")


def test_a_scan_that_has_ended_is_not_sent_again(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 3)
    produce(broker, tmp_path)
    status, source = produce(broker, tmp_path)
    assert (status, source.counters()["images"], source.counters()["already_there"]) == (0, 0, 3)
    assert make_receipt(Server(broker), STREAM).duplicated == 0


def test_a_name_that_another_folder_has_taken_is_not_taken_again(broker: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        simulate(tmp_path / name, 2, seed=len(name) + ord(name[0]))
        assert produce(broker, tmp_path / name)[0] == 0
    for name in ("scan", "two_scan"):
        assert make_receipt(Server(broker), SOURCE.stream(name)).received == 2
    assert produce(broker, tmp_path / "two")[1].counters()["already_there"] == 2


def test_a_stream_of_something_else_is_not_written_to(broker: str, tmp_path: Path) -> None:
    with Producer(STREAM, broker=broker) as producer:
        producer.send(1, b"spectrum")
    simulate(tmp_path, 1)
    with pytest.raises(StreamExistsError):
        produce(broker, tmp_path, stream="scan")


def test_an_overwritten_file_is_a_conflict_that_is_told(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 2)
    other = tmp_path / "other"
    simulate(other, 1, base="scan", seed=7)

    def overwrite() -> None:
        wait_until(lambda: n_received(broker) == 2)
        (other / "scan_00001.cbf").rename(tmp_path / "scan_00001.cbf")

    writer = threading.Thread(target=overwrite)
    writer.start()
    status, source = produce(broker, tmp_path, follow=True, idle_timeout_s=2.0, n_scans=1)
    writer.join()
    state = state_of(broker)
    assert state is not None
    assert (status, source.counters()["overwritten"], state.n_conflict) == (1, 1, 1)


# --- removing, and a broker that is full or away ---------------------------------------------------------------------


def test_files_are_deleted_when_their_messages_are_safe_and_not_before(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 6)
    (tmp_path / "scan_00004.cbf").write_bytes(b"garbage")
    with redis.Redis.from_url(broker) as client:
        status, source = produce(broker, tmp_path, remove=True)
        assert status == 0
        assert client.exists(StreamKeys(STREAM).state)
    assert [path.name for path in tmp_path.iterdir()] == ["scan_00004.cbf"]
    assert source.counters()["removed"] == 5


def test_what_was_sent_but_not_deleted_is_deleted_by_the_next_run(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 4)
    produce(broker, tmp_path)
    status, _ = produce(broker, tmp_path, remove=True)
    assert status == 0
    assert list(tmp_path.iterdir()) == []
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.clean, receipt.received) == (True, 4)


def test_a_file_whose_message_was_refused_stays(broker: str, tmp_path: Path) -> None:
    simulate(tmp_path, 2)
    produce(broker, tmp_path)
    other = tmp_path / "other"
    simulate(other, 1, seed=5)
    (other / "scan_00001.cbf").rename(tmp_path / "scan_00001.cbf")
    other.rmdir()
    status, _ = produce(broker, tmp_path, remove=True)
    assert status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scan_00001.cbf"]


def test_a_file_that_changed_since_it_was_sent_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "scan_1.cbf"
    path.write_bytes(b"sent")
    found = Folders([tmp_path]).find(path)
    assert found is not None
    path.write_bytes(b"another one")
    with Remover() as remover:
        remover.remove(path, found.signature)
    assert (path.exists(), remover.n_kept, remover.n_removed) == (True, 1, 0)


def test_a_full_broker_holds_the_source_back_and_the_folder_is_the_buffer(tmp_path: Path) -> None:
    simulate(tmp_path, 60)
    limit_bytes = 2 << 20
    with EmbeddedServer(memory_bytes=16 << 20) as server, redis.Redis.from_url(server.url) as client:
        source = CbfSource(Folders([tmp_path]), known=KnownStreams(SOURCE, server.url))
        ended = threading.Event()

        def run() -> None:
            assert run_source(source, SOURCE, broker=server.url, upkeep=Upkeep(queue_bytes=limit_bytes)) == 0
            ended.set()

        runner = threading.Thread(target=run)
        runner.start()
        wait_until(lambda: source.counters()["images"] >= 3)
        while (taken := source.counters()["images"]) < 60 and not ended.wait(0.5):
            if taken == source.counters()["images"]:
                break  # it stands still
        n_stored = n_received(server.url)
        assert n_stored < taken <= n_stored + limit_bytes // 300_000 + 2
        client.config_set("maxmemory", 200 << 20)
        runner.join(PATIENCE_S)
        receipt = make_receipt(Server(server.url), STREAM)
        assert (ended.is_set(), receipt.clean, receipt.received) == (True, True, 60)


def test_a_broker_that_is_away_for_a_while_costs_nothing(tmp_path: Path) -> None:
    simulate(tmp_path, 5)
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        stop = Stop()

        def interrupt_the_server() -> None:
            wait_until(lambda: n_received(server.url) >= 5)
            with redis.Redis.from_url(server.url) as client:
                os.kill(server.pid, signal.SIGSTOP)
                simulate(tmp_path, 20, start_number=6, rate_hz=20)
                os.kill(server.pid, signal.SIGCONT)
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            simulate(tmp_path, 5, start_number=26)

        keeper = threading.Thread(target=interrupt_the_server)
        keeper.start()
        status, _ = produce(server.url, tmp_path, follow=True, n_frames=30, n_scans=1)
        keeper.join()
        stop.set()
        receipt = make_receipt(Server(server.url), STREAM)
        assert (status, receipt.clean, receipt.received) == (0, True, 30)


# --- the command -----------------------------------------------------------------------------------------------------


def said(*arguments: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "beamstream.cli", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "words"), [
    (["/nowhere", "--to", "bt/det"], "mounted"),
    (["{folder}", "--to", "bt/det"], "--follow"),
    (["{folder}", "--to", "det"], "stream address"),
    (["{folder}", "--to", "bt/det", "--timezone", "Europe/Atlantis"], "Europe/Berlin"),
    (["{folder}", "--to", "bt/det", "--idle-timeout", "3"], "--follow"),
    (["{folder}", "--to", "bt/det", "--newer-than", "soon"], "24h"),
])  # fmt: skip
def test_misuse_is_said_with_what_to_do(broker: str, tmp_path: Path, arguments: list[str], words: str) -> None:
    line = [one.format(folder=tmp_path) for one in arguments]
    status, text = said("produce", "cbf", *line, "--broker", broker)
    assert (status, words in text) == (2, True), text


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    simulate(tmp_path, 1)
    status, text = said("produce", "cbf", str(tmp_path), "--to", "bt/det", "--broker", f"unix://{tmp_path}/nobody")
    assert status == 1
    assert "stream broker run" in text


def test_a_simulated_detector_fills_a_folder_and_says_so(tmp_path: Path) -> None:
    status, text = said("simulate", "pilatus", str(tmp_path / "frames"), "--frames", "3", "--rate", "0", "--json")
    assert (status, json.loads(text)["written"]) == (0, 3)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"test_0000{k}.cbf" for k in (1, 2, 3)]
