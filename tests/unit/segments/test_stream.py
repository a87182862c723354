"""All segments of a stream as one sequence: order, what is lost, what is there twice, what is written meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beamstream import Address, Gap
from beamstream.segments import (
    LOST,
    DiskFullError,
    Record,
    SegmentFormatError,
    SegmentStream,
    SegmentWriter,
    StreamWriter,
    end_record,
    gap_record,
    list_segments,
    segment_path,
    stream_folder,
)

ADDRESS = Address("bt", "det", "run")
N_MESSAGES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stream_folder(tmp_path, ADDRESS)


@pytest.fixture
def rotated(folder: Path, make_message: Callable[..., Record]) -> Path:
    """A stream in several segments, four messages in each."""
    with StreamWriter(folder, ADDRESS, segment_bytes=5000) as writer:
        writer.set_metadata(b"\x80")
        writer.set_state({b"created_ns": b"3", b"n_duplicate": b"1"})
        for number in range(1, N_MESSAGES + 1):
            writer.append_all([make_message(number, b"%04d" % number * 250)])
        writer.append_all([end_record(N_MESSAGES, 2000, reason="complete", next_stream="run2")])
    return folder


def contents(folder: Path) -> list[str]:
    """Describe the entries in order: ids of messages, gaps as ranges with their reason, the end."""
    with SegmentStream(folder) as stream:
        found = []
        for stored in stream.entries():
            entry = stored.entry
            if entry.gap is not None:
                found.append(f"{entry.gap.first_id}-{entry.gap.last_id} {entry.gap.reason}")
            else:
                found.append(str(entry.message_id) if entry.header else "end")
        return found


def test_segments_are_rotated_by_size_and_read_as_one(rotated: Path) -> None:
    assert len(list_segments(rotated)) == 5
    assert all(path.stat().st_size < 6000 for path in list_segments(rotated).values())
    assert contents(rotated) == [*map(str, range(1, N_MESSAGES + 1)), "end"]


def test_each_segment_alone_has_metadata_and_state(rotated: Path) -> None:
    for number in range(1, 5):
        segment_path(rotated, number).unlink()
    with SegmentStream(rotated) as stream:
        assert stream.metadata() == b"\x80"
        assert stream.recorded_state()[b"created_ns"] == b"3"


def test_a_missing_segment_is_named_and_its_ids_are_stated_as_lost(rotated: Path) -> None:
    segment_path(rotated, 2).unlink()
    segment_path(rotated, 3).unlink()
    with SegmentStream(rotated) as stream:
        assert stream.damage.missing == [(2, 3)]
        gaps = [stored.entry.gap for stored in stream.entries() if stored.entry.gap]
        assert gaps == [Gap(first_id=5, last_id=12, reason=LOST)]
        assert stream.find(5) is None
        found = stream.find(13)
        assert found is not None
        assert stream.read(found.location, found.entry.header.checksum if found.entry.header else 0) == b"0013" * 250


def test_a_file_that_is_no_segment_is_named_and_passed_by(rotated: Path) -> None:
    segment_path(rotated, 5).write_bytes(b"something else")
    with SegmentStream(rotated) as stream:
        assert list(stream.damage.unreadable) == [5]
    assert contents(rotated)[-1] == "16"


def test_a_damaged_file_header_costs_no_record(rotated: Path) -> None:
    path = segment_path(rotated, 3)
    whole = bytearray(path.read_bytes())
    whole[:64] = bytes(64)
    path.write_bytes(whole)
    assert contents(rotated) == [*map(str, range(1, N_MESSAGES + 1)), "end"]
    with SegmentStream(rotated) as stream:
        assert stream.damage.n_damaged == 1


def test_a_record_that_was_written_twice_is_given_once(folder: Path, make_message: Callable[..., Record]) -> None:
    with StreamWriter(folder, ADDRESS) as writer:
        writer.append_all([make_message(1, b"one"), make_message(2, b"two")])
    with StreamWriter(folder, ADDRESS) as writer:
        writer.append_all([make_message(2, b"two"), make_message(3, b"three")])
    assert contents(folder) == ["1", "2", "3"]


def test_of_two_records_the_whole_one_is_given(folder: Path, make_message: Callable[..., Record]) -> None:
    for _ in range(2):
        with StreamWriter(folder, ADDRESS) as writer:
            writer.append_all([make_message(1, b"one"), make_message(2, b"two")])
    path = segment_path(folder, 1)
    whole = bytearray(path.read_bytes())
    whole[64 + 20] ^= 1
    path.write_bytes(whole)
    with SegmentStream(folder) as stream:
        assert contents(folder) == ["1", "2"]
        found = stream.find(1)
        assert found is not None
        assert found.location.segment == 2


def test_records_out_of_order_come_in_the_order_of_the_index(folder: Path, make_message: Callable[..., Record]) -> None:
    with StreamWriter(folder, ADDRESS) as writer:
        writer.append_all([make_message(4, b"4"), make_message(2, b"late", late_at="4-1"), make_message(1, b"1")])
        writer.append_all([gap_record(Gap(first_id=2, last_id=3, reason="held"), 100)])
    assert contents(folder) == ["1", "2-3 held", "4", "2"]


def test_reading_can_begin_anywhere(rotated: Path) -> None:
    with SegmentStream(rotated) as stream:
        assert next(stream.entries(7)).entry.message_id == 7
        assert next(stream.entries(7, 1)).entry.message_id == 8
        assert list(stream.entries(N_MESSAGES + 2)) == []


def test_what_is_appended_meanwhile_is_found_by_refreshing(folder: Path, make_message: Callable[..., Record]) -> None:
    writer = StreamWriter(folder, ADDRESS, segment_bytes=3000)
    writer.append_all([make_message(1, b"x" * 1000)])
    with SegmentStream(folder) as stream:
        for number in range(2, 8):
            writer.append_all([make_message(number, b"x" * 1000)])
            assert stream.refresh() == 1
            assert stream.find(number) is not None
        writer.close()
        assert stream.refresh() == 0
        assert [stored.entry.message_id for stored in stream.entries()] == list(range(1, 8))


def test_a_writer_goes_on_in_the_segment_that_was_not_closed(folder: Path, make_message: Callable[..., Record]) -> None:
    writer = StreamWriter(folder, ADDRESS)
    writer.append_all([make_message(1, b"one")])
    writer.abandon()
    with segment_path(folder, 1).open("ab") as file:
        file.write(b"half a record")
    with StreamWriter(folder, ADDRESS) as writer:
        assert writer.recovered is not None
        assert writer.recovered.torn_bytes == 13
        writer.append_all([make_message(2, b"two")])
        assert writer.number == 1
    assert contents(folder) == ["1", "2"]


def test_a_writer_leaves_a_damaged_last_segment_alone(folder: Path, make_message: Callable[..., Record]) -> None:
    with StreamWriter(folder, ADDRESS) as writer:
        writer.append_all([make_message(1, b"one")])
    path = segment_path(folder, 1)
    damaged = bytes(64) + path.read_bytes()[64:]
    path.write_bytes(damaged)
    with StreamWriter(folder, ADDRESS) as writer:
        writer.append_all([make_message(2, b"two")])
    assert path.read_bytes() == damaged
    assert contents(folder) == ["1", "2"]


def test_streams_do_not_mix(rotated: Path, make_message: Callable[..., Record]) -> None:
    other = Address("bt", "det", "other")
    SegmentWriter.create(rotated, other, 6).abandon()
    with pytest.raises(SegmentFormatError, match="belongs to bt/det/other"):
        StreamWriter(rotated, ADDRESS)
    with pytest.raises(SegmentFormatError, match="lie together"):
        SegmentStream(rotated)


def test_large_metadata_are_written_when_they_change_and_not_in_each_segment(
    folder: Path, make_message: Callable[..., Record]
) -> None:
    large = b"m" * 1000
    with StreamWriter(folder, ADDRESS, segment_bytes=5000) as writer:
        writer.set_metadata(large)
        for number in range(1, 13):
            writer.append_all([make_message(number, b"x" * 1000)])
            writer.set_metadata(large)
        writer.set_metadata(b"changed")
        writer.append_all([make_message(13, b"x")])
    written = b"".join(path.read_bytes() for path in list_segments(folder).values())
    assert written.count(large) == 1
    with SegmentStream(folder) as stream:
        assert stream.metadata() == b"changed"


def test_an_empty_folder_is_no_stream(tmp_path: Path) -> None:
    with pytest.raises(SegmentFormatError, match="no segments"):
        SegmentStream(tmp_path)


def test_the_error_of_a_full_disk_says_that_nothing_is_lost(tmp_path: Path) -> None:
    error = DiskFullError(tmp_path / "000001.seg", 28, "write")
    assert "ENOSPC" in str(error)
    assert "nothing is lost" in str(error)
