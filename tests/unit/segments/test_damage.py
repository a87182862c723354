"""Segments that were cut off or changed: what is whole is found, what is damaged is never given as good."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from beamstream.segments import (
    CorruptRecordError,
    Record,
    RecordKind,
    SegmentClosedError,
    SegmentFormatError,
    SegmentReader,
    SegmentWriter,
    StoredEntry,
)
from beamstream.segments.layout import FILE_FIXED_BYTES, aligned

N_ENTRIES = 6
FIRST_RECORD = aligned(FILE_FIXED_BYTES + len("bt/det/run"))


def good_entries(path: Path) -> list[tuple[StoredEntry, bytes]]:
    """Read what can be read, each entry with its payload."""
    found = []
    with SegmentReader(path) as reader:
        for stored in reader.entries():
            checksum = stored.entry.header.checksum if stored.entry.header else None
            try:
                found.append((stored, reader.read(stored.location, checksum)))
            except CorruptRecordError:
                continue
    return found


def test_a_segment_cut_off_at_any_byte_gives_its_first_records_and_goes_on(
    closed_segment: Path, make_message: Callable[..., Record]
) -> None:
    whole = closed_segment.read_bytes()
    expected = good_entries(closed_segment)
    assert len(expected) == N_ENTRIES
    for length in range(len(whole)):
        closed_segment.write_bytes(whole[:length])
        if length < FIRST_RECORD:
            with pytest.raises(SegmentFormatError):
                SegmentReader(closed_segment)
            with pytest.raises(SegmentFormatError):
                SegmentWriter.resume(closed_segment)
            continue
        found = good_entries(closed_segment)
        assert found == expected[: len(found)]
        if length % 5:  # every byte of each field comes about in some record; syncing takes its time
            continue
        with SegmentWriter.resume(closed_segment) as writer:
            assert writer.size_bytes + writer.recovered.torn_bytes == length
            writer.append(make_message(99, b"new"))
        assert good_entries(closed_segment)[:-1] == found
        with SegmentReader(closed_segment) as reader:
            assert reader.report.closed
            assert reader.verify().n_damaged == 0


def test_any_changed_byte_is_noticed_and_costs_one_record_at_most(closed_segment: Path) -> None:
    whole = bytearray(closed_segment.read_bytes())
    expected = good_entries(closed_segment)
    for at in range(len(whole)):
        whole[at] ^= 0x41
        closed_segment.write_bytes(whole)
        found = good_entries(closed_segment)
        assert len(found) >= N_ENTRIES - 1
        assert [one for one in expected if one in found] == found
        with SegmentReader(closed_segment) as reader:
            report = reader.verify()
            noticed = bool(report.n_damaged or report.torn_bytes or reader.header_flaw)
            assert noticed or found == expected
        whole[at] ^= 0x41


def test_a_changed_byte_in_a_segment_without_index_costs_one_record_at_most(
    closed_segment: Path, records: list[Record]
) -> None:
    with SegmentReader(closed_segment) as reader:
        end = reader.location(len(records) - 1).offset
    os.truncate(closed_segment, end)
    whole = bytearray(closed_segment.read_bytes())
    expected = good_entries(closed_segment)
    assert len(expected) == N_ENTRIES
    for at in range(len(whole)):
        whole[at] ^= 0x80
        closed_segment.write_bytes(whole)
        found = good_entries(closed_segment)
        assert [one for one in expected if one in found] == found
        assert len(found) >= N_ENTRIES - 1
        whole[at] ^= 0x80


def test_a_damaged_index_is_not_believed(closed_segment: Path, records: list[Record]) -> None:
    whole = bytearray(closed_segment.read_bytes())
    whole[-60] ^= 1  # in the last row
    closed_segment.write_bytes(whole)
    with SegmentReader(closed_segment) as reader:
        assert len(reader.table) == len(records)
        assert reader.verify().n_damaged == 1


def test_a_segment_sent_as_a_payload_is_not_taken_for_records(
    closed_segment: Path, tmp_path: Path, make_message: Callable[..., Record]
) -> None:
    inner = closed_segment.read_bytes()
    with SegmentReader(closed_segment) as reader:
        assert reader.header
        address = reader.header.address
    writer = SegmentWriter.create(tmp_path / "outer", address, 1)
    writer.append(make_message(50, inner))
    offset = writer.size_bytes
    writer.append(make_message(51, b"after"))
    writer.abandon()
    whole = bytearray(writer.path.read_bytes())
    whole[FIRST_RECORD + 20] ^= 1  # a length in the fixed part: the payload is searched for records
    writer.path.write_bytes(whole)
    with SegmentReader(writer.path) as reader:
        assert [stored.entry.message_id for stored in reader.entries()] == [51]
        assert [(damage.offset, damage.length) for damage in reader.report.damages] == [
            (FIRST_RECORD, offset - FIRST_RECORD)
        ]


def test_records_whose_payload_never_reached_the_disk_are_cut_off_with_the_tail(
    tmp_path: Path, closed_segment: Path, make_message: Callable[..., Record]
) -> None:
    with SegmentReader(closed_segment) as reader:
        assert reader.header
        writer = SegmentWriter.create(tmp_path / "power", reader.header.address, 1)
    writer.append(make_message(1, b"safe"))
    end = writer.size_bytes
    lost = writer.append(make_message(2, b"x" * 5000))
    writer.abandon()
    with writer.path.open("r+b") as file:
        file.seek(lost.offset)
        file.write(bytes(lost.length))
    with SegmentWriter.resume(writer.path) as resumed:
        assert (resumed.n_records, resumed.size_bytes) == (1, end)
        assert resumed.recovered.torn_bytes > 5000


def test_damage_in_the_middle_stays_and_what_stands_behind_it_too(
    tmp_path: Path, closed_segment: Path, make_message: Callable[..., Record]
) -> None:
    with SegmentReader(closed_segment) as reader:
        assert reader.header
        writer = SegmentWriter.create(tmp_path / "middle", reader.header.address, 1)
    locations = [writer.append(make_message(number, b"payload %d" % number)) for number in range(1, 5)]
    writer.abandon()
    whole = bytearray(writer.path.read_bytes())
    whole[locations[1].offset] ^= 1  # a payload
    whole[locations[2].offset - 120] ^= 1  # the head of the third
    writer.path.write_bytes(whole)
    with SegmentWriter.resume(writer.path) as resumed:
        assert resumed.recovered.torn_bytes == 0
        assert [damage.message_id for damage in resumed.recovered.damages] == [0, 2]
        resumed.append(make_message(5, b"new"))
    assert [stored.entry.message_id for stored, _ in good_entries(writer.path)] == [1, 4, 5]


def test_a_closed_segment_takes_nothing_more(closed_segment: Path) -> None:
    before = closed_segment.read_bytes()
    with pytest.raises(SegmentClosedError):
        SegmentWriter.resume(closed_segment)
    assert closed_segment.read_bytes() == before


def test_metadata_and_state_are_given_only_whole(closed_segment: Path) -> None:
    with SegmentReader(closed_segment) as reader:
        (row,) = reader.rows_of(RecordKind.METADATA)
        assert reader.payload(row) == b"\x81\xa1a\x01"
        whole = bytearray(closed_segment.read_bytes())
        whole[reader.location(row).offset] ^= 1
        closed_segment.write_bytes(whole)
    with SegmentReader(closed_segment) as reader, pytest.raises(CorruptRecordError, match="damaged"):
        reader.payload(row)
