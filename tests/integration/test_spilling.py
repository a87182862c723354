"""Spilling against a real server and a real disk: nothing is lost, memory stays bounded, readers do not notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.cli.root import run
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import SegmentStream
from beamstream.streams import delete_stream, stream_state
from beamstream.testing.waiting import wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.retention import MemoryUse, Retention
from beamstream_broker.service import BrokerService, read_info
from beamstream_broker.spilling import Spilling

ADDRESS = Address("bt", "det", "run")
PAYLOAD_BYTES = 256 << 10
MEMORY_BYTES = 48 << 20
N_MESSAGES = 600
"""150 MiB of payloads, three times what the server may hold."""


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


@pytest.fixture
def small() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as server:
        yield server


@contextmanager
def looked_after(url: str, root: Path) -> Iterator[tuple[BrokerService, list[int]]]:
    """Run the broker's own look, as `stream broker run --spill` does; gives the service and the memory it saw."""
    service = BrokerService(Server(url), root)
    server = Server(url)
    stop = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not stop.wait(0.02):
            service.look()
            seen.append(int(read_info(server)["used_memory"]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield service, seen
    finally:
        stop.set()
        thread.join()


def test_a_group_that_falls_behind_gets_everything_from_the_disk_by_itself(
    small: EmbeddedServer, tmp_path: Path
) -> None:
    with looked_after(small.url, tmp_path) as (service, seen):
        with Producer(ADDRESS, broker=small.url, n_expected=N_MESSAGES, metadata={"name": "lysozyme"}) as producer:
            for message_id in range(1, N_MESSAGES + 1):
                producer.send(message_id, payload(message_id), metadata={"number": message_id})
            producer.finish()
            assert producer.counts.n_failed == 0
        with Consumer(ADDRESS, broker=small.url, group="late", required=True) as consumer:
            frames = [(frame.message_id, frame.payload == payload(frame.message_id)) for frame in consumer]
            assert consumer.counts.n_skipped == 0
            assert consumer.read(1).payload == payload(1)
        assert frames == [(message_id, True) for message_id in range(1, N_MESSAGES + 1)]
        assert service.snapshot().events["dropped"] == 0
        assert service.snapshot().events["spilled"] > N_MESSAGES // 2
        receipt = make_receipt(Server(small.url), ADDRESS)
        assert (receipt.received, receipt.dropped, receipt.n_missing) == (N_MESSAGES, 0, 0)
    assert max(seen) < MEMORY_BYTES * 1.1


def fill(broker: str, n_messages: int, *, finish: bool = True) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, payload(message_id))
        if finish:
            producer.finish()


def relieve(server: Server, root: Path) -> Spilling:
    """Let everything leave memory, as from a server that is full to the brim."""
    spilling = Spilling(server, root)
    Retention(server, spilling).relieve(MemoryUse(used_bytes=10**12, limit_bytes=10**12))
    spilling.close()
    return spilling


def test_what_was_spilled_reads_the_same_without_any_server(broker: str, tmp_path: Path) -> None:
    fill(broker, 20)
    relieve(Server(broker), tmp_path)
    online = make_receipt(Server(broker), ADDRESS)
    with Consumer(tmp_path / "bt" / "det" / "run") as consumer:
        assert [(frame.message_id, bytes(frame.payload)) for frame in consumer] == [
            (message_id, payload(message_id)) for message_id in range(1, 21)
        ]
        assert consumer.state.word == online.state == "complete"


def test_a_broker_that_was_killed_in_the_middle_goes_on_behind_its_last_record(broker: str, tmp_path: Path) -> None:
    fill(broker, 20)
    server, keys = Server(broker), StreamKeys(ADDRESS)
    relieve(server, tmp_path)
    # As if it had been killed between writing and saying so, with half a record torn.
    server.call("HDEL", keys.state, "spilled_entry", "spill_folder", "spill_host")
    segment = tmp_path / "bt" / "det" / "run" / "000001.seg"
    torn = segment.stat().st_size - PAYLOAD_BYTES
    os.truncate(segment, torn)
    # What is torn off is gone from memory, too: only here, where the kill is imitated after the release.
    relieve(server, tmp_path)
    with SegmentStream(segment.parent) as stream:
        positions = [int(position) for position in stream.order["position"]]
    assert positions == sorted(set(positions)), "no entry twice"
    assert positions[:19] == list(range(1, 20))


def test_a_name_that_comes_again_gets_a_folder_of_its_own(broker: str, tmp_path: Path) -> None:
    server = Server(broker)
    for _ in range(2):
        fill(broker, 5)
        relieve(server, tmp_path)
        with Consumer(ADDRESS, broker=broker) as consumer:
            assert [frame.message_id for frame in consumer] == [1, 2, 3, 4, 5]
        delete_stream(server, ADDRESS)
    assert sorted(path.name for path in (tmp_path / "bt" / "det").iterdir()) == ["run", "run_2"]


def test_a_late_message_that_is_sent_again_stays_though_later_ids_have_left_memory(broker: str, tmp_path: Path) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0) as producer:
        for message_id in range(2, 11):
            producer.send(message_id, payload(message_id))
        producer.flush()
        relieve(Server(broker), tmp_path)
        assert producer.send(1, payload(1)).result() == "late"
        assert producer.send(1, payload(1)).result() == "duplicate"
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(1).payload == payload(1)
    relieve(Server(broker), tmp_path)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert consumer.read(1).payload == payload(1)


def test_a_stream_that_cannot_be_spilled_keeps_no_other_from_it_and_is_told_once(
    broker: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, bad = Server(broker), Address("bt", "det", "bad")
    for address in (bad, ADDRESS):
        with Producer(address, broker=broker) as producer:
            producer.send(1, payload(1))
            producer.finish()
    folder = tmp_path / "bt" / "det" / "bad"
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"no folder")
    spilling = Spilling(server, tmp_path)
    states = {address: stream_state(server, address) for address in (bad, ADDRESS)}
    for _ in range(5):
        places = {address: spilling.spill(address, state.created_ns, 1 << 20) for address, state in states.items()}
    spilling.close()
    assert places[ADDRESS] > places[bad]
    said = [record.getMessage() for record in caplog.records if record.name.endswith("spilling")]
    assert len(said) == 1, said
    assert "spilling bt/det/bad stands still" in said[0]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system can be mounted by root only")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_holds_the_producers_back_says_so_everywhere_and_goes_on_by_itself(
    small: EmbeddedServer, tiny_disk: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(7 << 20))
    with looked_after(small.url, tiny_disk) as (service, _):
        with Producer(ADDRESS, broker=small.url, queue_bytes=512 << 20, retry_timeout_s=60) as producer:
            futures = [producer.send(message_id, payload(message_id)) for message_id in range(1, 201)]
            wait_until(lambda: service.snapshot().levels["spill_stands_still"] == 1.0)
            wait_until(lambda: producer.counts.n_held_back > 0)
            assert not futures[-1].done()
            wait_until(
                lambda: any(
                    "No space left" in record.getMessage() for record in caplog.records if "retry" in record.name
                )
            )
            for command in (["ls"], ["info", str(ADDRESS)], ["group", "ls", str(ADDRESS)]):
                run(["--broker", small.url, *command])
                assert "cannot write to disk" in capsys.readouterr().err
            subprocess.run(["mount", "-o", "remount,size=256m", str(tiny_disk)], check=True)
            assert futures[-1].result(timeout=60) == "sent"
            producer.finish()
            assert producer.counts.n_failed == 0
        with Consumer(ADDRESS, broker=small.url, group="g") as consumer:
            assert all(frame.payload == payload(frame.message_id) for frame in consumer)
            assert consumer.counts.n_delivered == 200
        assert service.snapshot().levels["spill_stands_still"] == 0.0
