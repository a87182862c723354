"""`beamstream.frame`: what goes to another process."""

from __future__ import annotations

import pickle

import pytest

from beamstream import Address
from beamstream.frame import Frame, Header

HEADER = Header(payload_bytes=3, checksum=1, timestamp_ns=2, shape=(3,), dtype="|u1", metadata={"exposure_s": 0.1})


@pytest.mark.parametrize("payload", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcx")[1:4]])
def test_a_frame_can_go_to_another_process_wherever_its_payload_lies(payload: bytes) -> None:
    frame = Frame(
        address=Address("bt", "det", "run"), message_id=7, header=HEADER, payload=payload, late=True, n_deliveries=2,
        entry_id="7-0", place=6,
    )  # fmt: skip
    there = pickle.loads(pickle.dumps(frame))  # noqa: S301 (what we have just written)
    assert there == frame
    assert (bytes(there.payload), there.place, type(there)) == (b"abc", 6, Frame)
    assert list(there.array()) == [97, 98, 99]
