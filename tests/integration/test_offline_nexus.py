"""A stream from the NeXus file that was written of it, beside the same stream from the broker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamstream import Address, Consumer, Frame, Producer
from beamstream.errors import StreamFinishedError
from beamstream.offline import RecordingFormatError, path_receipt
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import StreamEnd, StreamStart, run_handler
from beamstream_consumers.write import WriteHandler
from beamstream_consumers.write.errors import OthersWriteError
from beamstream_producers.formats.simplon import Start
from beamstream_producers.formats.simplon.nexus import stream_metadata

ADDRESS = Address("bt", "det", "run")
N_MESSAGES = 12
PASSED_OVER = (3, 7, 8)
LATE = 8
FIRST_NS = 1_763_700_000_000_000_123


def series_metadata() -> dict[str, Any]:
    config = {
        "description": "Dectris EIGER2 Si 1M", "detector_number": "E-02-0000", "count_time": 0.0099, "frame_time": 0.01,
        "x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "beam_center_x": 20.5, "beam_center_y": 10.25,
        "detector_distance": 0.125, "wavelength": 1.0, "pixel_mask_applied": True, "nimages": N_MESSAGES,
        "detector_translation": [0.0, 0.0, 0.125], "roi_mode": "disabled", "software_version": "1.8.0",
    }  # fmt: skip
    start = Start(
        version=1, series_id=7, header_detail="all", config=config, channels=("threshold_1",), n_images=N_MESSAGES,
        shape=(64, 96), dtype="<u4",
        arrays={"pixel_mask": np.eye(64, 96, dtype="<u4"), "flatfield": np.ones((64, 96), "<f4")},
        appendix={"proposal": "20251234", "transmissions": [0.1, 0.2]}, series_unique_id=None,
    )  # fmt: skip
    return stream_metadata(start)


def send(broker: str, codec: str, *, finish: bool = True) -> None:
    """Send a stream with gaps and a late message."""
    images = np.random.default_rng(1).poisson(3, (N_MESSAGES + 1, 64, 96)).astype("<i4")

    def one(producer: Producer, number: int) -> None:
        producer.send_array(
            number,
            images[number],
            codec=codec,
            timestamp_ns=FIRST_NS + number * 10_000_000,
            metadata={
                "image_id": number - 1,
                "real_ns": 9_900_000,
                "dose": number / 8,
                "note": f"image {number}",
                "motors": {"omega": number / 10, "positions": [1.5] * number},
                "peaks": {"fs": [0.5] * number, "ss": [1.5] * number, "n_pixels": [3] * number, "own": [1.0] * number},
            },
        )

    with Producer(ADDRESS, broker=broker, n_expected=N_MESSAGES + 2, metadata=series_metadata(),
                  patience_s=0.05) as producer:  # fmt: skip
        for number in range(1, N_MESSAGES + 1):
            if number not in PASSED_OVER:
                one(producer, number)
        producer.flush()
        reached = Consumer(ADDRESS, broker=broker, start=N_MESSAGES)
        reached.next(10.0)
        reached.close()
        one(producer, LATE)
        if finish:
            producer.finish(N_MESSAGES, reason="incomplete")


ONE_FILE: dict[str, Any] = {}
LAYOUTS = {"one file": ONE_FILE, "blocks": {"images_per_file": 5}, "members": {"shared": True}}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All members are in this process: while one waits, no other goes on."""
    monkeypatch.setattr("beamstream_consumers.write.rolling.PATIENCE_S", 0.0)


def write(broker: str, folder: Path, layout: dict[str, Any] = ONE_FILE, *, finish: bool = True) -> Path:
    """Write the stream as `stream consume write` does; as two members of a group where that is the layout."""
    members = [
        WriteHandler(folder, "{stream}.nxs", min_free_bytes=0, verify=True, **layout)
        for _ in range(2 if layout.get("shared") else 1)
    ]
    with Consumer(ADDRESS, broker=broker, timeout_s=0.5) as frames:
        for handler in members:
            handler.open(
                StreamStart(address=ADDRESS, metadata=frames.metadata, n_expected=frames.n_expected, broker=broker)
            )
        for frame in all_there(frames):
            members[frame.message_id % len(members)].handle(frame)
        for handler in members:
            handler.commit()
        state = frames.state
    end = StreamEnd(
        last_id=state.last_id, n_expected=state.n_expected, reason=state.reason, next_stream=state.next_stream
    )
    for handler in members[:-1]:
        with pytest.raises(OthersWriteError):
            handler.close(end)
    report = members[-1].close(end if finish else None)
    return Path(report["path"]) if report is not None else folder / "run.nxs.partial"


def all_there(frames: Consumer) -> Iterator[Frame]:
    for _ in range(N_MESSAGES - len(PASSED_OVER) + 1):
        yield frames.next(10.0)


def as_in_file(frame: Frame) -> Frame:
    """Return a frame without its place in the index, which files do not have."""
    return replace(frame, entry_id="")


@pytest.mark.parametrize(
    ("codec", "layout"),
    [
        *((codec, ONE_FILE) for codec in ("bslz4", "lz4", "lz4-block", "none", "byte-offset")),
        *(("lz4-block", layout) for layout in LAYOUTS.values() if layout),
    ],
)
def test_a_written_file_gives_the_same_frames_as_the_broker(
    broker: str, tmp_path: Path, codec: str, layout: dict[str, Any]
) -> None:
    send(broker, codec)
    path = write(broker, tmp_path, layout)
    with Consumer(ADDRESS, broker=broker) as online, Consumer(path) as offline:
        expected, found = list(online), list(offline)
        assert [as_in_file(frame) for frame in found] == [as_in_file(frame) for frame in expected]
        assert [frame.header.codec for frame in found] == [codec] * (N_MESSAGES - 2)
        assert found[-1].late
        assert str(offline.address) == str(ADDRESS)
        assert offline.n_expected == online.n_expected
        missing = {one for gap in offline.take_gaps() for one in range(gap.first_id, gap.last_id + 1)}
        assert missing == set(PASSED_OVER)
        assert offline.read(LATE).late
        with pytest.raises(StreamFinishedError) as caught:
            offline.next()
        assert caught.value.last_id == N_MESSAGES


@pytest.mark.parametrize(
    ("codec", "layout"),
    [("bslz4", ONE_FILE), ("lz4-block", ONE_FILE), ("byte-offset", ONE_FILE)]
    + [("bslz4", layout) for layout in LAYOUTS.values() if layout],
)
def test_the_receipt_of_a_written_file_is_the_streams(
    broker: str, tmp_path: Path, codec: str, layout: dict[str, Any]
) -> None:
    send(broker, codec)
    path = write(broker, tmp_path, layout)
    server = Server(broker)
    online = make_receipt(server, ADDRESS)
    server.close()
    assert (online.state, online.late, online.missing) == ("incomplete", 1, [(3, 3), (7, 7), (13, 14)])
    assert path_receipt(path) == online
    assert path_receipt(path, verify=True) == online
    command = [sys.executable, "-m", "beamstream.cli", "receipt", str(path), "--json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(told.stdout)["checksum"] == online.checksum


@each_layout
def test_the_stream_metadata_comes_back_without_what_the_writer_added(
    broker: str, tmp_path: Path, layout: dict[str, Any]
) -> None:
    send(broker, "bslz4")
    path = write(broker, tmp_path, layout)
    with Consumer(ADDRESS, broker=broker) as online, Consumer(path) as offline:
        expected, found = dict(online.metadata), dict(offline.metadata)
    left_out = expected["simplon"]
    assert left_out.pop("series_unique_id") is None  # HDF5 has nothing for None
    arrays = ("pixel_mask", "flatfield")
    detectors = [tree["entry"]["instrument"]["detector"] for tree in (expected, found)]
    for name in arrays:
        wanted, there = (detector.pop(name) for detector in detectors)
        assert np.array_equal(wanted, there)
        assert wanted.dtype == there.dtype
    assert found == expected


def test_a_file_whose_writer_was_stopped_is_a_stream_without_end(broker: str, tmp_path: Path) -> None:
    send(broker, "bslz4", finish=False)
    path = write(broker, tmp_path, finish=False)
    with Consumer(path) as offline:
        assert len(list(offline)) == N_MESSAGES - 2
        assert not offline.state.finished
    assert path_receipt(path).state == "open"


def test_a_damaged_payload_of_a_written_file_is_not_given(broker: str, tmp_path: Path) -> None:
    send(broker, "bslz4")
    path = write(broker, tmp_path)
    with h5py.File(path, "a") as file:
        images = file["entry/data/data"]
        _, payload = images.id.read_direct_chunk((4, 0, 0))
        spoilt = bytearray(payload)
        spoilt[-3] ^= 1
        images.id.write_direct_chunk((4, 0, 0), bytes(spoilt))
    with Consumer(path) as offline:
        assert 5 not in [frame.message_id for frame in offline]
        assert offline.counts.n_corrupt == 1
    assert (5, 5) in path_receipt(path, verify=True).missing


def test_a_written_file_that_is_torn_is_named(broker: str, tmp_path: Path) -> None:
    send(broker, "bslz4")
    path = write(broker, tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(RecordingFormatError, match=r"run\.nxs"):
        Consumer(path)


def test_a_file_of_a_writer_that_named_no_additions_is_read_too(broker: str, tmp_path: Path) -> None:
    """Files from before there were columns for what is late, and a list of what was added."""
    send(broker, "bslz4")
    path = write(broker, tmp_path)
    with h5py.File(path, "a") as file:
        del file["entry/beamstream/completed"], file["entry/beamstream/messages/late"]
    with Consumer(path) as offline:
        assert [frame.message_id for frame in offline] == [1, 2, 4, 5, 6, *range(8, N_MESSAGES + 1)]
        assert offline.metadata["entry"]["instrument"]["detector"]["module"]["@NX_class"] == "NXdetector_module"


def test_metadata_without_an_entry_come_back_and_a_file_that_is_being_written_is_left_alone(
    broker: str, tmp_path: Path
) -> None:
    with Producer(ADDRESS, broker=broker, metadata={"camera": {"gain": 2, "name": "x"}}) as producer:
        producer.send_array(1, np.zeros((4, 6), "<u2"))
        producer.finish(1)
    handler = WriteHandler(tmp_path, "{stream}.nxs", min_free_bytes=0)
    with Consumer(ADDRESS, broker=broker) as frames:
        handler.open(StreamStart(address=ADDRESS, metadata=frames.metadata, n_expected=None, broker=broker))
        handler.handle(frames.next(10.0))
    handler.commit()
    command = [sys.executable, "-m", "beamstream.cli", "receipt", str(tmp_path / "run.nxs.partial")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, "is nobody writing it" in told.stderr) == (1, True)
    handler.close(StreamEnd(last_id=1, n_expected=None, reason="complete", next_stream=None))
    with Consumer(tmp_path / "run.nxs") as offline:
        assert offline.metadata == {"camera": {"gain": 2, "name": "x"}}


# --- what is no image, or not all of a stream -----------------------------------------------------------------------


def put(broker: str, arrays: dict[int, Any], last_id: int, *, codec: str = "none", declined: bool = False) -> None:
    """Send a stream of arrays, or of messages without payload; the other ids are declined, or missing."""
    with Producer(ADDRESS, broker=broker, patience_s=0.05) as producer:
        for number in range(1, last_id + 1):
            if number not in arrays:
                if declined:
                    producer.decline(number)
            elif arrays[number] is None:
                producer.send(number, b"", metadata={"x": number}, timestamp_ns=FIRST_NS + number)
            else:
                producer.send_array(number, arrays[number], codec=codec, timestamp_ns=FIRST_NS + number)
        producer.finish(last_id)


def write_all(broker: str, folder: Path, **options: Any) -> Path:
    """Write a stream as the service does."""
    handler = WriteHandler(folder, "{stream}.nxs", min_free_bytes=0, **options)
    assert run_handler(handler, str(ADDRESS), broker=broker) == 0
    (path,) = (one for one in folder.iterdir() if one.name in ("run.nxs", "run_master.h5"))
    return path


def compare(broker: str, path: Path) -> None:
    """Compare a file with its stream: messages, gaps, receipt."""
    with Consumer(ADDRESS, broker=broker) as online, Consumer(path) as offline:
        expected, found = list(online), list(offline)
        assert [as_in_file(frame) for frame in found] == [as_in_file(frame) for frame in expected]
        gaps = [{(gap.first_id, gap.last_id, gap.is_declined) for gap in one.take_gaps()} for one in (online, offline)]
        assert gaps[0] == gaps[1]
    server = Server(broker)
    online_receipt = make_receipt(server, ADDRESS)
    server.close()
    there = path_receipt(path, verify=True)
    groups = {"groups": [], "written": None, "file": None, "file_checksum": None}
    assert replace(there, **groups) == replace(online_receipt, **groups)
    assert online_receipt.file_checksum == there.checksum


@pytest.mark.parametrize("options", [{}, {"images_per_file": 4}, {"shared": True}], ids=str)
@pytest.mark.parametrize("shape", [(1,), (7,), (40_000,), (2, 3, 4), None], ids=str)
def test_what_is_no_image_comes_back_too(broker: str, tmp_path: Path, shape: Any, options: Any) -> None:
    arrays = {i: None if shape is None else np.full(shape, i, "<u2") for i in (1, 2, 4, 5, 9)}
    put(broker, arrays, 10, codec="bslz4" if shape == (40_000,) else "none")
    compare(broker, write_all(broker, tmp_path, **options))


@pytest.mark.parametrize("options", [{}, {"images_per_file": 2}, {"shared": True, "packed": True}], ids=str)
def test_hits_come_back_with_their_ids_and_declined_ids_are_no_loss(broker: str, tmp_path: Path, options: Any) -> None:
    put(broker, {i: np.full((3, 4), i, "<u2") for i in (3, 4, 9, 17)}, 20, codec="bslz4", declined=True)
    path = write_all(broker, tmp_path, **options)
    compare(broker, path)
    assert path_receipt(path).clean


def test_a_data_file_by_itself_is_read_as_what_it_has(broker: str, tmp_path: Path) -> None:
    send(broker, "bslz4")
    write(broker, tmp_path, {"images_per_file": 5})
    with Consumer(tmp_path / "run_data_000002.h5") as offline:
        assert [frame.message_id for frame in offline] == [6, 9, 10, 8]


def test_a_missing_data_file_is_a_gap(broker: str, tmp_path: Path) -> None:
    send(broker, "bslz4")
    for layout in ({"images_per_file": 5}, {"shared": True}):
        folder = tmp_path / "".join(layout)
        path = write(broker, folder, layout)
        (folder / "run_data_000002.h5").unlink()
        with Consumer(path) as offline:
            found = [frame.message_id for frame in offline]
        assert 0 < len(found) < N_MESSAGES - 2
