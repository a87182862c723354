"""Several files for one stream: by blocks of ids, and by several members of a group."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the filters
import numpy as np
import pytest
import xxhash

from beamstream import Gap
from beamstream.errors import ShapeError, UsageError
from beamstream_consumers.write import WriteHandler
from beamstream_consumers.write.errors import (
    OthersWriteError,
    OutputError,
    OutputExistsError,
    RecordingConflictError,
    VerificationError,
)

STEM = "11012345_eiger_series_00042"
MASTER = f"{STEM}_master.h5"
MESSAGES = "entry/beamstream/messages"


@pytest.fixture(autouse=True)
def nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All members are in this process: while one waits, no other goes on."""
    monkeypatch.setattr("beamstream_consumers.write.rolling.PATIENCE_S", 0.0)


def writer(directory: Path, **options: Any) -> WriteHandler:
    return WriteHandler(directory, min_free_bytes=0, **options)


def write(handler: WriteHandler, frames: Iterable[Any]) -> None:
    for frame in frames:
        handler.handle(frame)
    handler.commit()


def names(directory: Path) -> set[str]:
    return {path.name.removeprefix(STEM) for path in directory.iterdir()}


def linked(directory: Path) -> list[Any]:
    """Return all images, as a reader of masters with links finds them."""
    with h5py.File(directory / MASTER) as file:
        data = file["entry/data"]
        return [image for name in sorted(one for one in data if one.startswith("data_")) for image in data[name][()]]


# --- blocks of ids -----------------------------------------------------------------------------------------------


def test_a_master_links_to_data_files_of_n_images(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler = writer(tmp_path, images_per_file=3)
    handler.open(make_start({"entry": {"title": "lysozyme"}}))
    write(handler, [make_frame(i, metadata={"x": i}) for i in range(1, 9)])
    report = handler.close(make_end(8))
    assert report is not None
    assert (report["n_written"], report["n_missing"], Path(report["path"]).name) == (8, 0, MASTER)
    assert names(tmp_path) == {"_master.h5", *(f"_data_{i:06d}.h5" for i in (1, 2, 3))}
    assert np.array_equal(linked(tmp_path), [make_image(i) for i in range(1, 9)])
    with h5py.File(tmp_path / MASTER) as file:
        lows = [int(file[f"entry/data/data_{i:06d}"].attrs["image_nr_low"]) for i in (1, 2, 3)]
        highs = [int(file[f"entry/data/data_{i:06d}"].attrs["image_nr_high"]) for i in (1, 2, 3)]
        assert (lows, highs) == ([1, 4, 7], [3, 6, 8])
        assert file["entry/title"].asstr()[()] == "lysozyme"
        assert file["entry/definition"].asstr()[()] == "NXmx"
        assert file[f"{MESSAGES}/x"][()].tolist() == list(range(1, 9))
        assert file["entry/data/data_000001"].chunks == (1, 31, 43)


def test_a_data_file_has_its_name_when_it_is_full_and_the_master_at_the_end(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler = writer(tmp_path, images_per_file=2)
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(3)])
    assert {one for one in names(tmp_path) if one.endswith(".h5")} == set()
    write(handler, [make_frame(2)])
    assert {one for one in names(tmp_path) if one.endswith(".h5")} == {"_data_000001.h5"}
    handler.gap(Gap(first_id=4, last_id=9, reason="patience"))
    assert {one for one in names(tmp_path) if one.endswith(".h5")} == {"_data_000001.h5", "_data_000002.h5"}
    handler.close(None)


def test_missing_images_are_fill_values_and_whole_missing_files_are_there(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    handler = writer(tmp_path, images_per_file=2)
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(8)])
    report = handler.close(make_end(9, 9, "incomplete"))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (2, 7)
    images = linked(tmp_path)
    assert len(images) == 9
    assert np.array_equal(images[7], make_image(8))
    assert (np.array(images[1:7]) == 65535).all()


def test_writing_goes_on_where_it_stopped_and_late_messages_reach_finished_files(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    for ids in ((1, 2, 4), (2, 3, 7), (6, 5, 8)):
        handler = writer(tmp_path, images_per_file=2)
        handler.open(make_start())
        write(handler, [make_frame(i) for i in ids])
        handler.close(None)
    handler = writer(tmp_path, images_per_file=2, verify=True)
    handler.open(make_start())
    write(handler, [make_frame(3), make_frame(10)])
    handler.gap(Gap(first_id=9, last_id=9, reason="patience"))
    write(handler, [make_frame(9)])
    report = handler.close(make_end(10))
    assert report is not None
    assert (report["n_written"], report["n_rewritten"]) == (10, 1)
    assert np.array_equal(linked(tmp_path), [make_image(i) for i in range(1, 11)])
    handler.open(make_start())  # once more, after the end
    write(handler, [make_frame(4)])
    again = handler.close(make_end(10))
    assert again is not None
    assert again["checksum"] == report["checksum"]


def test_a_message_after_the_end_opens_the_recording_again(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    for layout in ({"images_per_file": 2}, {"shared": True}):
        directory = tmp_path / "".join(layout)
        handler = writer(directory, **layout)
        for ids in ((1, 2, 4), (3,)):
            handler.open(make_start())
            write(handler, [make_frame(i) for i in ids])
            report = handler.close(make_end(4))
        assert report is not None
        assert (report["n_written"], report["n_missing"]) == (4, 0)


def test_a_second_writer_of_the_same_files_is_refused(tmp_path: Path, make_start: Any) -> None:
    handler = writer(tmp_path, images_per_file=2)
    handler.open(make_start())
    with pytest.raises(OutputError, match="another writer"):
        writer(tmp_path, images_per_file=2).open(make_start())
    handler.close(None)


def test_overwrite_replaces_all_files(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    for ids in (range(1, 8), range(1, 3)):
        handler = writer(tmp_path, images_per_file=2, overwrite=True)
        handler.open(make_start())
        write(handler, [make_frame(i, make_image(i + len(ids))) for i in ids])
        handler.close(make_end(len(ids)))
    assert names(tmp_path) == {"_master.h5", "_data_000001.h5"}
    assert np.array_equal(linked(tmp_path), [make_image(3), make_image(4)])


def test_data_files_of_n_others_are_not_continued(tmp_path: Path, make_frame: Any, make_start: Any) -> None:
    handler = writer(tmp_path, images_per_file=3)
    handler.open(make_start())
    write(handler, [make_frame(1), make_frame(4)])
    handler.close(None)
    other = writer(tmp_path, images_per_file=2)
    other.open(make_start())
    with pytest.raises(OutputExistsError, match="another layout"):
        other.handle(make_frame(4))
    other.close(None)


# --- several members ---------------------------------------------------------------------------------------------


def test_several_members_write_one_recording(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    members = [writer(tmp_path, shared=True, verify=True) for _ in range(3)]
    for member in members:
        member.open(make_start(n_expected=20))
    for i in range(1, 21):
        if i not in (7, 13):
            write(members[i % 3], [make_frame(i, metadata={"x": i, "text": str(i)})])
    write(members[0], [make_frame(4, metadata={"x": 4})])  # another member has it, and could not say so
    for member in members[:2]:
        with pytest.raises(OthersWriteError, match="process"):
            member.close(make_end(20, 20, "incomplete"))
    reports = [member.close(make_end(20, 20, "incomplete")) for member in (members[2], members[0], members[1])]
    assert all(report is not None and report["n_written"] == 18 for report in reports)
    assert names(tmp_path) == {"_master.h5", *(f"_data_{i:06d}.h5" for i in (1, 2, 3))}
    with h5py.File(tmp_path / MASTER) as file:
        data = file["entry/data/data"]
        assert data.is_virtual
        assert (data.shape[0], data.fillvalue) == (20, 65535)
        for i in range(1, 21):
            assert np.array_equal(data[i - 1], make_image(i)) or (i in (7, 13) and (data[i - 1] == 65535).all())
        assert file["entry/beamstream/missing"][()].tolist() == [[7, 7], [13, 13]]
        assert file[f"{MESSAGES}/x"][()].tolist() == [0 if i in (7, 13) else i for i in range(1, 21)]
        assert file[f"{MESSAGES}/text"].asstr()[9] == "10"


def test_a_file_that_a_member_left_is_continued_by_the_next_and_finished_by_the_last(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    first, second, third = (writer(tmp_path, shared=True) for _ in range(3))
    for member, ids in ((first, (1, 4)), (second, (2,))):
        member.open(make_start())
        write(member, [make_frame(i) for i in ids])
    first.close(None)
    third.open(make_start())
    write(third, [make_frame(3)])
    assert {one for one in names(tmp_path) if one.endswith("partial")} == {
        "_data_000001.h5.partial",
        "_data_000002.h5.partial",
    }
    third.close(None)
    report = second.close(make_end(4))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (4, 0)
    with h5py.File(tmp_path / MASTER) as file:
        assert np.array_equal(file["entry/data/data"][()], [make_image(i) for i in range(1, 5)])


def test_a_member_that_is_slow_is_not_robbed(tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any) -> None:
    slow, quick = (writer(tmp_path, shared=True) for _ in range(2))
    for member, number in ((slow, 1), (quick, 2)):
        member.open(make_start())
        write(member, [make_frame(number)])
    for _ in range(3):
        with pytest.raises(OthersWriteError):
            quick.close(make_end(3))
    write(slow, [make_frame(3)])
    assert slow.close(make_end(3)) is not None
    report = quick.close(make_end(3))
    assert report is not None
    assert report["n_written"] == 3


def test_data_files_of_members_are_finished_after_n_messages(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    members = [writer(tmp_path, shared=True, images_per_file=2) for _ in range(2)]
    for member in members:
        member.open(make_start())
    for i in range(1, 11):
        write(members[i % 2], [make_frame(i)])
    assert sum(one.endswith(".h5") for one in names(tmp_path)) == 4
    with pytest.raises(OthersWriteError):
        members[0].close(make_end(10))
    members[1].close(make_end(10))
    members[0].close(make_end(10))
    with h5py.File(tmp_path / MASTER) as file:
        assert np.array_equal(file["entry/data/data"][()], [make_image(i) for i in range(1, 11)])


def test_different_frames_under_one_id_in_two_data_files_are_a_conflict(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any
) -> None:
    members = [writer(tmp_path, shared=True) for _ in range(2)]
    for number, member in enumerate(members):
        member.open(make_start())
        write(member, [make_frame(1, make_image(number))])
    with pytest.raises(OthersWriteError):
        members[0].close(make_end(1))
    with pytest.raises(RecordingConflictError, match="message 1"):
        members[1].close(make_end(1))


def test_members_whose_frames_differ_in_shape_get_no_master(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    members = [writer(tmp_path, shared=True) for _ in range(2)]
    for number, member in enumerate(members):
        member.open(make_start())
        write(member, [make_frame(number + 1, np.zeros((4, 4 + number), "<u2"))])
    with pytest.raises(OthersWriteError):
        members[0].close(make_end(2))
    with pytest.raises(ShapeError, match="different arrays"):
        members[1].close(make_end(2))


def test_a_shared_stream_without_a_frame_has_a_master_with_a_receipt(
    tmp_path: Path, make_start: Any, make_end: Any
) -> None:
    for layout in ({"images_per_file": 2}, {"shared": True}):
        handler = writer(tmp_path / "".join(layout), **layout)
        handler.open(make_start(n_expected=2))
        report = handler.close(make_end(2, 2, "aborted"))
        assert report is not None
        assert (report["n_written"], report["n_missing"]) == (0, 2)


def test_a_spoilt_data_file_does_not_get_its_name(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    handler = writer(tmp_path, shared=True, verify=True)
    handler.open(make_start())
    frame = make_frame(1)
    write(handler, [frame])
    partial = tmp_path / f"{STEM}_data_000001.h5.partial"
    place = partial.read_bytes().index(frame.payload)
    with partial.open("r+b") as file:
        file.seek(place + 20)
        file.write(bytes([frame.payload[20] ^ 1]))
    with pytest.raises(VerificationError, match="message 1"):
        handler.close(make_end(1))
    assert not (tmp_path / MASTER).exists()


def test_options_that_cannot_be_had_together_are_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--overwrite"):
        writer(tmp_path, shared=True, overwrite=True)
    with pytest.raises(UsageError, match="--images-per-file 0"):
        writer(tmp_path, images_per_file=0)


# --- packed: hits ------------------------------------------------------------------------------------------------

HITS = (3, 11, 12, 40)


def declined_before(message_id: int) -> Gap:
    first = max((hit for hit in HITS if hit < message_id), default=0) + 1
    return Gap(first_id=first, last_id=message_id - 1, reason="declined")


@pytest.mark.parametrize(
    ("options", "metadata"),
    [
        ({}, {}),
        ({"packed": True}, {}),
        ({}, {"selection": True}),
        ({"packed": True, "images_per_file": 3}, {}),
        ({"packed": True, "shared": True}, {}),
    ],
)
def test_hits_are_packed_with_their_peaks(
    tmp_path: Path, make_frame: Any, make_image: Any, make_start: Any, make_end: Any, options: Any, metadata: Any
) -> None:
    handler = writer(tmp_path, **options)
    handler.open(make_start(metadata))
    for i in HITS:
        if (gap := declined_before(i)).n_messages > 0:
            handler.gap(gap)
        peaks = {"fs": [1.0] * (i % 5), "ss": [2.0] * (i % 5), "intensity": [3.0] * (i % 5)}
        write(handler, [make_frame(i, metadata={"peaks": peaks, "n_peaks": i % 5})])
    handler.gap(Gap(first_id=41, last_id=50, reason="declined"))
    report = handler.close(make_end(50))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (4, 0)
    with h5py.File(report["path"]) as file:
        assert np.array_equal(file["entry/data/data"][()], [make_image(i) for i in HITS])
        assert file[f"{MESSAGES}/message_id"][()].tolist() == list(HITS)
        assert file["entry/result_1/nPeaks"][()].tolist() == [3, 1, 2, 0]
        assert file["entry/result_1/peakYPosRaw"][0, :4].tolist() == [2, 2, 2, 0]
        assert file["entry/beamstream/declined"][()].sum(axis=0).tolist() == [1 + 4 + 13 + 41, 2 + 10 + 39 + 50]


def test_packed_files_are_continued_and_a_hit_that_comes_again_is_there_once(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any
) -> None:
    for ids in ((3, 11), (11, 12)):
        handler = writer(tmp_path, packed=True)
        handler.open(make_start())
        write(handler, [make_frame(i) for i in ids])
        handler.close(None)
    handler.open(make_start())
    report = handler.close(make_end(12))
    assert report is not None
    assert report["n_written"] == 3
    with h5py.File(report["path"]) as file:
        assert file[f"{MESSAGES}/message_id"][()].tolist() == [3, 11, 12]


# --- what is no image --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["none", "bslz4"])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3, 4), (70_000,)])
@pytest.mark.parametrize("options", [{}, {"images_per_file": 4}, {"shared": True}])
def test_spectra_and_readings_are_written(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any, options: Any, shape: Any, codec: str
) -> None:
    arrays = [np.full(shape, i, "<f4") for i in range(1, 11)]
    handler = writer(tmp_path, verify=True, **options)
    handler.open(make_start())
    write(handler, [make_frame(i, array, codec) for i, array in enumerate(arrays, start=1) if i != 6])
    report = handler.close(make_end(10))
    assert report is not None
    assert (report["n_written"], report["n_missing"]) == (9, 1)
    with h5py.File(report["path"]) as file:
        entry = file["entry"]
        data = entry["data"]
        found = [row for name in sorted(data) if name.startswith("data") for row in data[name][()]]
        expected = np.stack(arrays)
        expected[5] = np.nan
        assert np.array_equal(np.reshape(found, expected.shape), expected, equal_nan=True)
        assert "definition" not in entry
        assert data["timestamp"].shape == (10,)
        assert data.attrs["axes"][0] == "timestamp"
        assert str(data.attrs["signal"]) in data


def test_readings_have_no_chunk_each(tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any) -> None:
    handler = writer(tmp_path)
    handler.open(make_start())
    for i in range(1, 1001):
        handler.handle(make_frame(i, np.array([i], "<u4"), "none"))
    handler.commit()
    report = handler.close(make_end(1000))
    assert report is not None
    with h5py.File(report["path"]) as file:
        data = file["entry/data/data"]
        assert data[()].tolist() == list(range(1, 1001))
        assert data.id.get_num_chunks() == 1


@pytest.mark.parametrize("options", [{}, {"images_per_file": 2}, {"shared": True}])
def test_messages_without_payload_are_columns_alone(
    tmp_path: Path, make_frame: Any, make_start: Any, make_end: Any, options: Any
) -> None:
    handler = writer(tmp_path, verify=True, **options)
    handler.open(make_start())
    checksum = xxhash.xxh3_64_intdigest(b"")
    nothing = {"shape": None, "dtype": None, "payload_bytes": 0, "codec": "none", "checksum": checksum}
    write(handler, [make_frame(i, metadata={"x": i / 2}, **nothing) for i in (1, 3)])
    with pytest.raises(ShapeError, match="had none"):
        handler.handle(make_frame(4))
    report = handler.close(make_end(3))
    assert report is not None
    assert report["n_written"] == 2
    with h5py.File(report["path"]) as file:
        assert file[f"{MESSAGES}/x"][()].tolist() == pytest.approx([0.5, np.nan, 1.5], nan_ok=True)
        assert "data" not in file["entry/data"]
