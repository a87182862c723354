"""Golden bytes: what version 1 wrote reads and is written the same for ever."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from beamstream import Gap
from beamstream.protocol import EntryKind
from beamstream.segments import RecordKind, SegmentFormatError, SegmentReader, SegmentStream, StreamEnding
from beamstream.segments.layout import (
    FILE_FIXED_BYTES,
    RECORD_FIXED_BYTES,
    TRAILER_BYTES,
    RecordHead,
    pack_record_head,
    record_header,
    unpack_record_head,
)
from beamstream.segments.table import ROW_BYTES, make_table, unpack_table

GOLDEN = bytes.fromhex(
    """
    8942535345470d0a0100400001000000080706050403020109000000000000000a0000000000000006c9109f4f61b10062742f6465742f72
    756e000000000000b54253524543010500000000000000002d00000000000000080706050403020140000000000000000000000000000000
    00000000000000000000000000000000000000000000000051471ebd7192c0b9f2025f63d9433b2983c40a637265617465645f6e73c40135
    c40b6e5f6475706c6963617465c40132c4086578706563746564c40136000000b54253524543010400000000000000000400000000000000
    0807060504030201c8000000000000000000000000000000000000000000000000000000000000000000000000000000c84c58e3994f8c84
    4777391cc4d0de0181a1610100000000b5425352454301010000000025000000050000000000000008070605040302012801000000000000
    010000000000000000000000000000000100000000000000640000000000000053aab0161c0f0f37108d892e427e5e8701370f0f1c16b0aa
    530000000000000005000000000000000781a16d81a66e756d626572010000006669727374000000b5425352454301010200000025000000
    00000000000000000807060504030201b001000000000000020000000000000000000000000000000200000000000000c800000000000000
    c294d3380580062d0635db8ed64f5a91012d06800538d394c20000000000000000000000000000000781a16d81a66e756d62657202000000
    b542535245430102000000000f00000000000000000000000807060504030201300200000000000004000000000000000000000000000000
    0400000000000000c800000000000000c294d3380580062dab8fd7c781f7366482a16603a172a870617469656e636500b542535245430101
    0000000025000000000100000000000008070605040302019802000000000000050000000000000000000000000000000500000000000000
    f401000000000000712d953b43a40894e122122aeb7787e0019408a4433b952d710000000000000100000000000000000781a16d81a66e75
    6d62657205000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f
    303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f6061626364656667
    68696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f
    a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7
    d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeffb5425352454301010100000025000000
    0800000000000000080706050403020118040000000000000500000000000000010000000000000004000000000000009001000000000000
    3bf50e48eee78b52249b76171e81ca1101528be7ee480ef53b0000000000000008000000000000000781a16d81a66e756d62657204000000
    6c617465206f6e65b542535245430103000000001600000000000000000000000807060504030201a0040000000000000600000000000000
    000000000000000005000000000000009001000000000000c294d3380580062d4dc5c76a7fb981b883a172a8636f6d706c657465a16ea472
    756e32a178060000b5425352454301060000000000000000c001000000000000080706050403020110050000000000000000000000000000
    000000000000000000000000000000000000000000000000be4b0ecee3b680e55176beda5d0c20bb40000000000000002d00000000000000
    00000000000000000000000000000000000000000000000051471ebd7192c0b90000000005000000c8000000000000000400000000000000
    000000000000000000000000000000000000000000000000c84c58e3994f8c84000000000400000028010000000000000500000000000000
    01000000000000000000000000000000010000000000000053aab0161c0f0f372500000001000000b0010000000000000000000000000000
    020000000000000000000000000000000200000000000000c294d3380580062d250000000100020030020000000000000000000000000000
    040000000000000000000000000000000400000000000000c294d3380580062d0f0000000200000098020000000000000001000000000000
    050000000000000000000000000000000500000000000000712d953b43a40894250000000100000018040000000000000800000000000000
    0500000000000000010000000000000004000000000000003bf50e48eee78b522500000001000100a0040000000000000000000000000000
    060000000000000000000000000000000500000000000000c294d3380580062d1600000003000000b54253454e440d0a0100000000000000
    08070605040302011005000000000000080000000000000060070000000000004439aa15acc3f1c7
    """
)
"""The segment of the fixture `closed_segment`, as version 1 wrote it."""


def test_a_segment_of_version_1_is_written_the_same_for_ever(closed_segment: Path) -> None:
    assert closed_segment.read_bytes() == GOLDEN


def test_a_segment_of_version_1_reads_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "bt" / "det" / "run" / "000001.seg"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOLDEN)
    with SegmentStream(path.parent) as stream:
        assert str(stream.address) == "bt/det/run"
        assert stream.metadata() == b"\x81\xa1a\x01"
        assert stream.recorded_state() == {b"created_ns": b"5", b"n_duplicate": b"2", b"expected": b"6"}
        assert stream.ending() == StreamEnding(last_id=5, reason="complete", next_stream="run2", n_expected=6)
        entries = list(stream.entries())
        assert [(one.entry.entry_id, one.entry.kind, one.entry.message_id) for one in entries] == [
            ("1-0", EntryKind.MESSAGE, 1),
            ("2-0", EntryKind.MESSAGE, 2),
            ("4-0", EntryKind.GAP, 4),
            ("5-0", EntryKind.MESSAGE, 5),
            ("5-1", EntryKind.MESSAGE, 4),
            ("6-0", EntryKind.END, 5),
        ]
        assert entries[2].entry.gap == Gap(first_id=3, last_id=4, reason="patience")
        assert [one.is_inline for one in entries] == [False, True, False, False, False, False]
        assert [one.entry.late for one in entries] == [False, False, False, False, True, False]
        assert [stream.read(one.location) for one in entries] == [
            b"first",
            b"",
            b"",
            bytes(range(256)),
            b"late one",
            b"",
        ]
        assert not stream.damage


def test_the_lengths_are_those_of_the_page() -> None:
    assert (FILE_FIXED_BYTES, RECORD_FIXED_BYTES, TRAILER_BYTES, ROW_BYTES) == (48, 88, 56, 56)


def test_a_file_of_another_version_or_kind_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "000001.seg"
    for content, reason in (
        (b"", "0 bytes"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "begins with 894844460d0a1a0a"),
        (GOLDEN[:8] + b"\x02" + GOLDEN[9:64], "version 2"),
        (GOLDEN[:20] + b"\xff" + GOLDEN[21:64], "checksum"),
        (GOLDEN[:32] + b"\xff\xff" + GOLDEN[34:64], "an address of 65535 bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(SegmentFormatError, match=reason):
            SegmentReader(path)


def head(**changed: int) -> RecordHead:
    fields = {
        "kind": 1,
        "flags": 0,
        "header_bytes": 0,
        "payload_bytes": 0,
        "segment_id": 5,
        "offset": 64,
        "position": 1,
        "sequence": 0,
        "message_id": 1,
        "total_bytes": 0,
        "payload_checksum": 0,
    }
    return RecordHead(**(fields | changed))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"segment_id": 6}, "of segment"),
        ({"offset": 72}, "at byte 72"),
        ({"payload_bytes": 2**64 - 1}, "claims"),
        ({"header_bytes": 2**32 - 1}, "claims"),
        ({"payload_bytes": 1 << 20}, "the file ends at 1000"),
    ],
)
def test_a_record_that_claims_too_much_is_refused_before_anything_is_read(changed: dict[str, int], reason: str) -> None:
    packed = pack_record_head(head(**changed), b"")
    found = unpack_record_head(packed, 0, 64, 5, 1000)
    assert isinstance(found, str)
    assert reason in found


def test_fixed_part_and_header_come_back_as_they_were_packed() -> None:
    packed = pack_record_head(head(header_bytes=3), b"abc")
    assert len(packed) % 8 == 0
    found = unpack_record_head(packed, 0, 64, None, 1000)
    assert found == head(header_bytes=3)
    assert isinstance(found, RecordHead)
    assert record_header(packed, 0, found) == b"abc"


def test_an_index_whose_rows_lie_over_one_another_is_refused() -> None:
    rows = make_table([head(offset=64), head(offset=152, payload_bytes=9)])
    assert unpack_table(rows.tobytes(), 64, 256) is not None
    assert unpack_table(rows.tobytes(), 65, 256) is None
    assert unpack_table(rows.tobytes(), 64, 255) is None
    assert unpack_table(rows.tobytes()[:-1], 64, 256) is None
    for field in ("offset", "payload_bytes"):
        broken = rows.copy()
        broken[field][0] = np.uint64(2**64 - 8)
        assert unpack_table(broken.tobytes(), 64, 256) is None


def test_an_unknown_kind_of_record_is_passed_over(tmp_path: Path) -> None:
    whole = bytearray(GOLDEN)
    with SegmentReader(_write(tmp_path, whole)) as reader:
        (row,) = reader.rows_of(RecordKind.METADATA)
        found, header = reader.record(row)
        end = reader.location(len(reader.table) - 1).offset
    later = RecordHead(**{name: getattr(found, name) for name in found.__slots__} | {"kind": 77})
    whole[found.offset : found.payload_offset] = pack_record_head(later, header)
    path = _write(tmp_path, whole)
    os.truncate(path, end)
    with SegmentReader(path) as reader:
        assert len(list(reader.entries())) == 6
        assert reader.rows_of(RecordKind.METADATA) == []
        assert reader.report.n_damaged == 0


def _write(folder: Path, content: bytes | bytearray) -> Path:
    path = folder / "000001.seg"
    path.write_bytes(content)
    return path
