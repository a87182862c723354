"""What a crash has damaged at the end of a segment: set aside, but not under the hands of whoever writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from beamstream import Address, Header
from beamstream.protocol import encode_header
from beamstream.segments import Record, RecordKind, SegmentBusyError, StreamWriter
from beamstream_broker.torn import set_torn_aside

PAYLOAD = b"x" * 1000


def record(message_id: int) -> Record:
    checksum = xxhash.xxh3_64_intdigest(PAYLOAD)
    header = encode_header(Header(payload_bytes=len(PAYLOAD), checksum=checksum, timestamp_ns=0))
    return Record(
        kind=RecordKind.MESSAGE,
        position=message_id,
        message_id=message_id,
        header=header,
        payload=PAYLOAD,
        checksum=checksum,
        total_bytes=message_id * len(PAYLOAD),
    )


def test_what_somebody_writes_is_left_alone_and_cut_off_once_nobody_does(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path, Address("bt", "det", "run"))
    locations = writer.append_all([record(message_id) for message_id in range(1, 6)])
    path = tmp_path / "000001.seg"
    with path.open("r+b") as file:
        file.seek(locations[2].offset)
        file.write(b"something else")
    size = path.stat().st_size
    with pytest.raises(SegmentBusyError):
        set_torn_aside(tmp_path, (2, 0))
    assert path.stat().st_size == size
    writer.abandon()
    assert set_torn_aside(tmp_path, (4, 0)) == 0, "it is known to have been synced"
    n_bytes = set_torn_aside(tmp_path, (2, 0))
    assert n_bytes > 3 * len(PAYLOAD)
    assert path.stat().st_size == size - n_bytes
    assert (tmp_path / "000001.seg.1.torn").stat().st_size == n_bytes
    assert set_torn_aside(tmp_path, (2, 0)) == 0
