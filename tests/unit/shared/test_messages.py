"""The shared-memory protocol: golden bytes of messages, a segment's head, and where a payload lies; hostile ones."""

from __future__ import annotations

import os

import pytest

from beamstream.errors import EntryError, SharedMemoryProtocolError
from beamstream.frame import Header
from beamstream.location import Location
from beamstream.protocol import decode_header, encode_header, locate_header, unlocate_header
from beamstream.shared.messages import DONE, LEND, LENT, SHOW, decode, encode, format_endpoint, parse_endpoint
from beamstream.shared.segment import HEAD_BYTES, create

KINDS = {LEND: (str, str, int), DONE: (int, int), SHOW: (int,)}

GOLDEN = {
    "94a46c656e64aa62742f6465742f72756ea2352fce00100000": [LEND, "bt/det/run", "5/", 1 << 20],
    "93a4646f6e65cf01020304050607082a": [DONE, 0x0102030405060708, 42],
    "92a473686f77cd0102": [SHOW, 0x0102],
}
GOLDEN_LENT = bytes.fromhex("93a46c656e74cf010203040506070807")
GOLDEN_HEAD = bytes.fromhex("62732d73686d3100" "0807060504030201" "00000000" "00000000")  # fmt: skip
LOCATION = Location(segment=0x0102030405060708, epoch=3, offset=4096)
HEADER = Header(payload_bytes=6, checksum=2**64 - 2, timestamp_ns=7, shape=(1, 3), dtype="<u2")
GOLDEN_HEADER = bytes.fromhex(
    "02" "fffffffffffffffe" "0000000000000006" "0000000000000007" "0102030405060708" "00000003" "00001000"
    "82" "a173" "920103" "a164" "a33c7532"
)  # fmt: skip


@pytest.mark.parametrize("packed", GOLDEN)
def test_what_version_1_said_reads_for_ever(packed: str) -> None:
    assert decode(bytes.fromhex(packed), KINDS) == GOLDEN[packed]
    assert encode(*GOLDEN[packed]) == bytes.fromhex(packed)


def test_what_version_1_answered_reads_for_ever() -> None:
    assert decode(GOLDEN_LENT, {LENT: (int, int)}) == [LENT, 0x0102030405060708, 7]


def test_the_head_of_a_segment_is_that_of_version_1() -> None:
    descriptor = create(0x0102030405060708, 2 * HEAD_BYTES)
    try:
        assert os.pread(descriptor, 24, 0) == GOLDEN_HEAD
    finally:
        os.close(descriptor)


def test_a_header_of_version_2_says_where_its_payload_lies() -> None:
    assert locate_header(encode_header(HEADER), LOCATION) == GOLDEN_HEADER
    assert decode_header(GOLDEN_HEADER).location == LOCATION
    assert unlocate_header(GOLDEN_HEADER) == encode_header(HEADER)


@pytest.mark.parametrize("n_bytes", range(25, 41))
def test_a_header_of_version_2_that_ends_early_is_none(n_bytes: int) -> None:
    with pytest.raises(EntryError):
        decode_header(GOLDEN_HEADER[:n_bytes])


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xc1",  # no msgpack
        b"\x94\xa4lend",  # ends early
        encode(SHOW, 1) + b"\x00",  # goes on
        encode("shout", 1),
        encode(SHOW),
        encode(SHOW, "1"),
        encode(SHOW, -1),
        encode(SHOW, True),
        encode(LEND, "bt/det/run", 5, 1),
        b"\x81\xa1a\x01",  # a map
        b"\x90",
        b"\x91\x01",
    ],
)
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    with pytest.raises(SharedMemoryProtocolError):
        decode(packet, KINDS)


def test_an_endpoint_is_read_as_it_was_written_and_what_is_none_is_refused() -> None:
    text = format_endpoint("beamstream-" + 32 * "0", bytes(range(16)))
    assert parse_endpoint(text) == ("beamstream-" + 32 * "0", bytes(range(16)))
    for wrong in ("", text[:-1], text + "0", text.replace("beamstream", "elsewhere"), f"{text}\n"):
        with pytest.raises(SharedMemoryProtocolError):
            parse_endpoint(wrong)
