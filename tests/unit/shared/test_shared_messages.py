"""What goes over the socket of shared memory: there and back, and nothing else gets through."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream.errors import SharedMemoryProtocolError
from beamstream.shared.messages import DONE, LEND, SHOW, decode, encode, format_endpoint, parse_endpoint

REQUESTS = {LEND: (str, str, int), DONE: (int, int), SHOW: (int,)}
NUMBERS = st.integers(0, 2**64 - 1)
FIELDS = st.one_of(
    st.tuples(st.just(LEND), st.text(max_size=20), st.text(max_size=20), NUMBERS),
    st.tuples(st.just(DONE), NUMBERS, NUMBERS),
    st.tuples(st.just(SHOW), NUMBERS),
)


@given(FIELDS)
def test_a_message_comes_as_it_was_sent(fields: tuple[str | int, ...]) -> None:
    assert decode(encode(*fields), REQUESTS) == list(fields)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xc1",
        b"show",
        encode(SHOW, 1) + b"\x00",
        encode(SHOW, 1)[:-1],
        encode("none", 1),
        encode(SHOW),
        encode(SHOW, 1, 2),
        encode(SHOW, "1"),
        encode(SHOW, -1),
        encode(DONE, 1, -5),
        encode(LEND, "a/b/c", "life", "9"),
        msgpack.packb([SHOW, True]),
        msgpack.packb([SHOW, 1.0]),
        msgpack.packb([SHOW, None]),
        msgpack.packb([[SHOW], 1]),
        msgpack.packb([]),
        msgpack.packb({SHOW: 1}),
        msgpack.packb([b"show", 1]),
        msgpack.packb([SHOW, msgpack.ExtType(4, b"x")]),
        b"\x92" * 3000,
        b"\xdd\xff\xff\xff\xff",
        b"\x92\xa4\xff\xff\xff\xff\x01",
    ],
)
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    with pytest.raises(SharedMemoryProtocolError):
        decode(packet, REQUESTS)


@given(st.binary(max_size=60))
def test_hostile_bytes_are_a_message_or_refused(packet: bytes) -> None:
    try:
        kind, *fields = decode(packet, REQUESTS)
    except SharedMemoryProtocolError:
        return
    assert [type(field) for field in fields] == list(REQUESTS[kind])


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_an_endpoint_is_read_as_it_was_written(name: bytes, ticket: bytes) -> None:
    text = format_endpoint(f"beamstream-{name.hex()}", ticket)
    assert parse_endpoint(text) == (f"beamstream-{name.hex()}", ticket)
    for damaged in (text[:-1], text + "0", text.upper(), text.replace("@", "/"), text.replace("#", "")):
        with pytest.raises(SharedMemoryProtocolError):
            parse_endpoint(damaged)
