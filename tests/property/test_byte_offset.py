"""Byte offsets beside fabio's and beside ten lines of Python: the same bytes, the same numbers, or a refusal."""

from __future__ import annotations

import fabio.compression
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream import codecs
from beamstream.codecs.arrays import payload_view
from beamstream.codecs.byte_offset import decode_and_judge
from beamstream.errors import CodecError

I4 = np.dtype("<i4")
EDGES = [0, 1, -1, -2, 127, 128, -127, -128, -129, 32767, 32768, -32768, -32769, 2**31 - 1, -(2**31)]
VALUES = st.lists(st.one_of(st.sampled_from(EDGES), st.integers(-(2**31), 2**31 - 1), st.integers(-2, 3)), min_size=1)
COUNTS = st.lists(st.one_of(st.sampled_from(EDGES[:-2]), st.integers(-(2**30), 2**30), st.integers(-2, 3)), min_size=1)
"""Values whose differences fit 32 bits: fabio packs others wrongly."""

DTYPES = st.sampled_from(["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", ">i4"])


def reference(payload: bytes, n: int, dtype: np.dtype) -> list[int]:
    """Unpack as the manual says, in Python's integers."""
    values, value, at = [], 0, 0
    limits = np.iinfo(dtype)
    for _ in range(n):
        size = 1
        while True:
            part = payload[at : at + size]
            if len(part) < size:
                raise ValueError("cut off")
            at += size
            delta = int.from_bytes(part, "little", signed=True)
            if size == 8 or delta != -(1 << (8 * size - 1)):
                break
            size *= 2
        value += delta
        if dtype.itemsize == 8:
            value = (value + 2**63) % 2**64 - 2**63
        if not limits.min <= value <= limits.max:
            raise ValueError("out of range")
        values.append(value)
    if at != len(payload):
        raise ValueError("left over")
    return values


@given(values=COUNTS)
def test_we_pack_the_very_bytes_that_fabio_packs(values):
    array = np.array(values, I4)
    assert bytes(codecs.encode(array, "byte-offset")) == fabio.compression.compByteOffset(array)


@given(values=COUNTS)
def test_we_unpack_what_fabio_unpacks(values):
    packed = fabio.compression.compByteOffset(np.array(values, I4))
    by_fabio = fabio.compression.decByteOffset(packed, size=len(values), dtype="int32")
    np.testing.assert_array_equal(codecs.decode(packed, "byte-offset", (len(values),), I4), by_fabio)


@given(payload=st.binary(min_size=1, max_size=80) | st.lists(st.sampled_from([0, 1, 127, 128, 129, 255])).map(bytes),
       n=st.integers(1, 40), dtype=DTYPES)  # fmt: skip
def test_any_bytes_are_what_the_manual_says_or_refused(payload, n, dtype):
    dtype = np.dtype(dtype)
    try:
        expected = reference(payload, n, dtype)
    except ValueError:
        with pytest.raises(CodecError):
            codecs.decode(payload, "byte-offset", (n,), dtype)
        return
    assert codecs.decode(payload, "byte-offset", (n,), dtype).tolist() == expected


@given(values=VALUES, data=st.data())
def test_what_we_call_shortest_is_packed_like_that_again(values, data):
    payload = bytes(codecs.encode(np.array(values, I4), "byte-offset"))
    longer = data.draw(st.booleans())
    if longer:  # a first difference of two bytes where one would do
        payload = b"\x80\x01\x00" + payload[1:] if values[0] == 1 else b"\x80\x00\x00" + payload
        values = values if values[0] == 1 else [0, *values]
    array, is_shortest = decode_and_judge(payload_view(payload), (len(values),), I4)
    assert is_shortest is not longer
    assert (bytes(codecs.encode(array, "byte-offset")) == payload) is is_shortest


def test_a_sum_over_64_bits_is_refused_where_an_element_has_32():
    largest = (2**63 - 1).to_bytes(8, "little")
    leap = b"\x80\x00\x80\x00\x00\x00\x80"
    with pytest.raises(CodecError, match="element 1 does not fit"):
        codecs.decode(b"\x05" + leap + largest, "byte-offset", (2,), I4)
    assert codecs.decode(b"\x05" + leap + largest, "byte-offset", (2,), np.dtype("<i8")).tolist() == [5, -(2**63) + 4]


def test_small_steps_out_of_the_range_are_refused():
    full = (2**31 - 1).to_bytes(4, "little")
    payload = b"\x80\x00\x80" + full + b"\x01" + bytes(300)
    with pytest.raises(CodecError, match="element 1 does not fit"):
        codecs.decode(payload, "byte-offset", (302,), I4)
