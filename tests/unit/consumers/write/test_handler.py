"""The `write` handler, called as the service loop calls it, and its files read back with h5py alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamstream.errors import CodecError, NotAnImageError, ShapeError
from beamstream_consumers.write import WriteHandler
from beamstream_consumers.write.errors import (
    DiskFullError,
    MessageIdError,
    OutputError,
    OutputExistsError,
    RecordingConflictError,
    VerificationError,
)
from beamstream_consumers.write.ledger import MAX_MESSAGES

NAME = "11012345_eiger_series_00042.nxs"
MESSAGES = "entry/beamstream/messages"


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[WriteHandler]:
    handler = WriteHandler(tmp_path, min_free_bytes=0)
    yield handler
    handler.close(None)


def write(handler: WriteHandler, frames: list[Any]) -> None:
    for frame in frames:
        handler.handle(frame)
    handler.commit()


@pytest.mark.parametrize("codec", ["bslz4", "lz4", "lz4-block", "none"])
@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4", "<i4", "<f4"])
def test_images_read_back_as_they_were_sent(
    handler: WriteHandler,
    tmp_path: Path,
    make_frame: Any,
    make_image: Any,
    make_start: Any,
    make_end: Any,
    codec: str,
    dtype: str,
) -> None:
    images = [make_image(message_id, dtype=dtype) for message_id in (1, 2, 3)]
    handler.open(make_start(n_expected=3))
    write(handler, [make_frame(i, image, codec) for i, image in enumerate(images, start=1)])
    handler.close(make_end(3))
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/data/data"].dtype == np.dtype(dtype)
        assert np.array_equal(file["entry/data/data"][()], np.stack(images))


def test_the_chunks_are_the_very_bytes_that_were_received(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    frame = make_frame(1)
    handler.open(make_start())
    write(handler, [frame])
    handler.close(make_end(1))
    with h5py.File(tmp_path / NAME) as file:
        data = file["entry/data/data"]
        assert data.id.read_direct_chunk((0, 0, 0)) == (0, frame.payload)
        assert data.chunks == (1, 31, 43)
        assert data.maxshape == (None, 31, 43)


def test_messages_in_any_order_and_again_have_one_place_each(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(i) for i in (3, 1, 3, 2, 1)])
    report = handler.close(make_end(3))
    assert report is not None
    assert (report["n_written"], report["n_rewritten"], report["n_missing"]) == (3, 2, 0)
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][()], np.stack([make_image(i) for i in (1, 2, 3)]))


def test_a_missing_image_reads_as_masked_and_is_listed(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start(n_expected=6))
    write(handler, [make_frame(1), make_frame(4)])
    handler.close(make_end(6, 6, "incomplete"))
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/data/data"].shape[0] == 6
        assert (file["entry/data/data"][1] == 65535).all()
        assert file["entry/beamstream/missing"][()].tolist() == [[2, 3], [5, 6]]
        assert file["entry/beamstream/reason"].asstr()[()] == "incomplete"
        assert file[f"{MESSAGES}/received"][()].tolist() == [1, 0, 0, 1, 0, 0]


def test_what_messages_say_becomes_columns(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    frames = [make_frame(i, metadata={"start_ns": 100 * i, "energy": i / 2, "note": "text"}) for i in (1, 3)]
    handler.open(make_start())
    write(handler, frames)
    handler.close(make_end(3))
    with h5py.File(tmp_path / NAME) as file:
        columns = file[MESSAGES]
        assert columns["start_ns"][()].tolist() == [100, 0, 300]
        assert columns["energy"][()].tolist() == pytest.approx([0.5, np.nan, 1.5], nan_ok=True)
        assert columns["checksum"][0] == frames[0].header.checksum
        assert columns["message_id"][()].tolist() == [1, 0, 3]
        assert columns["note"].asstr()[()].tolist() == ["text", "", "text"]


def test_the_file_has_its_name_only_when_the_stream_has_ended(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1)])
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.partial", f"{NAME}.partial.journal"}
    handler.close(make_end(1))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_writer_that_was_stopped_leaves_a_readable_file_that_the_next_one_goes_on_with(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start(n_expected=2000))
    write(handler, [make_frame(1)])
    stopped = handler.close(None)
    assert stopped is not None
    with h5py.File(stopped["path"]) as file:
        assert file["entry/data/data"].shape[0] == 1
        assert file["entry/beamstream/reason"].asstr()[()] == "open"
    handler.open(make_start(n_expected=2000))
    write(handler, [make_frame(1), make_frame(2)])
    report = handler.close(make_end(2))
    assert report is not None
    assert (report["n_written"], report["n_rewritten"]) == (2, 1)


def test_the_checksum_does_not_depend_on_the_order_of_arrival(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    checksums = set()
    for order in ((1, 2, 4), (4, 2, 1, 2)):
        handler = WriteHandler(tmp_path / str(len(order)), min_free_bytes=0)
        handler.open(make_start())
        write(handler, [make_frame(i) for i in order])
        report = handler.close(make_end(4))
        assert report is not None
        checksums.add(report["checksum"])
    assert len(checksums) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"array": np.zeros((5, 5), "<u2")}, ShapeError),
        ({"array": np.zeros((31, 43), "<u4")}, ShapeError),
        ({"codec": "none"}, ShapeError),
        ({"shape": None, "dtype": None}, NotAnImageError),
        ({"array": np.zeros(9, "<u2")}, ShapeError),
        ({"dtype": "nonsense"}, ShapeError),
        ({"shape": (32, 43)}, CodecError),
    ],
)
def test_a_frame_that_does_not_fit_goes_back_and_the_rest_is_written(
    handler: WriteHandler, make_frame: Any, make_start: Any, make_end: Any, change: dict[str, Any], error: Any
) -> None:
    handler.open(make_start())
    handler.handle(make_frame(1))
    with pytest.raises(error):
        handler.handle(make_frame(2, **change))
    write(handler, [make_frame(3)])
    report = handler.close(make_end(3))
    assert report is not None
    assert (report["n_written"], report["n_rejected"], report["n_missing"]) == (2, 1, 1)


@pytest.mark.parametrize("message_id", [0, -1, MAX_MESSAGES + 1])
def test_an_id_that_is_no_position_goes_back(
    handler: WriteHandler, make_frame: Any, make_start: Any, message_id: int
) -> None:
    handler.open(make_start())
    with pytest.raises(MessageIdError):
        handler.handle(make_frame(message_id, np.zeros((2, 2), "<u2")))


def test_another_frame_under_the_same_id_does_not_replace_the_first(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    handler.handle(make_frame(1))
    handler.commit()
    with pytest.raises(RecordingConflictError):
        handler.handle(make_frame(1, make_image(99)))
    handler.close(make_end(1))
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][0], make_image(1))


def test_frames_redelivered_to_a_finished_file_leave_it_as_it_is(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(2)])
    handler.close(make_end(2))
    before = (tmp_path / NAME).read_bytes()
    handler.open(make_start())
    write(handler, [make_frame(2)])
    report = handler.close(make_end(2))
    assert report is not None
    assert (report["n_written"], report["n_rewritten"]) == (2, 1)
    assert (tmp_path / NAME).read_bytes() == before


def test_a_message_that_comes_after_the_end_still_finds_its_place(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(3)])
    handler.close(make_end(3))
    handler.open(make_start())
    write(handler, [make_frame(2)])
    report = handler.close(make_end(3))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (3, 0)
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][1], make_image(2))


def test_a_file_in_the_way_is_an_error_that_names_the_way_out(
    handler: WriteHandler, tmp_path: Path, make_start: Any
) -> None:
    (tmp_path / NAME).write_bytes(b"somebody's thesis")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        handler.open(make_start())
    assert (tmp_path / NAME).read_bytes() == b"somebody's thesis"


def test_another_streams_file_is_not_continued(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    one = WriteHandler(tmp_path, "same.nxs", min_free_bytes=0)
    one.open(make_start())
    write(one, [make_frame(1)])
    one.close(None)
    other = make_start().address.source_address.stream("another")
    with pytest.raises(OutputExistsError, match="series_00042"):
        WriteHandler(tmp_path, "same.nxs").open(make_start(address=other))


def test_overwrite_replaces_a_finished_file_when_the_new_one_is_whole(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1)])
    handler.close(make_end(1))
    again = WriteHandler(tmp_path, overwrite=True, min_free_bytes=0)
    again.open(make_start())
    write(again, [make_frame(1, make_image(7))])
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][0], make_image(1))
    again.close(make_end(1))
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][0], make_image(7))


def test_a_second_writer_in_the_same_process_is_refused(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1)])
    second = WriteHandler(tmp_path)
    with pytest.raises(OutputError, match="another writer"):
        second.open(make_start())
    handler.close(None)
    second.open(make_start())
    second.close(None)


def test_a_full_disk_holds_the_frame_until_there_is_room(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    for limit_bytes, n_written in ((1 << 62, 0), (0, 1)):
        handler = WriteHandler(tmp_path, min_free_bytes=limit_bytes)
        handler.open(make_start())
        if not n_written:
            with pytest.raises(DiskFullError, match="make room"):
                handler.handle(make_frame(1))
        else:
            handler.handle(make_frame(1))
        report = handler.close(make_end(1) if n_written else None)
        assert report is not None
        assert (report["n_written"], report["n_rejected"]) == (n_written, 0)


def test_a_directory_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, make_start: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        WriteHandler(tmp_path / "file").open(make_start())


def test_a_damaged_partial_file_is_an_error_of_ours(handler: WriteHandler, tmp_path: Path, make_start: Any) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(b"\x89HDF\r\n\x1a\n" + os.urandom(100))
    with pytest.raises(OutputError):
        handler.open(make_start())


def test_a_stream_without_a_frame_becomes_a_file_with_a_receipt(
    handler: WriteHandler, tmp_path: Path, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start(n_expected=2))
    report = handler.close(make_end(2, 2, "aborted"))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (0, 2)
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/beamstream/missing"][()].tolist() == [[1, 2]]


def test_the_dataset_grows_beyond_what_was_promised(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    tiny = np.ones((2, 2), "<u2")
    handler.open(make_start(n_expected=1))
    write(handler, [make_frame(i, tiny) for i in (1, 2, 5000)])
    handler.close(make_end(5000))
    with h5py.File(tmp_path / NAME) as file:
        data = file["entry/data/data"]
        assert data.shape == (5000, 2, 2)
        assert (data.attrs["image_nr_low"], data.attrs["image_nr_high"]) == (1, 5000)
        assert (data[4999] == 1).all()


def test_metadata_is_written_and_what_cannot_be_is_named(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    metadata = {
        "entry": {"@NX_class": "NXentry", "title": "lysozyme", "../evil": 1, "data": {"data": [1, 2]}},
        "simplon": {"series_id": 42},
    }
    handler.open(make_start(metadata))
    write(handler, [make_frame(1)])
    handler.close(make_end(1))
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/title"].asstr()[()] == "lysozyme"
        assert file["entry/beamstream/metadata/simplon/series_id"][()] == 42
        left_out = file["entry/beamstream/metadata_left_out"].asstr()[()].tolist()
        assert len(left_out) == 2
        assert file["entry/data/data"].shape == (1, 31, 43)


@pytest.mark.parametrize("codec", ["bslz4", "lz4", "lz4-block", "none"])
def test_verified_frames_were_read_back(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any, codec: str
) -> None:
    handler = WriteHandler(tmp_path, verify=True, min_free_bytes=0)
    handler.open(make_start())
    write(handler, [make_frame(i, codec=codec) for i in (1, 3)])
    report = handler.close(make_end(3))
    assert report is not None
    assert report["n_verified"] == 2


def test_a_frame_that_reads_back_otherwise_keeps_the_file_from_getting_its_name(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler = WriteHandler(tmp_path, verify=True, min_free_bytes=0)
    handler.open(make_start())
    frame = make_frame(1)
    write(handler, [frame])
    partial = tmp_path / f"{NAME}.partial"
    place = partial.read_bytes().index(frame.payload)
    with partial.open("r+b") as file:
        file.seek(place + 20)
        file.write(bytes([frame.payload[20] ^ 1]))
    with pytest.raises(VerificationError, match="message 1"):
        handler.close(make_end(1))
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]


def test_a_reader_of_hdf5_1_8_can_open_the_file(
    handler: WriteHandler, tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1)])
    handler.close(make_end(1))
    signature_and_version = (tmp_path / NAME).read_bytes()[:9]
    assert signature_and_version == b"\x89HDF\r\n\x1a\n\x00"


def test_status_counts_what_was_done(handler: WriteHandler, make_frame: Any, make_start: Any) -> None:
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(1)])
    status = handler.status()
    assert (status["written"], status["rewritten"], status["file"]) == (1, 1, NAME)
