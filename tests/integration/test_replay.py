"""A run from files through a broker again: same messages, same receipt, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from beamstream import Address, Consumer, Producer, codecs
from beamstream.offline import path_receipt
from beamstream.protocol import StreamKeys, decode_metadata
from beamstream.protocol.client import Server
from beamstream.receipt import Receipt, make_receipt
from beamstream.segments import StreamWriter, end_record, record_of_entry, stream_folder
from beamstream.service import StreamEnd, StreamStart
from beamstream.state import read_state
from beamstream_consumers.write.handler import WriteHandler

ORIGINAL = Address("bt", "det", "run")
AGAIN = Address("bt", "again", "run")
N_MESSAGES = 30
MISSING = (7, 8, 20, 30)
SHAPE = (64, 96)
FIRST_NS = 1_763_700_000_000_000_123

Stream = Callable[..., "subprocess.CompletedProcess[str]"]


def image_of(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).poisson(3, SHAPE).astype("<u2")


def command(broker: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "beamstream.cli", "--broker", broker, *map(str, arguments)]


@pytest.fixture
def stream(broker: str) -> Stream:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(broker, *arguments), capture_output=True, text=True, timeout=90, check=False)

    return run


# --- recordings ----------------------------------------------------------------------------------------------------


def record(broker: str) -> None:
    """Make a stream with gaps and an end of its own."""
    with Producer(
        ORIGINAL, broker=broker, n_expected=N_MESSAGES, metadata={"entry": {"title": "lysozyme"}}, patience_s=0.05
    ) as producer:
        for number in range(1, N_MESSAGES + 1):
            if number not in MISSING:
                producer.send_array(
                    number, image_of(number), timestamp_ns=FIRST_NS + number * 1_000_003, metadata={"image_id": number}
                )
        producer.finish(N_MESSAGES, reason="aborted")


def fields_of(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def to_segments(broker: str, folder: Path, address: Address = ORIGINAL) -> Path:
    """Write a stream's segments, as the broker spills them."""
    server = Server(broker)
    keys = StreamKeys(address)
    state = read_state(server, keys)
    assert state is not None
    with Consumer(address, broker=broker) as consumer:
        frames = {(frame.message_id, frame.entry_id): frame for frame in consumer}
    path = stream_folder(folder, address)
    with StreamWriter(path, address, segment_bytes=100_000) as writer:
        writer.set_metadata(server.call("GET", keys.meta))
        writer.set_state(fields_of(server.call("HGETALL", keys.state)))
        for entry_id, flat in server.call("XRANGE", keys.index, "-", "+"):
            fields = fields_of(flat)
            text = entry_id.decode()
            if fields.get(b"k") == b"e":
                entry = end_record(
                    state.last_id, int(fields[b"b"]), reason=state.reason, next_stream=None, n_expected=state.n_expected
                )
            else:
                message_id = int(fields.get(b"i", text.partition("-")[0].encode()))
                frame = frames.get((message_id, text))
                payload = None if frame is None or b"p" in fields else bytes(frame.payload)
                entry = record_of_entry(text, fields, payload)
            writer.append_all([entry])
    server.close()
    return path


def to_nexus(broker: str, folder: Path) -> Path:
    handler = WriteHandler(folder, "{stream}.nxs", min_free_bytes=0)
    with Consumer(ORIGINAL, broker=broker) as consumer:
        handler.open(
            StreamStart(address=ORIGINAL, metadata=consumer.metadata, n_expected=consumer.n_expected, broker=broker)
        )
        for frame in consumer:
            handler.handle(frame)
        state = consumer.state
    handler.close(StreamEnd(last_id=state.last_id, n_expected=state.n_expected, reason=state.reason, next_stream=None))
    return folder / "run.nxs"


def write_header(file: h5py.File, n_images: int) -> None:
    detector = file.create_group("entry/instrument/detector")
    file["entry/instrument"].attrs["NX_class"] = "NXinstrument"
    detector.attrs["NX_class"] = "NXdetector"
    detector["frame_time"] = 0.001
    specific = detector.create_group("detectorSpecific")
    specific["nimages"], specific["ntrigger"] = n_images, 1
    specific["data_collection_date"] = "2025-11-21T10:00:00.000000"


def to_eiger(_broker: str, folder: Path) -> Path:
    """Write a master of the older layout, one of whose data files is missing."""
    with h5py.File(folder / "run_master.h5", "w") as file:
        write_header(file, 12)
        for number in (1, 2, 3):
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(f"run_data_{number:06d}.h5", "entry/data/data")
    for number in (1, 3):
        write_data(folder / f"run_data_{number:06d}.h5", range(4 * number - 3, 4 * number + 1))
    return folder / "run_master.h5"


def write_data(path: Path, numbers: range) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "entry/data/data", (len(numbers), *SHAPE), "<u2", chunks=(1, *SHAPE),
            **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
        )  # fmt: skip
        for place, number in enumerate(numbers):
            data.id.write_direct_chunk((place, 0, 0), bytes(codecs.encode(image_of(number), "bslz4")))
        data.attrs["image_nr_low"], data.attrs["image_nr_high"] = numbers[0], numbers[-1]


def to_new_eiger(_broker: str, folder: Path) -> Path:
    write_data(folder / "part.h5", range(1, 11))
    layout = h5py.VirtualLayout((10, 1, *SHAPE), "<u2")
    layout[:, 0] = h5py.VirtualSource("part.h5", "entry/data/data", shape=(10, *SHAPE))
    with h5py.File(folder / "run_master.h5", "w", libver="latest") as file:
        write_header(file, 10)
        file.create_group("entry/data").create_virtual_dataset("data", layout)
    return folder / "run_master.h5"


RECORDINGS = {"segments": to_segments, "nexus": to_nexus, "eiger": to_eiger, "eiger v2024.2": to_new_eiger}


@pytest.fixture(params=RECORDINGS)
def recording(request: pytest.FixtureRequest, broker: str, tmp_path: Path) -> Path:
    record(broker)
    return RECORDINGS[request.param](broker, tmp_path)


@pytest.fixture
def nexus(broker: str, tmp_path: Path) -> Path:
    record(broker)
    return to_nexus(broker, tmp_path)


# --- what is compared ----------------------------------------------------------------------------------------------


def messages_of(consumer: Consumer) -> list[tuple[Any, ...]]:
    """Return all of each message that its stream does not decide."""
    return [
        (frame.message_id, frame.header, [bytes(part.payload) for part in frame.parts or (frame,)])
        for frame in consumer
    ]


def replayed(broker: str, address: Address = AGAIN) -> list[tuple[Any, ...]]:
    with Consumer(address, broker=broker) as consumer:
        return messages_of(consumer)


def receipt_of(broker: str, address: Address = AGAIN) -> Receipt:
    server = Server(broker)
    try:
        return make_receipt(server, address)
    finally:
        server.close()


def same(receipt: Receipt) -> Receipt:
    """Return a receipt as that of another stream of the same messages is."""
    return replace(receipt, address="", groups=[])


# --- what a replay is ----------------------------------------------------------------------------------------------


def test_a_replay_is_the_same_run_with_the_same_receipt(recording: Path, broker: str, stream: Stream) -> None:
    done = stream("produce", "replay", recording, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    with Consumer(recording) as offline:
        assert replayed(broker) == messages_of(offline)
        metadata = dict(offline.metadata)
    assert same(receipt_of(broker)) == same(path_receipt(recording))
    packed = Server(broker).call("GET", StreamKeys(AGAIN).meta)
    assert decode_metadata(packed) == metadata


def test_what_was_declined_is_declined_again(broker: str, stream: Stream, tmp_path: Path) -> None:
    with Producer(ORIGINAL, broker=broker, n_expected=9) as producer:
        for number in range(1, 10):
            producer.send(number, b"hit") if number % 3 == 0 else producer.decline(number)
        producer.finish()
    done = stream("produce", "replay", to_segments(broker, tmp_path), "--to", str(AGAIN), "--pace", "max")
    assert done.returncode == 0, done.stderr
    server = Server(broker)
    receipt = make_receipt(server, AGAIN)
    assert (receipt.received, receipt.declined, receipt.n_missing, receipt.clean) == (3, 6, 0, True)
    assert receipt.checksum == make_receipt(server, ORIGINAL).checksum


def test_a_folder_of_cbf_files_is_replayed(captured_data: Path, broker: str, stream: Stream) -> None:
    folder = captured_data / "cbf_pilatus300k_albis"
    done = stream("produce", "replay", folder, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    with Consumer(folder) as offline:
        assert replayed(broker) == messages_of(offline)
    assert same(receipt_of(broker)) == same(path_receipt(folder))


def test_a_replay_of_a_replay_is_still_the_same(nexus: Path, broker: str, stream: Stream, tmp_path: Path) -> None:
    assert stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max").returncode == 0
    again = to_segments(broker, tmp_path / "spill", AGAIN)
    assert stream("produce", "replay", again, "--to", "bt/third", "--pace", "50x").returncode == 0
    third = Address("bt", "third", "run")  # called as it was recorded
    assert replayed(broker, third) == replayed(broker)
    assert same(receipt_of(broker, third)) == same(receipt_of(broker, ORIGINAL))


def test_a_replayed_master_is_written_as_nexus_again(broker: str, stream: Stream, tmp_path: Path) -> None:
    master = to_new_eiger(broker, tmp_path)
    assert stream("produce", "replay", master, "--to", "bt/again", "--pace", "max").returncode == 0
    handler = WriteHandler(tmp_path / "out", "{stream}.nxs", min_free_bytes=0)
    with Consumer(AGAIN, broker=broker) as consumer:
        handler.open(StreamStart(address=AGAIN, metadata=consumer.metadata, n_expected=10, broker=broker))
        for frame in consumer:
            handler.handle(frame)
    handler.close(StreamEnd(last_id=10, n_expected=10, reason="complete", next_stream=None))
    with h5py.File(tmp_path / "out" / "run.nxs") as file:
        assert np.array_equal(file["entry/data/data"][9], image_of(10))
        assert file["entry/instrument/detector/frame_time"][()] == 0.001
        assert "data_origin" in file["entry/instrument/detector/module"]


# --- stopped and started again -------------------------------------------------------------------------------------


def running(broker: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(broker, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for(broker: str, n_messages: int) -> None:
    server = Server(broker)
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        state = read_state(server, StreamKeys(AGAIN))
        if state is not None and state.n_received >= n_messages:
            server.close()
            return
        time.sleep(0.01)
    raise AssertionError(f"{n_messages} messages did not come")


@pytest.fixture
def half_replayed(nexus: Path, broker: str) -> Callable[[int], int]:
    """Replay slowly, and send the process a signal in the middle; returns its exit status."""

    def replay_and_signal(number: int) -> int:
        process = running(broker, "produce", "replay", nexus, "--to", AGAIN, "--pace", "20Hz")
        try:
            wait_for(broker, 5)
        finally:
            os.killpg(process.pid, number)
        process.communicate(timeout=60)
        return process.returncode

    return replay_and_signal


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_a_stopped_replay_leaves_its_stream_open_and_goes_on_without_sending_again(
    half_replayed: Callable[[int], int], nexus: Path, broker: str, stream: Stream, number: int, status: int
) -> None:
    assert half_replayed(number) == status
    before = receipt_of(broker)
    assert before.state == "open"
    assert 5 <= before.received < N_MESSAGES - len(MISSING)
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    after = receipt_of(broker)
    assert after.duplicated == 0
    assert same(after) == same(path_receipt(nexus))
    assert replayed(broker) == replayed(broker, ORIGINAL)


def test_what_is_there_as_a_whole_is_not_sent_again(nexus: Path, broker: str, stream: Stream) -> None:
    done = stream("produce", "replay", nexus, "--to", "bt/det")  # the run itself is still on the broker
    assert done.returncode == 0
    assert "all of it is there already" in done.stderr
    assert receipt_of(broker, ORIGINAL).duplicated == 0


# --- what cannot be ------------------------------------------------------------------------------------------------


def test_another_stream_of_that_name_is_left_as_it_is(nexus: Path, broker: str, stream: Stream) -> None:
    with Producer(AGAIN, broker=broker, metadata={"mine": 1}) as producer:
        producer.send(1, b"something else")
    done = stream("produce", "replay", nexus, "--to", AGAIN)
    assert done.returncode == 1
    assert "holds another message 1 than the recording" in done.stderr
    assert f"stream delete {AGAIN}" in done.stderr
    assert receipt_of(broker).received == 1
    assert decode_metadata(Server(broker).call("GET", StreamKeys(AGAIN).meta)) == {"mine": 1}


def test_a_stream_that_has_ended_without_all_of_it_is_left_as_it_is(nexus: Path, broker: str, stream: Stream) -> None:
    assert stream("produce", "replay", nexus, "--to", AGAIN, "--until", 3, "--pace", "max").returncode == 0
    again = stream("produce", "replay", nexus, "--to", AGAIN, "--until", 3, "--pace", "max")
    assert (again.returncode, "all of it is there" in again.stderr) == (0, True)
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 1
    assert "has ended with 3 of the 26 messages" in done.stderr


def test_a_stream_that_keeps_something_else_is_not_waited_for(nexus: Path, broker: str, stream: Stream) -> None:
    Producer(AGAIN, broker=broker, keep="memory").close()
    done = stream("produce", "replay", nexus, "--to", AGAIN)
    assert done.returncode == 1
    assert "say --keep memory" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["./nothing.nxs", "--to", "bt/again"], 1, "there is nothing of this name"),
        (["RUN", "--to", "bt"], 2, "is no stream address"),
        (["RUN", "--to", "bt/again", "--pace", "fast"], 2, "a rate like 500Hz"),
        (["RUN", "--to", "bt/again", "--from", "9", "--until", "3"], 2, "lies behind"),
        (["RUN#threshold_2", "--to", "bt/again"], 2, "no channels"),
    ],
)
def test_misuse_is_said_in_words(nexus: Path, stream: Stream, arguments: list[str], status: int, why: str) -> None:
    done = stream("produce", "replay", *(one.replace("RUN", str(nexus)) for one in arguments))
    assert done.returncode == status, done.stderr
    assert why in done.stderr


def test_what_is_damaged_in_the_recording_is_counted_and_fails(nexus: Path, broker: str, stream: Stream) -> None:
    with h5py.File(nexus, "a") as file:
        file["entry/data/data"].id.write_direct_chunk((4, 0, 0), b"\xff" * 100)
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 1
    assert "damaged 1" in done.stderr
    assert (5, 5) in receipt_of(broker).missing
    assert receipt_of(broker).received == N_MESSAGES - len(MISSING) - 1


# --- datasets, ranges, recordings without an end -------------------------------------------------------------------


def test_datasets_are_replayed_part_by_part(broker: str, stream: Stream, tmp_path: Path) -> None:
    with Producer(ORIGINAL, broker=broker, n_parts=3, min_parts=2, patience_s=0.05, n_expected=6) as producer:
        for number in range(1, 7):
            for part in (1, 2, 3):
                if (number, part) in {(2, 3), (4, 1), (4, 2)}:
                    continue
                producer.send(
                    number, b"%d.%d" % (number, part), part=part, timestamp_ns=FIRST_NS + number * 1000 + part,
                    metadata={"part": part},
                )  # fmt: skip
        producer.finish(6)
    segments = to_segments(broker, tmp_path)
    done = stream("produce", "replay", segments, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    assert replayed(broker) == replayed(broker, ORIGINAL)
    first, second = receipt_of(broker, ORIGINAL), receipt_of(broker)
    assert (first.n_parts, first.incomplete, first.missing_parts) == (3, 2, {1: 1, 2: 1, 3: 1})
    assert same(second) == same(first)


def test_a_range_of_a_run_keeps_its_ids(nexus: Path, broker: str, stream: Stream) -> None:
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--from", 5, "--until", 10, "--pace", "max")
    assert done.returncode == 0, done.stderr
    assert [message[0] for message in replayed(broker)] == [5, 6, 9, 10]
    assert (receipt_of(broker).state, receipt_of(broker).expected) == ("aborted", 10)


def test_a_recording_without_an_end_ends_as_incomplete(nexus: Path, broker: str, stream: Stream) -> None:
    with h5py.File(nexus, "a") as file:
        del file["entry/beamstream/reason"]
        file["entry/beamstream/reason"] = "open"
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    assert "the recording has no end" in done.stderr
    assert receipt_of(broker).state == "incomplete"


def test_times_that_say_nothing_are_replaced_by_the_frame_time(broker: str, stream: Stream, tmp_path: Path) -> None:
    metadata = {"entry": {"instrument": {"detector": {"frame_time": 0.002}}}}
    with Producer(ORIGINAL, broker=broker, metadata=metadata) as producer:
        for number in (1, 2, 3):
            producer.send(number, b"x", timestamp_ns=FIRST_NS)
        producer.finish(3)
    segments = to_segments(broker, tmp_path)
    done = stream("produce", "replay", segments, "--to", AGAIN)
    assert done.returncode == 0
    assert "at the detector's frame time, 0.002 s" in done.stderr
    assert replayed(broker) == replayed(broker, ORIGINAL)


def test_progress_says_how_far_it_is(nexus: Path, stream: Stream) -> None:
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert "26 of 26 (100%)" in done.stderr


def test_what_a_part_of_the_stream_lacks_is_sent_and_the_rest_is_not(nexus: Path, broker: str, stream: Stream) -> None:
    """As it is after a replay of which some messages failed."""
    with Consumer(nexus) as frames, Producer(AGAIN, broker=broker, patience_s=0.05) as producer:
        for frame in frames:
            if frame.message_id not in (3, 4):
                header = frame.header
                producer.send(
                    frame.message_id, frame.payload, shape=header.shape, dtype=header.dtype, codec=header.codec,
                    timestamp_ns=header.timestamp_ns, metadata=header.metadata,
                )  # fmt: skip
    done = stream("produce", "replay", nexus, "--to", AGAIN, "--pace", "max")
    assert done.returncode == 0, done.stderr
    receipt = receipt_of(broker)
    assert (receipt.received, receipt.duplicated) == (26, 0)
    assert receipt.checksum == path_receipt(nexus).checksum
