"""Where in shared memory a payload lies, in headers: there and back, beside all that stood in them before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream.dataset import dataset_header
from beamstream.errors import EntryError
from beamstream.frame import Header
from beamstream.location import LOCATION_BYTES, Location
from beamstream.protocol import decode_header, encode_header, locate_header, unlocate_header
from beamstream.protocol.entry import MAX_HEADER_BYTES

U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
LOCATIONS = st.builds(Location, U64, U32, U32)
HEADERS = st.builds(
    Header,
    payload_bytes=st.integers(0, 2**40),
    checksum=U64,
    timestamp_ns=U64,
    codec=st.sampled_from(["none", "bslz4"]),
    shape=st.none() | st.lists(st.integers(0, 5000), max_size=3).map(tuple),
    dtype=st.none() | st.sampled_from(["<u2", "|u1", ">f8"]),
    metadata=st.dictionaries(
        st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=9) | st.floats(0, 1), max_size=3
    ),
)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[int, dict[int, bytes]]:
    """How many parts a dataset has, and the packed headers of those that are there; some with a location."""
    n_parts = draw(st.integers(1, 6))
    numbers = draw(st.sets(st.integers(1, n_parts), min_size=1))
    packed = {number: encode_header(draw(HEADERS)) for number in sorted(numbers)}
    located = draw(st.dictionaries(st.sampled_from(sorted(numbers)), LOCATIONS))
    return n_parts, {n: locate_header(one, located[n]) if n in located else one for n, one in packed.items()}


def pack_dataset(n_parts: int, parts: dict[int, bytes], **more: Any) -> bytes:
    """Return the header of a dataset as the script makes it: of the parts' headers as they came."""
    made = dataset_header(n_parts, [replace(decode_header(one), part=number) for number, one in parts.items()])
    fixed = encode_header(made)[:25]
    return fixed + bytes(msgpack.packb({"n": n_parts, "p": [[n, one] for n, one in parts.items()], **more}))


@given(HEADERS, LOCATIONS)
def test_a_located_header_says_what_it_said_and_where_the_payload_is(header: Header, location: Location) -> None:
    packed = encode_header(header)
    located = locate_header(packed, location)
    assert len(located) == len(packed) + LOCATION_BYTES
    assert located[1:25] == packed[1:25], "the scripts read these in their places"
    assert (decode_header(located), decode_header(located).location) == (header, location)
    assert unlocate_header(located) == packed


@given(HEADERS)
def test_a_header_without_a_location_stays_as_it_is(header: Header) -> None:
    packed = encode_header(header)
    assert packed[0] == 1
    assert decode_header(packed).location is None
    assert unlocate_header(packed) == packed


@given(datasets())
def test_of_a_dataset_each_part_loses_its_location_and_nothing_else(dataset: tuple[int, dict[int, bytes]]) -> None:
    n_parts, parts = dataset
    plain = {number: unlocate_header(one) for number, one in parts.items()}
    assert unlocate_header(pack_dataset(n_parts, parts)) == pack_dataset(n_parts, plain)
    locations = [part.location for part in decode_header(pack_dataset(n_parts, parts)).parts]
    assert locations == [decode_header(one).location for one in parts.values()]


def test_what_a_later_writer_adds_to_parts_and_dataset_stays_when_the_location_goes() -> None:
    fields = bytes(msgpack.packb({"c": "bslz4", "later": [1, 2.5]}))
    fixed = encode_header(Header(payload_bytes=3, checksum=4, timestamp_ns=5))[:25]
    located = locate_header(fixed + fields, Location(1, 2, 3))
    assert unlocate_header(located) == fixed + fields
    assert unlocate_header(pack_dataset(1, {1: located}, newer=True)) == pack_dataset(
        1, {1: fixed + fields}, newer=True
    )


@pytest.mark.parametrize(
    "packed",
    [
        b"\x02",
        b"\x02" + bytes(24),
        b"\x02" + bytes(24 + LOCATION_BYTES),
        b"\x02" + bytes(24 + LOCATION_BYTES) + b"\xc1",
        b"\x02" + bytes(24) + b"\x80",
        b"\x03" + bytes(24 + LOCATION_BYTES) + b"\x80",
        b"\x00" + bytes(24) + b"\x80",
        b"\x02" + bytes(24 + LOCATION_BYTES) + b"\x90",
    ],
    ids=[
        "one byte",
        "fixed part",
        "no map",
        "no msgpack",
        "no location",
        "version 3",
        "version 0",
        "no map but a list",
    ],
)
def test_what_is_no_header_is_an_entry_error(packed: bytes) -> None:
    for read in (decode_header, unlocate_header):
        with pytest.raises(EntryError):
            read(packed)


@given(st.sampled_from([b"", b"\x01", b"\x02", b"\x02" + bytes(40) + b"\x82"]), st.binary(max_size=120))
def test_hostile_bytes_are_a_header_or_an_entry_error(begin: bytes, rest: bytes) -> None:
    for read in (decode_header, unlocate_header):
        try:
            read(begin + rest)
        except EntryError:
            continue
        assert len(begin + rest) > 25


def test_the_longest_header_has_room_for_a_location() -> None:
    header = Header(payload_bytes=1, checksum=2, timestamp_ns=3, metadata={"m": ""})
    room = MAX_HEADER_BYTES - LOCATION_BYTES - len(encode_header(header)) - 4  # the length takes five bytes, not one
    longest = encode_header(replace(header, metadata={"m": room * "x"}))
    located = locate_header(longest, Location(1, 2, 3))
    assert len(located) == MAX_HEADER_BYTES
    assert decode_header(located).metadata == {"m": room * "x"}
    with pytest.raises(EntryError, match="the limit is"):
        encode_header(replace(header, metadata={"m": (room + 1) * "x"}))
