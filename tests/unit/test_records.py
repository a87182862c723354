"""Records made quickly are what their class makes."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from beamstream import Address, Frame, Header
from beamstream.frame import new_frame, new_header
from beamstream.protocol.entry import Entry, EntryKind
from beamstream.records import maker

HEADER = Header(payload_bytes=6, checksum=7, timestamp_ns=8, codec="lz4", shape=(1, 3), dtype="<u2", metadata={"x": 1})
FRAME = Frame(address=Address("b", "s", "t"), message_id=5, header=HEADER, payload=b"123456", entry_id="5-0", place=4)
ENTRY = Entry(entry_id="5-0", kind=EntryKind.MESSAGE, message_id=5, header=HEADER, inline=b"123456")


@pytest.mark.parametrize("record", [HEADER, FRAME, ENTRY])
def test_a_record_made_quickly_is_like_any_other(record: object) -> None:
    kind = type(record)
    made = maker(kind)(*(getattr(record, field.name) for field in fields(record)))
    assert type(made) is kind
    assert made == record
    assert repr(made) == repr(record)
    assert replace(made) == record
    assert pickle.loads(pickle.dumps(made)) == record  # noqa: S301


def test_what_is_left_out_has_its_default_each_time_a_new_one() -> None:
    one, other = new_header(1, 2, 3), new_header(1, 2, 3)
    assert one == other == Header(payload_bytes=1, checksum=2, timestamp_ns=3)
    assert one.metadata is not other.metadata
    assert new_frame(FRAME.address, 5, HEADER, b"") == Frame(
        address=FRAME.address, message_id=5, header=HEADER, payload=b""
    )


def test_a_record_made_quickly_cannot_be_changed() -> None:
    made = new_header(1, 2, 3)
    with pytest.raises(FrozenInstanceError):
        made.codec = "lz4"  # type: ignore[misc]
    with pytest.raises(TypeError):
        new_header(1, 2)
