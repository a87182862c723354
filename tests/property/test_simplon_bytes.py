"""Random damage to good SIMPLON messages: they decode or raise one of our errors, whatever is changed."""

from __future__ import annotations

import contextlib
import struct

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream_producers.formats.simplon import (
    Image,
    Pixels,
    SimplonError,
    Start,
    Ticks,
    decode,
    encode_image,
    encode_start,
)
from beamstream_producers.formats.simplon.skeleton import LARGE_BYTES, LARGE_TAG, skeleton

PIXELS = Pixels(shape=(2, 4), dtype="<u2", codec="bslz4", payload=struct.pack(">QI", 16, 8192) + bytes(16))
GOOD = [
    [bytes(part) for part in message]
    for version in (1, 2)
    for message in (
        encode_start(Start(version=version, series_id=1, header_detail="all", config={"nimages": 3, "a": [1, {}]})),
        encode_image(
            Image(
                version=version,
                series_id=1,
                image_id=0,
                channels={"threshold_1": PIXELS},
                start=Ticks(count=5),
            )
        ),
    )
]


def _decodes_or_refuses(parts: list[bytes]) -> None:
    with contextlib.suppress(SimplonError):
        decode(parts)


@settings(max_examples=400)
@given(st.sampled_from(GOOD), st.data())
def test_a_damaged_message_decodes_or_is_refused(parts, data):
    index = data.draw(st.integers(0, len(parts) - 1))
    damaged = bytearray(parts[index])
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    _decodes_or_refuses([*parts[:index], bytes(damaged), *parts[index + 1 :]])
    _decodes_or_refuses([*parts[:index], bytes(damaged[:cut]), *parts[index + 1 :]])


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    leaves | st.binary(max_size=40) | st.binary(min_size=LARGE_BYTES - 1, max_size=LARGE_BYTES + 1),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=30), inner, max_size=30),
    max_leaves=30,
)


@settings(max_examples=200)
@given(values)
def test_a_skeleton_with_its_large_strings_is_the_whole_message(value):
    reduced, large = skeleton(memoryview(cbor2.dumps(value)))

    def put_back(*arguments):
        tag = next(item for item in arguments if isinstance(item, cbor2.CBORTag))
        assert tag.tag == LARGE_TAG
        return bytes(large[tag.value])

    assert cbor2.loads(reduced, tag_hook=put_back) == value
    assert all(len(content) >= LARGE_BYTES for content in large)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=64), max_size=10))
def test_random_parts_decode_or_are_refused(parts):
    _decodes_or_refuses(parts)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_cbor_maps_decode_or_are_refused(tail):
    for begin in (b"\xd9\xd9\xf7\xa2\x64type\x65image", b"\xbf\x64type\x65start\x69series_id\x01", b"\xb8"):
        _decodes_or_refuses([begin + tail])
