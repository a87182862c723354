"""A stream from its segments beside the same stream from the broker: same frames, same receipt, same index."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import MessageNotFoundError, StreamFinishedError, StreamNotFoundError
from beamstream.offline import GroupNeedsBrokerError, NoRecordingError, OfflineReader, path_receipt
from beamstream.protocol import StreamKeys, decode_header
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import (
    CorruptRecordError,
    SegmentStream,
    StreamWriter,
    end_record,
    list_segments,
    record_of_entry,
    segment_path,
    stream_folder,
)

ADDRESS = Address("bt", "det", "run")
N_MESSAGES = 40
PASSED_OVER = (7, 8, 20)
LATE = 8
DECLINED = (31, 32)


def fields_of(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def index_of(server: Server) -> list[tuple[str, dict[bytes, bytes]]]:
    answer = server.call("XRANGE", StreamKeys(ADDRESS).index, "-", "+")
    return [(entry_id.decode(), fields_of(flat)) for entry_id, flat in answer]


def payload_of(server: Server, entry_id: str, fields: Mapping[bytes, bytes]) -> bytes | None:
    if b"h" not in fields or b"p" in fields:
        return None
    message_id = int(fields.get(b"i", entry_id.partition("-")[0].encode()))
    payload: bytes = server.call("GET", StreamKeys(ADDRESS).payload(message_id, decode_header(fields[b"h"]).checksum))
    return payload


@pytest.fixture
def spilled(broker: str, tmp_path: Path) -> Path:
    """A finished stream on the broker, with gaps, declined ids, a late message; beside it the same in segments."""
    images = np.random.default_rng(1).poisson(3, (N_MESSAGES + 1, 64, 96)).astype("<u2")
    with Producer(
        ADDRESS, broker=broker, n_expected=N_MESSAGES, metadata={"mask": np.eye(9)}, patience_s=0.05
    ) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            if message_id in PASSED_OVER:
                continue
            if message_id in DECLINED:
                producer.decline(message_id)
            elif message_id % 3:
                producer.send_array(message_id, images[message_id], codec="bslz4", metadata={"n": message_id})
            else:
                producer.send(message_id, b"small %d" % message_id)
        producer.flush()
        reached = Consumer(ADDRESS, broker=broker, start=N_MESSAGES)
        reached.next(10.0)
        reached.close()
        producer.send(LATE, b"too late")
        producer.send(3, b"small 3")  # a duplicate
        producer.finish(N_MESSAGES, next_stream="run2")
    server = Server(broker)
    folder = stream_folder(tmp_path, ADDRESS)
    state = fields_of(server.call("HGETALL", StreamKeys(ADDRESS).state))
    with StreamWriter(folder, ADDRESS, segment_bytes=12_000) as writer:
        writer.set_metadata(server.call("GET", StreamKeys(ADDRESS).meta))
        writer.set_state(state)
        for entry_id, fields in index_of(server):
            if fields.get(b"k") == b"e":
                record = end_record(
                    N_MESSAGES, int(fields[b"b"]), reason="complete", next_stream="run2", n_expected=N_MESSAGES
                )
            else:
                record = record_of_entry(entry_id, fields, payload_of(server, entry_id, fields))
            writer.append_all([record])
    server.close()
    return folder


def test_a_path_gives_the_same_frames_as_the_broker(spilled: Path, broker: str) -> None:
    with Consumer(ADDRESS, broker=broker) as online, Consumer(str(spilled)) as offline:
        assert isinstance(offline, OfflineReader)
        expected, found = list(online), list(offline)
        assert len(expected) == N_MESSAGES - len(PASSED_OVER) + 1 - len(DECLINED)
        assert found == expected
        assert offline.take_gaps() == online.take_gaps()
        assert offline.counts.n_missing == online.counts.n_missing == len(PASSED_OVER)
        assert offline.counts.n_declined == online.counts.n_declined == len(DECLINED)
        assert (offline.counts.n_delivered, offline.counts.n_bytes) == (
            online.counts.n_delivered,
            online.counts.n_bytes,
        )
        assert offline.n_expected == online.n_expected == N_MESSAGES
        assert np.array_equal(offline.metadata["mask"], online.metadata["mask"])
        assert np.array_equal(found[0].array(), expected[0].array())
        with pytest.raises(StreamFinishedError) as caught:
            offline.next()
        assert (caught.value.last_id, caught.value.next_stream) == (N_MESSAGES, "run2")


def test_single_messages_are_read_from_a_path_too(spilled: Path, broker: str) -> None:
    with Consumer(ADDRESS, broker=broker) as online, Consumer(spilled) as offline:
        for message_id in (1, LATE, N_MESSAGES):
            assert offline.read(message_id) == online.read(message_id)
        assert list(offline.read_range(5, 12)) == list(online.read_range(5, 12))
        with pytest.raises(MessageNotFoundError):
            offline.read(20)
        assert offline.newest() == online.newest()
        with pytest.raises(StreamFinishedError):
            offline.newest()
    for start in (15, LATE, "newest", "start"):
        with Consumer(ADDRESS, broker=broker, start=start) as online, Consumer(spilled, start=start) as offline:
            assert list(offline) == list(online)


def test_the_receipt_is_the_same_from_the_broker_and_from_segments(spilled: Path, broker: str) -> None:
    server = Server(broker)
    online = make_receipt(server, ADDRESS)
    server.close()
    assert (online.duplicated, online.late, online.missing) == (1, 1, [(7, 7), (20, 20)])
    assert (online.declined, online.n_missing) == (2, 2)
    assert path_receipt(spilled) == online
    assert path_receipt(spilled, verify=True) == online


def test_state_and_index_can_be_put_back_from_segments(spilled: Path, broker: str) -> None:
    server = Server(broker)
    with SegmentStream(spilled) as stream:
        there = [
            (stored.entry.entry_id, stored.fields(stream.read(stored.location) if stored.is_inline else None))
            for stored in stream.entries()
        ]
        assert there == index_of(server)
        online = fields_of(server.call("HGETALL", StreamKeys(ADDRESS).state))
        restored = stream.state()
    moved = {b"memory_bytes", b"released", b"released_entry"}  # nothing is in memory any more
    assert {key: online[key] for key in online.keys() - moved} == {
        key: restored.get(key) for key in online.keys() - moved
    }
    assert (restored[b"memory_bytes"], restored[b"released"]) == (b"0", b"%d" % (N_MESSAGES + 1))
    server.close()


def test_a_damaged_payload_is_counted_and_never_given(spilled: Path) -> None:
    with SegmentStream(spilled) as stream:
        stored = stream.find(1)
        assert stored is not None
        location = stored.location
    path = segment_path(spilled, location.segment)
    whole = bytearray(path.read_bytes())
    whole[location.offset + location.length // 2] ^= 1
    path.write_bytes(whole)
    with Consumer(spilled) as offline:
        assert next(iter(offline)).message_id == 2
        assert offline.counts.n_corrupt == 1
        with pytest.raises(CorruptRecordError):
            offline.read(1)
    assert (1, 1) in path_receipt(spilled, verify=True).missing


def test_a_lost_segment_is_stated_and_makes_the_receipt_unclean(spilled: Path) -> None:
    segment_path(spilled, 2).unlink()
    with Consumer(spilled) as offline:
        present = [frame.message_id for frame in offline]
        lost = [gap for gap in offline.take_gaps() if gap.reason == "lost"]
    assert len(lost) == 1
    gone = set(range(lost[0].first_id, lost[0].last_id + 1)) - {LATE}  # which stands where it came, in another segment
    assert len(gone) > 1
    assert not gone & set(present)
    missing = path_receipt(spilled).missing
    assert gone <= {message_id for first, last in missing for message_id in range(first, last + 1)}


def test_a_stream_without_end_is_finished_where_its_files_stop(spilled: Path) -> None:
    segment_path(spilled, max(list_segments(spilled))).unlink()
    with Consumer(spilled) as offline:
        frames = list(offline)
        assert not offline.state.finished
        assert offline.state.next_id > frames[-1].message_id
    receipt = path_receipt(spilled)
    assert (receipt.state, receipt.clean) == ("open", False)


def test_groups_are_refused_with_the_reason(spilled: Path) -> None:
    with pytest.raises(GroupNeedsBrokerError, match="needs one"):
        Consumer(spilled, group="mine")
    with Consumer(spilled) as offline:
        frame = offline.next()
        with pytest.raises(GroupNeedsBrokerError):
            offline.acknowledge(frame)
        with pytest.raises(GroupNeedsBrokerError):
            offline.negative_acknowledge(frame)
        with pytest.raises(GroupNeedsBrokerError):
            offline.newest(group="mine")


def test_a_path_without_a_stream_is_named(tmp_path: Path) -> None:
    for where in (tmp_path / "nothing", str(tmp_path), "./nothing/here"):
        with pytest.raises(NoRecordingError) as caught:
            Consumer(where)
        assert isinstance(caught.value, StreamNotFoundError)


def test_an_address_stays_an_address_where_no_such_folder_is(
    spilled: Path, broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Consumer("bt/det/run", broker=broker) as online:
        assert not isinstance(online, OfflineReader)
    monkeypatch.chdir(tmp_path)
    with Consumer("bt/det/run", broker=broker) as offline:
        assert isinstance(offline, OfflineReader)


def test_the_command_draws_up_the_receipt_of_a_folder(spilled: Path, broker: str) -> None:
    from_broker = stream_command("--broker", broker, "receipt", str(ADDRESS), "--json")
    from_folder = stream_command("receipt", str(spilled), "--verify", "--json")
    assert json.loads(from_folder.stdout) == json.loads(from_broker.stdout)
    assert from_folder.returncode == from_broker.returncode == 1  # not clean: two messages are missing


def stream_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beamstream.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
