"""A small segment with one record of each kind, and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beamstream import Address, Gap, Header
from beamstream.protocol import encode_header
from beamstream.segments import (
    Record,
    SegmentWriter,
    end_record,
    gap_record,
    metadata_record,
    record_of_entry,
    state_record,
)
from beamstream.segments.layout import checksum_of

ADDRESS = Address("bt", "det", "run")


def message(message_id: int, payload: bytes, *, late_at: str = "", inline: bool = False) -> Record:
    """Return the record of a message as the index has it."""
    header = Header(
        payload_bytes=len(payload), checksum=checksum_of(payload), timestamp_ns=7, metadata={"number": message_id}
    )
    fields = {b"h": encode_header(header), b"b": b"%d" % (100 * message_id)}
    if late_at:
        fields[b"i"] = b"%d" % message_id
    if inline:
        fields[b"p"] = payload
    return record_of_entry(late_at or f"{message_id}-0", fields, None if inline else payload)


@pytest.fixture
def make_message() -> Callable[..., Record]:
    """Makes the record of a message: id, payload, and where it stands if it came late."""
    return message


@pytest.fixture
def records() -> list[Record]:
    """One record of each kind, and messages of several sizes."""
    return [
        state_record({b"created_ns": b"5", b"n_duplicate": b"2", b"expected": b"6"}),
        metadata_record(b"\x81\xa1a\x01"),
        message(1, b"first"),
        message(2, b"", inline=True),
        gap_record(Gap(first_id=3, last_id=4, reason="patience"), 200),
        message(5, bytes(range(256))),
        message(4, b"late one", late_at="5-1"),
        end_record(5, 400, reason="complete", next_stream="run2", n_expected=6),
    ]


@pytest.fixture
def closed_segment(tmp_path: Path, records: list[Record]) -> Path:
    """A closed segment of these records."""
    with SegmentWriter.create(tmp_path / "run", ADDRESS, 1, created_ns=9, segment_id=0x0102030405060708) as writer:
        writer.append_all(records)
    return writer.path
