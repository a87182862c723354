"""Writing segments: what comes back from disks that are full, files that are busy, and syncs that fail."""

from __future__ import annotations

import errno
import mmap
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beamstream import Address
from beamstream.segments import (
    DiskFullError,
    Record,
    RecordKind,
    SegmentBusyError,
    SegmentClosedError,
    SegmentFormatError,
    SegmentReader,
    SegmentSyncError,
    SegmentWriteError,
    SegmentWriter,
)
from beamstream.segments.layout import MAX_PAYLOAD_BYTES

ADDRESS = Address("bt", "det", "run")


@contextmanager
def files_end_at(limit_bytes: int) -> Iterator[None]:
    """Let the operating system refuse to make any file longer, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentWriter]:
    """A new segment."""
    made = SegmentWriter.create(tmp_path / "bt" / "det" / "run", ADDRESS, 1)
    yield made
    made.abandon()


def message_ids(path: Path) -> list[int]:
    with SegmentReader(path) as reader:
        return [stored.entry.message_id for stored in reader.entries()]


def test_an_append_that_finds_the_disk_full_leaves_a_whole_file_and_can_be_tried_again(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    writer.append(make_message(1, b"fits"))
    size = writer.size_bytes
    large = [make_message(2, b"x" * 50_000), make_message(3, b"y" * 50_000)]
    with files_end_at(60_000), pytest.raises(DiskFullError) as caught:
        writer.append_all(large)
    assert (caught.value.path, caught.value.errno) == (writer.path, errno.EFBIG)
    assert writer.path.stat().st_size == writer.size_bytes == size
    assert message_ids(writer.path) == [1]
    writer.append_all(large)
    writer.close()
    assert message_ids(writer.path) == [1, 2, 3]


def test_a_close_that_finds_the_disk_full_can_be_tried_again(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    writer.append(make_message(1, b"fits"))
    with files_end_at(writer.size_bytes + 100), pytest.raises(DiskFullError):
        writer.close()
    writer.append(make_message(2, b"more"))
    writer.close()
    assert message_ids(writer.path) == [1, 2]


def test_no_segment_is_left_behind_where_there_is_no_room_for_its_header(tmp_path: Path) -> None:
    with files_end_at(10), pytest.raises(DiskFullError):
        SegmentWriter.create(tmp_path, ADDRESS, 1)
    assert list(tmp_path.iterdir()) == []


def test_what_a_failed_sync_may_have_lost_is_taken_out(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    writer.append(make_message(1, b"safe"))
    writer.sync()
    writer.append_all([make_message(2, b"unsafe"), make_message(3, b"unsafe")])
    descriptor = writer._file._descriptor
    assert descriptor is not None
    kept = os.dup(descriptor)
    readable, writable = os.pipe()
    os.dup2(writable, descriptor)  # a pipe cannot be synced: the operating system says so
    with pytest.raises(SegmentSyncError) as caught:
        writer.sync()
    os.dup2(kept, descriptor)
    for one in (kept, readable, writable):
        os.close(one)
    assert caught.value.errno == errno.EINVAL
    assert (writer.n_records, writer.size_bytes) == (1, writer.synced_bytes)
    writer.append(make_message(2, b"again"))
    writer.close()
    assert message_ids(writer.path) == [1, 2]


def test_two_writers_never_share_a_segment(writer: SegmentWriter, make_message: Callable[..., Record]) -> None:
    writer.append(make_message(1, b"mine"))
    with pytest.raises(SegmentBusyError):
        SegmentWriter.resume(writer.path)
    writer.abandon()
    with SegmentWriter.resume(writer.path) as other:
        other.append(make_message(2, b"theirs"))
    assert message_ids(writer.path) == [1, 2]


def test_a_segment_that_is_there_is_not_made_again(writer: SegmentWriter) -> None:
    with pytest.raises(SegmentWriteError) as caught:
        SegmentWriter.create(writer.path.parent, ADDRESS, 1)
    assert caught.value.errno == errno.EEXIST


def test_a_segment_under_another_number_is_refused(writer: SegmentWriter) -> None:
    writer.abandon()
    moved = writer.path.rename(writer.path.with_name("000002.seg"))
    with pytest.raises(SegmentFormatError, match="number 1"):
        SegmentWriter.resume(moved)


def test_nothing_is_appended_to_a_closed_segment(writer: SegmentWriter, make_message: Callable[..., Record]) -> None:
    writer.close()
    with pytest.raises(SegmentClosedError):
        writer.append(make_message(1, b""))
    writer.close()  # a second time is nothing


def test_a_block_that_fails_leaves_the_segment_to_be_resumed(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    writer.append(make_message(1, b"kept"))
    with pytest.raises(ZeroDivisionError), writer:
        _ = 1 // 0
    with SegmentReader(writer.path) as reader:
        assert not reader.report.closed
    with SegmentWriter.resume(writer.path) as resumed:
        assert resumed.n_records == 1


def test_a_location_leads_to_the_payload_at_a_multiple_of_eight(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    payloads = [b"z" * length for length in (0, 1, 7, 8, 9, 100_000)]
    locations = writer.append_all([make_message(1 + i, payload) for i, payload in enumerate(payloads)])
    with SegmentReader(writer.path) as reader:
        assert [reader.read(location) for location in locations] == payloads
        assert all(location.offset % 8 == 0 for location in locations)
        assert [reader.location(row) for row in range(len(payloads))] == locations


def test_more_records_than_one_system_call_takes_are_appended_whole(
    writer: SegmentWriter, make_message: Callable[..., Record]
) -> None:
    writer.append_all([make_message(number, b"%d" % number) for number in range(1, 1001)])
    assert message_ids(writer.path) == list(range(1, 1001))


def test_a_payload_over_the_limit_is_refused_and_nothing_written(writer: SegmentWriter) -> None:
    with pytest.raises(SegmentFormatError, match="of payload"):
        writer.append(Record(kind=RecordKind.MESSAGE, payload=_of_length(MAX_PAYLOAD_BYTES + 1)))
    assert writer.path.stat().st_size == writer.size_bytes


def _of_length(length: int) -> memoryview:
    """Return zeros that take no memory until they are read."""
    return memoryview(mmap.mmap(-1, length))


def test_an_array_is_appended_as_its_bytes(writer: SegmentWriter) -> None:
    words = memoryview(bytes(range(16))).cast("H")
    location = writer.append(Record(kind=RecordKind.MESSAGE, message_id=1, position=1, payload=words))
    with SegmentReader(writer.path) as reader:
        assert reader.read(location) == bytes(range(16))
