"""What is remembered of headers changes nothing: with and without it the same bytes say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream import Header
from beamstream.errors import EntryError
from beamstream.protocol import decode_header, encode_header, fields_of, layouts, read_answer, read_entry

FIXED = encode_header(Header(payload_bytes=3, checksum=5, timestamp_ns=7))[:25]

numbers = st.one_of(st.integers(-1, 5), st.booleans(), st.floats(0, 3), st.sampled_from([np.int64(1), np.uint8(2)]))
shapes = st.one_of(st.none(), st.lists(numbers, max_size=3).map(tuple), st.lists(numbers, max_size=3))
arrays = st.fixed_dictionaries(
    {
        "codec": st.sampled_from(["none", "lz4", ""]),
        "shape": shapes,
        "dtype": st.sampled_from([None, "<u2", "|u1", "O"]),
        "metadata": st.sampled_from([{}, {"x": 1}, {"s": [1]}]),
    }
)
values = st.one_of(st.none(), st.integers(-1, 5), st.text(max_size=3), st.lists(st.integers(-1, 9), max_size=3))
maps = st.dictionaries(st.sampled_from("csdmnpax"), values).map(msgpack.packb)
written = arrays.map(lambda layout: encoded(layout)[25:]).filter(bool)


def forget() -> None:
    layouts.forget_layouts()


def outcome(work: Callable[[], Any]) -> object:
    try:
        return work()
    except EntryError as error:
        return str(error)


def encoded(layout: dict[str, Any]) -> bytes:
    found = outcome(lambda: encode_header(Header(payload_bytes=3, checksum=5, timestamp_ns=7, **layout)))
    return found if isinstance(found, bytes) else b""


@given(st.lists(arrays, max_size=6))
def test_a_header_is_packed_the_same_whatever_was_packed_before(several: list[dict[str, Any]]) -> None:
    alone = []
    for layout in several:
        forget()
        alone.append(encoded(layout))
    forget()
    assert [encoded(layout) for layout in several + several] == alone + alone


@settings(max_examples=40)
@given(st.lists(st.one_of(maps, written, st.binary(max_size=12)), max_size=6))
def test_a_header_is_read_the_same_whatever_was_read_before(packed_maps: list[bytes]) -> None:
    alone = []
    for packed_map in packed_maps:
        forget()
        alone.append(outcome(lambda: decode_header(FIXED + packed_map)))  # noqa: B023
    forget()
    again = [outcome(lambda: decode_header(FIXED + one)) for one in packed_maps + packed_maps]  # noqa: B023
    assert again == alone + alone


def test_what_is_remembered_is_bounded_and_not_shared_where_it_can_be_changed() -> None:
    forget()
    packed = [encode_header(Header(payload_bytes=3, checksum=5, timestamp_ns=7, shape=(n,))) for n in range(1000)]
    assert [decode_header(one).shape for one in packed] == [(n,) for n in range(1000)]
    assert len(layouts._read) <= layouts.LAYOUTS
    one, other = decode_header(packed[0]), decode_header(packed[0])
    assert one == other
    assert one.metadata is not other.metadata


names = st.sampled_from([b"h", b"b", b"n", b"p", b"i", b"k", b"f", b"r"])
strings = st.one_of(
    st.just(FIXED + b"\x80"), st.sampled_from([b"1", b"g", b"e", b"12", b"x", b""]), st.binary(max_size=30)
)
plain = st.tuples(strings, strings, strings, strings).map(
    lambda four: [b"h", four[0], b"b", four[1], b"n", four[2], b"p", four[3]]
)
flats = st.one_of(
    plain,
    plain.map(lambda flat: flat[:6]),
    st.lists(st.tuples(names, strings), max_size=5).map(lambda pairs: [one for pair in pairs for one in pair]),
)


@given(st.sampled_from([b"7-0", b"7-1", b"70-0"]), flats)
def test_an_entry_is_read_in_the_quick_way_as_in_the_usual_one(entry_id: bytes, flat: list[bytes]) -> None:
    assert read_answer([(entry_id, flat)]) == [read_entry(entry_id, fields_of(flat))]
