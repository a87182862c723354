"""The fetch protocol: golden bytes, round trips, and what is none of it."""

from __future__ import annotations

import struct

import pytest

from beamstream import Address
from beamstream.dataset import Stored
from beamstream.errors import FetchProtocolError
from beamstream.fetch import (
    MAX_ITEMS,
    MAX_REQUEST_BYTES,
    ItemStatus,
    Reply,
    ReplyStatus,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    parse_endpoint,
)
from beamstream.fetch.messages import BadRequestError
from beamstream.location import Location

TICKET = bytes(range(16))
REQUEST = Request(
    request_id=7,
    ticket=TICKET,
    address=Address("bt", "det", "run"),
    created_ns=2**40,
    wanted=[
        Stored((1, 2**64 - 1), None, 0),
        Stored((42, 3, 258), None, 0),
        Stored((43, 4), Location(2**63 + 5, 6, 4096), 2**20),
        Stored((44, 5, 1), Location(7, 2**32 - 2, 2**32 - 64), 9),
    ],
)
GOLDEN_REQUEST = bytes.fromhex(
    "627366" "02" "0000000000000007" "000102030405060708090a0b0c0d0e0f" "0000010000000000" "000a" "0004"
    "62742f6465742f72756e" "0000000000000001" "ffffffffffffffff" "0000" "0000000000000000" "00000000" "0000000000000000"
    "000000000000002a" "0000000000000003" "0102" "0000000000000000" "00000000" "00000000" "00000000"
    "000000000000002b" "0000000000000004" "0000" "8000000000000005" "00000006" "00001000" "00100000"
    "000000000000002c" "0000000000000005" "0001" "0000000000000007" "fffffffe" "ffffffc0" "00000009"
)  # fmt: skip
FIRST_PLACE = 40 + len(str(REQUEST.address)) + 18
"""Where the first item's place in shared memory begins."""

REPLY = Reply(
    request_id=7,
    status=ReplyStatus.OK,
    reason="µ",
    items=[(ItemStatus.HERE, b"abc"), (ItemStatus.ABSENT, None), (ItemStatus.HERE, b"")],
)
GOLDEN_REPLY = [
    bytes.fromhex(
        "627366" "02" "0000000000000007" "00" "0002" "0003" "c2b5"
        "00" "0000000000000003" "01" "0000000000000000" "00" "0000000000000000"
    ),
    b"abc",
    b"",
]  # fmt: skip


def test_a_request_of_version_2_reads_and_is_written_like_this() -> None:
    assert encode_request(REQUEST) == GOLDEN_REQUEST
    assert decode_request(GOLDEN_REQUEST) == REQUEST


def test_a_reply_of_version_2_reads_and_is_written_like_this() -> None:
    assert encode_reply(REPLY) == GOLDEN_REPLY
    assert decode_reply(GOLDEN_REPLY) == REPLY


def test_payloads_are_not_copied() -> None:
    payload = bytearray(b"abc")
    assert encode_reply(Reply(request_id=1, status=ReplyStatus.OK, items=[(ItemStatus.HERE, payload)]))[1] is payload
    part = memoryview(b"abc")
    assert decode_reply([GOLDEN_REPLY[0], part, b""]).items[0][1] is part


def test_the_largest_request_is_as_long_as_the_socket_lets_through() -> None:
    largest = Request(
        request_id=2**64 - 1,
        ticket=TICKET,
        address=Address("b" * 128, "d" * 128, "r" * 128),
        created_ns=0,
        wanted=[Stored((1, 1), None, 0)] * MAX_ITEMS,
    )
    assert len(encode_request(largest)) == MAX_REQUEST_BYTES
    assert decode_request(encode_request(largest)) == largest


def changed(at: int, data: bytes) -> bytes:
    return GOLDEN_REQUEST[:at] + data + GOLDEN_REQUEST[at + len(data) :]


@pytest.mark.parametrize(
    ("data", "status", "request_id"),
    [
        (b"", ReplyStatus.MALFORMED, 0),
        (b"GET / HTTP/1.1\r\n\r\n", ReplyStatus.MALFORMED, 0),
        (changed(3, b"\x01"), ReplyStatus.UNKNOWN_VERSION, 7),
        (changed(3, b"\x03"), ReplyStatus.UNKNOWN_VERSION, 7),
        (changed(FIRST_PLACE, b"\x01"), ReplyStatus.MALFORMED, 7),
        (changed(FIRST_PLACE + 11, b"\x01"), ReplyStatus.MALFORMED, 7),
        (changed(FIRST_PLACE + 16, bytes(3) + b"\x01"), ReplyStatus.MALFORMED, 7),
        (GOLDEN_REQUEST[:12], ReplyStatus.MALFORMED, 7),
        (GOLDEN_REQUEST[:-1], ReplyStatus.MALFORMED, 7),
        (GOLDEN_REQUEST + b"x", ReplyStatus.MALFORMED, 7),
        (changed(38, b"\x00\x00"), ReplyStatus.MALFORMED, 7),
        (changed(38, b"\xff\xff"), ReplyStatus.MALFORMED, 7),
        (changed(36, b"\xff\xff"), ReplyStatus.MALFORMED, 7),
        (changed(40, b"../../etcx"), ReplyStatus.MALFORMED, 7),
        (changed(40, b"bt/det/..."), ReplyStatus.MALFORMED, 7),
        (changed(40, b"bt/\x00\xff/run"), ReplyStatus.MALFORMED, 7),
        (changed(40, b"/etc/passw"), ReplyStatus.MALFORMED, 7),
    ],
)
def test_what_is_no_request_is_answered_in_words(data: bytes, status: ReplyStatus, request_id: int) -> None:
    with pytest.raises(BadRequestError) as caught:
        decode_request(data)
    assert (caught.value.status, caught.value.request_id) == (status, request_id)


HEAD = GOLDEN_REPLY[0]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"HTTP/1.1 400"],
        [HEAD[:-1], b"abc", b""],
        [HEAD, b"abc"],
        [HEAD, b"abcd", b""],
        [HEAD, b"abc", b"", b""],
        [HEAD[:3] + b"\x01" + HEAD[4:], b"abc", b""],
        [HEAD[:12] + b"\x63" + HEAD[13:], b"abc", b""],
        [HEAD[:13] + struct.pack(">HH", 2, 65535) + HEAD[17:], b"abc", b""],
        [HEAD[:17] + b"\xff\xff" + HEAD[19:], b"abc", b""],
        [HEAD[:19] + b"\x63" + HEAD[20:], b"abc", b""],
    ],
)
def test_what_is_no_reply_is_an_error(parts: list[bytes]) -> None:
    with pytest.raises(FetchProtocolError):
        decode_reply(parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp://host:1",
        "tcp://host:1#12",
        "ipc:///tmp/x#" + 32 * "0",
        "tcp://host#" + 32 * "0",
        "tcp://a b:1#" + 32 * "0",
    ],
)
def test_what_is_no_endpoint_is_an_error(text: str) -> None:
    with pytest.raises(FetchProtocolError, match="endpoint"):
        parse_endpoint(text)


def test_an_endpoint_is_a_place_and_a_ticket() -> None:
    assert parse_endpoint("tcp://[::1]:5557#" + TICKET.hex()) == ("tcp://[::1]:5557", TICKET)
