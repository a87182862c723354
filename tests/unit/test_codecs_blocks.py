"""The frame around the blocks of `bslz4` and `lz4`: what detectors and other senders write, and what nobody may."""

from __future__ import annotations

import struct

import lz4.block
import numpy as np
import pytest

from beamstream import codecs
from beamstream.codecs import dectris
from beamstream.errors import CodecError, CorruptPayloadError, PayloadSizeError

U2 = np.dtype("<u2")
HEADER_BYTES = 12

needs_dectris = pytest.mark.skipif(
    dectris.decompressor() is None, reason="dectris-compression is not installed (extra 'fast')"
)


@pytest.fixture
def image():
    return np.random.default_rng(3).poisson(2.0, (64, 201)).astype(U2)


def lz4_chunk(data, block_bytes, stored=()):
    """Write an LZ4 chunk of several blocks, those named in `stored` as they are."""
    parts = [struct.pack(">QI", len(data), block_bytes)]
    for number, first in enumerate(range(0, len(data), block_bytes)):
        block = data[first : first + block_bytes]
        packed = block if number in stored else lz4.block.compress(block, store_size=False)
        parts += [struct.pack(">I", len(packed)), packed]
    return b"".join(parts)


def with_header(payload, total_bytes, block_bytes):
    return struct.pack(">QI", total_bytes, block_bytes) + bytes(payload[HEADER_BYTES:])


def test_lz4_of_several_blocks_is_unpacked(image):
    chunk = lz4_chunk(image.tobytes(), 8192)
    np.testing.assert_array_equal(codecs.decode(chunk, "lz4", image.shape, U2), image)


def test_an_lz4_block_as_long_as_its_content_is_taken_as_it_is(image):
    chunk = lz4_chunk(image.tobytes(), 8192, stored={1, 3})
    np.testing.assert_array_equal(codecs.decode(chunk, "lz4", image.shape, U2), image)


def test_bslz4_block_size_0_means_the_default_of_8192_bytes(image):
    payload = codecs.encode(image, "bslz4")
    assert struct.unpack(">QI", payload[:HEADER_BYTES]) == (image.nbytes, 8192)
    chunk = with_header(payload, image.nbytes, 0)
    np.testing.assert_array_equal(codecs.decode(chunk, "bslz4", image.shape, U2), image)


def test_bslz4_of_small_blocks_is_unpacked():
    image = np.arange(8 * 5 + 3, dtype=U2)
    blocks = [bytes(codecs.encode(image[k : k + 8], "bslz4"))[HEADER_BYTES:] for k in range(0, 40, 8)]
    chunk = struct.pack(">QI", image.nbytes, 16) + b"".join(blocks) + image[40:].tobytes()
    np.testing.assert_array_equal(codecs.decode(chunk, "bslz4", image.shape, U2), image)


@pytest.mark.parametrize("block_bytes", [1, 8, 24, 8191, 2**32 - 1])
def test_bslz4_blocks_that_are_not_whole_groups_of_8_are_refused(image, block_bytes):
    chunk = with_header(codecs.encode(image, "bslz4"), image.nbytes, block_bytes)
    with pytest.raises(CorruptPayloadError, match="whole groups of 8"):
        codecs.decode(chunk, "bslz4", image.shape, U2)


def test_lz4_block_size_0_is_refused(image):
    chunk = with_header(codecs.encode(image, "lz4"), image.nbytes, 0)
    with pytest.raises(CorruptPayloadError, match="blocks of 0 bytes"):
        codecs.decode(chunk, "lz4", image.shape, U2)


@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
@pytest.mark.parametrize("total_bytes", [0, 1, 2**63, 2**64 - 1])
def test_a_header_that_claims_another_size_is_refused(image, codec, total_bytes):
    chunk = with_header(codecs.encode(image, codec), total_bytes, 8192)
    with pytest.raises(PayloadSizeError) as raised:
        codecs.decode(chunk, codec, image.shape, U2)
    assert (raised.value.measured_bytes, raised.value.expected_bytes) == (total_bytes, image.nbytes)


def test_a_header_of_zeros_is_refused(image):
    chunk = bytes(HEADER_BYTES) + bytes(codecs.encode(image, "bslz4")[HEADER_BYTES:])
    with pytest.raises(PayloadSizeError):
        codecs.decode(chunk, "bslz4", image.shape, U2)


BROKEN_LZ4 = {
    "literals over the end of the block": b"\xf0\xff\xff\xff\x00",
    "a length without end": b"\xf0" + b"\xff" * 40,
    "offset 0": b"\x1fa\x00\x00" + b"\xff" * 8,
    "a match from before the block": b"\x1fa\x02\x00" + b"\x01" * 8,
    "half an offset": b"\x10a\x01",
    "too little": b"\x60abcdef",
    "too much": b"\x1fa\x01\x00" + b"\xff" * 40 + b"\x00",
}


@pytest.mark.parametrize("way", BROKEN_LZ4)
@pytest.mark.parametrize("codec", ["bslz4", "lz4", "lz4-block"])
@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
def test_broken_lz4_is_refused(codec, way, into):
    block = BROKEN_LZ4[way]
    payload = block if codec == "lz4-block" else struct.pack(">QII", 512, 512, len(block)) + block
    with pytest.raises(CodecError):
        codecs.decode(payload, codec, (256,), U2, np.zeros(256, U2) if into else None)


@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
def test_the_error_names_the_block(image, codec):
    chunk = bytearray(codecs.encode(image, "bslz4") if codec == "bslz4" else lz4_chunk(image.tobytes(), 8192))
    (length,) = struct.unpack_from(">I", chunk, HEADER_BYTES)
    struct.pack_into(">I", chunk, HEADER_BYTES + 4 + length, 2**31)
    with pytest.raises(CorruptPayloadError, match="block 1 reaches over the end"):
        codecs.decode(chunk, codec, image.shape, U2)


@needs_dectris
@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
def test_the_library_of_dectris_unpacks_into_an_array(image, codec):
    out = np.zeros_like(image)
    payload = np.frombuffer(codecs.encode(image, codec), np.uint8)
    dectris.unpack(payload, codec, out)
    np.testing.assert_array_equal(out, image)


@needs_dectris
@pytest.mark.parametrize("payload", [b"", b"\0" * 12, b"\xff" * 40, b"\x7f" + b"\xff" * 40])
@pytest.mark.parametrize("codec", ["bslz4", "lz4"])
def test_the_library_of_dectris_raises_codec_errors_only(codec, payload):
    with pytest.raises(CodecError):
        dectris.unpack(np.frombuffer(payload, np.uint8), codec, np.zeros(8, U2))


@needs_dectris
def test_the_library_of_dectris_is_used_only_where_it_pays():
    out = np.zeros(8, U2)
    assert dectris.pays(2**23, 2**24, out, below_ratio=4)
    assert not dectris.pays(2**23, 2**24, None, below_ratio=4)
    assert not dectris.pays(2**21, 2**24, out, below_ratio=4)
    assert not dectris.pays(2**25, 2**26, out, below_ratio=4)
