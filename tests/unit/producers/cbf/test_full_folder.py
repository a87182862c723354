"""A folder that is full: each scan becomes a stream, message 1 is the file of the lowest number."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.cbf.errors import FolderError, SeveralScansError
from beamstream_producers.formats import cbf

from .conftest import SHAPE, Run, age, file_of, image_of, put

Runner = Callable[..., Run]


def pixels_of(run: Run, at: int) -> np.ndarray:
    one = run.produced[at]
    assert one.shape is not None
    assert one.dtype is not None
    return codecs.decode(one.payload, one.codec, one.shape, np.dtype(one.dtype))


@pytest.mark.parametrize("first", [0, 1, 7, 10001])
def test_ids_count_from_one_whatever_the_first_number_is(run: Runner, tmp_path: Path, first: int) -> None:
    for number in reversed(range(first, first + 4)):
        put(tmp_path, f"scan_{number:05d}.cbf", number=number + 1)
    done = run(tmp_path)
    assert done.ids == [1, 2, 3, 4]
    assert [one.metadata["file_number"] for one in done.produced] == list(range(first, first + 4))
    assert done.ended == [("scan", "complete")]
    metadata = done.opened[0].metadata
    assert metadata is not None
    assert (metadata["cbf"]["first_number"], metadata["cbf"]["folder"]) == (first, str(tmp_path))


def test_numbers_sort_as_numbers_and_may_have_any_digits(run: Runner, tmp_path: Path) -> None:
    for name in ("scan_9.cbf", "scan_010.cbf", "scan_8.cbf", "scan_00011.cbf"):
        put(tmp_path, name)
    assert run(tmp_path).names == ["scan_8.cbf", "scan_9.cbf", "scan_010.cbf", "scan_00011.cbf"]


def test_bytes_are_passed_on_and_each_message_says_what_its_header_says(run: Runner, tmp_path: Path) -> None:
    data = put(tmp_path, "run_2_00005.cbf").read_bytes()
    done = run(tmp_path, zone=ZoneInfo("Europe/Berlin"))
    (one,) = done.produced
    assert bytes(one.payload) == bytes(cbf.decode(data).payload)
    assert (one.codec, one.dtype, one.shape) == ("byte-offset", "<i4", SHAPE)
    assert one.timestamp_ns == 1594807200250000000
    assert dict(one.metadata) == {
        "file_name": "run_2_00005.cbf", "file_number": 5, "start_angle": 0.5, "exposure_time": 0.1,
    }  # fmt: skip
    assert done.opened[0].stream == "run_2"
    np.testing.assert_array_equal(pixels_of(done, 0), image_of(5))


def test_a_file_without_time_has_that_of_its_last_change(run: Runner, tmp_path: Path) -> None:
    path = put(tmp_path, "scan_1.cbf", file_of(1, time="no time"))
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    assert run(tmp_path).produced[0].timestamp_ns == 1_600_000_000_123_456_789


def test_pixels_are_packed_anew_where_that_is_asked_for(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    put(tmp_path, "scan_2.cbf", file_of(2, "none"))
    done = run(tmp_path, convert=True)
    assert [one.codec for one in done.produced] == ["bslz4", "bslz4"]
    np.testing.assert_array_equal(pixels_of(done, 1), image_of(2))


def test_uncompressed_pixels_are_passed_on_as_they_are(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf", file_of(1, "none"))
    assert run(tmp_path).produced[0].codec == "none"


def test_numbers_that_never_came_leave_the_stream_incomplete(run: Runner, tmp_path: Path) -> None:
    for number in (1, 2, 5):
        put(tmp_path, f"scan_{number}.cbf")
    done = run(tmp_path)
    assert (done.ids, done.ended) == ([1, 2, 5], [("scan", "incomplete")])


def test_garbage_costs_only_itself_and_is_counted_by_kind(run: Runner, tmp_path: Path) -> None:
    good = file_of(1)
    damaged = bytearray(good)
    damaged[good.index(b"\x0c\x1a\x04\xd5") + 20] ^= 0xFF
    files = {
        1: b"", 2: file_of(2), 3: good[:700], 4: bytes(5000), 5: bytes(damaged), 6: file_of(6),
        7: good.replace(b"x-CBF_BYTE_OFFSET", b"x-CBF_PACKED"), 8: file_of(8),
    }  # fmt: skip
    for number, data in files.items():
        age(put(tmp_path, f"scan_{number}.cbf", data), 100)
    done = run(tmp_path)
    assert (done.ids, done.ended) == ([2, 6, 8], [("scan", "incomplete")])
    assert done.counted == {
        "files": 8, "images": 3, "scans": 1, "scans_closed": 1, "rejected": 5, "rejected_incomplete": 2,
        "rejected_not_cbf": 1, "rejected_digest": 1, "rejected_encoding": 1,
    }  # fmt: skip


def test_pixels_that_cannot_be_unpacked_for_the_mask_are_refused_and_the_next_file_opens_the_stream(
    run: Runner, tmp_path: Path
) -> None:
    wrong = cbf.encode(b"\x80\x00" * 60, shape=SHAPE, dtype=np.dtype("<i4"), codec="byte-offset", lines=())
    age(put(tmp_path, "scan_1.cbf", wrong), 100)
    put(tmp_path, "scan_2.cbf")
    done = run(tmp_path)
    assert (done.ids, done.counted["rejected_codec"]) == ([2], 1)


def test_several_scans_are_streams_of_their_own_older_ones_first(run: Runner, tmp_path: Path) -> None:
    for number, name in enumerate(("b_1.cbf", "b_2.cbf", "a_1.cbf", "a_2.cbf")):
        age(put(tmp_path, name), 100 - number)
    done = run(tmp_path)
    assert [one.stream for one in done.opened] == ["b", "a"]
    assert done.ended == [("b", "complete"), ("a", "complete")]
    assert [type(event).__name__ for event in done.events][:4] == [
        "StreamOpened",
        "Produced",
        "Produced",
        "StreamClosed",
    ]


def test_scans_of_one_name_in_several_folders_get_names_of_their_own(run: Runner, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        age(put(folder, "scan_1.cbf"), 10)
    done = run(*folders)
    assert {one.stream for one in done.opened} in ({"scan", "one_scan"}, {"scan", "two_scan"})


def test_names_that_no_stream_can_have_are_made_ones(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "Müller probe#1_00001.cbf")
    assert run(tmp_path).opened[0].stream == "M_ller_probe_1"


def test_sub_folders_are_looked_into_only_when_asked(run: Runner, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    put(tmp_path, "top_1.cbf")
    put(deep, "deep_1.cbf")
    assert [one.stream for one in run(tmp_path).opened] == ["top"]
    assert sorted(one.stream for one in run(tmp_path, recursive=True).opened) == ["deep", "top"]


def test_links_to_files_are_followed_and_what_is_no_file_is_not_waited_for(run: Runner, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "scan_1.cbf").symlink_to(put(elsewhere, "any_1.cbf"))
    (folder / "scan_2.cbf").symlink_to(elsewhere / "nothing")
    os.mkfifo(folder / "scan_3.cbf")
    (folder / "scan_4.cbf").mkdir()
    (folder / "scan_5.cbf").symlink_to(folder / "scan_5.cbf")
    done = run(folder)
    assert (done.ids, done.counted["rejected_unreadable"]) == ([1], 3)


def test_hidden_temporary_and_unnumbered_files_are_not_taken(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    for name in (".scan_2.cbf", "scan_3.cbf.part", "scan_4.tif", "readme.cbf", "scan_5x.cbf"):
        (tmp_path / name).write_bytes(file_of(2))
    done = run(tmp_path)
    assert (done.ids, done.counted["files"], done.counted["unnumbered"]) == ([1], 1, 2)


def test_a_file_larger_than_any_image_is_not_read(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    with (tmp_path / "scan_2.cbf").open("wb") as file:
        file.truncate(2**31)
    tracemalloc.start()
    done = run(tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (done.ids, done.counted["rejected_too_large"]) == ([1], 1)
    assert peak_bytes < 32 * 2**20


def test_a_number_far_beyond_all_others_is_none(run: Runner, tmp_path: Path) -> None:
    for name in ("scan_1.cbf", "scan_2.cbf", "scan_20190911.cbf"):
        put(tmp_path, name, number=1)
    done = run(tmp_path)
    assert (done.ids, done.counted["implausible"], done.ended) == ([1, 2], 1, [("scan", "complete")])


def test_the_first_number_can_be_said(run: Runner, tmp_path: Path) -> None:
    for number in (9, 10, 11):
        put(tmp_path, f"scan_{number}.cbf")
    done = run(tmp_path, first_number=10)
    assert (done.ids, done.counted["before_first"]) == ([1, 2], 1)
    assert run(tmp_path, first_number=1).ids == [9, 10, 11]


def test_more_files_than_were_promised_are_counted_and_fewer_leave_it_incomplete(run: Runner, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        put(tmp_path, f"scan_{number}.cbf")
    done = run(tmp_path, n_frames=2)
    assert (done.ids, done.counted["beyond_frames"], done.ended) == ([1, 2], 1, [("scan", "complete")])
    assert done.opened[0].n_expected == 2
    assert run(tmp_path, n_frames=4).ended == [("scan", "incomplete")]


def test_old_files_of_the_same_name_can_be_left_alone(run: Runner, tmp_path: Path) -> None:
    age(put(tmp_path, "scan_1.cbf"), 5000)
    for number in (2, 3):
        put(tmp_path, f"scan_{number}.cbf")
    an_hour_ago_ns = (tmp_path / "scan_3.cbf").stat().st_mtime_ns - 3600 * 10**9
    done = run(tmp_path, newer_than_ns=an_hour_ago_ns)
    assert (done.names, done.ids, done.counted["stale"]) == (["scan_2.cbf", "scan_3.cbf"], [1, 2], 1)


def test_one_stream_is_one_scan(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "a_1.cbf")
    assert [one.stream for one in run(tmp_path, stream="mine").opened] == ["mine"]
    put(tmp_path, "b_1.cbf")
    with pytest.raises(SeveralScansError, match="--pattern"):
        run(tmp_path, stream="mine")
    assert [one.stream for one in run(tmp_path, stream="mine", pattern="b_*.cbf").opened] == ["mine"]


def test_a_folder_without_files_or_that_is_none_is_said_to_be_so(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="--follow"):
        run(tmp_path)
    with pytest.raises(FolderError, match="mounted"):
        run(tmp_path / "nowhere")
