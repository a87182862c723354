"""Every codec: what it gives back, where it puts it, and what it refuses before anything is allocated."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from beamstream import codecs
from beamstream.errors import CodecError, CorruptPayloadError, PayloadSizeError, ShapeError, UnknownCodecError

NAMES = tuple(codecs.CODECS)
PACKED = tuple(name for name in NAMES if name != "none")
U2 = np.dtype("<u2")


@pytest.fixture
def image():
    """Counts of a weak image with a few strong pixels and masked ones; its size is no multiple of a block."""
    image = np.random.default_rng(7).poisson(1.2, (43, 285)).astype(U2)
    image[5, 7] = 40000
    image[:, 140:144] = 0xFFFF
    return image


@pytest.fixture(params=NAMES)
def codec(request):
    return request.param


def test_every_codec_gives_back_what_it_packed(image, codec):
    unpacked = codecs.decode(codecs.encode(image, codec), codec, image.shape, image.dtype)
    assert unpacked.dtype == image.dtype
    np.testing.assert_array_equal(unpacked, image)


def test_pixels_go_into_the_array_that_is_given(image, codec):
    out = np.zeros_like(image)
    assert codecs.decode(codecs.encode(image, codec), codec, image.shape, image.dtype, out) is out
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_payload_may_be_any_kind_of_bytes(image, codec, wrap):
    payload = wrap(bytes(codecs.encode(image, codec)))
    np.testing.assert_array_equal(codecs.decode(payload, codec, image.shape, image.dtype), image)


def test_a_payload_may_begin_anywhere_in_memory(image, codec):
    payload = memoryview(b"odd" + bytes(codecs.encode(image, codec)))[3:]
    np.testing.assert_array_equal(codecs.decode(payload, codec, image.shape, image.dtype), image)


def test_out_may_begin_anywhere_in_memory(image, codec):
    out = np.zeros(image.nbytes + 1, np.uint8)[1:].view(U2).reshape(image.shape)
    codecs.decode(codecs.encode(image, codec), codec, image.shape, image.dtype, out)
    np.testing.assert_array_equal(out, image)


def test_the_byte_order_of_an_array_is_kept(image, codec):
    swapped = image.astype(">u2")
    unpacked = codecs.decode(codecs.encode(swapped, codec), codec, swapped.shape, swapped.dtype)
    assert unpacked.dtype == np.dtype(">u2")
    np.testing.assert_array_equal(unpacked, image)


def test_uncompressed_pixels_are_a_read_only_view_of_the_payload(image):
    payload = bytearray(image.tobytes())
    view = codecs.decode(payload, "none", image.shape, image.dtype)
    payload[0] ^= 0xFF
    assert view[0, 0] == image[0, 0] ^ 0xFF
    assert not view.flags.writeable


@pytest.mark.parametrize("codec", PACKED)
def test_unpacked_pixels_can_be_written_to(image, codec):
    assert codecs.decode(codecs.encode(image, codec), codec, image.shape, image.dtype).flags.writeable


def test_an_unknown_codec_is_named_with_those_that_are_known(image):
    with pytest.raises(UnknownCodecError, match=r"trpx.*known: none, lz4, lz4-block, bslz4"):
        codecs.decode(b"", "trpx", image.shape, image.dtype)


def misfits(image):
    """Give arrays that cannot take the image, by the word that the error must hold."""
    read_only = np.zeros_like(image)
    read_only.flags.writeable = False
    return {
        "the frame is": np.zeros(image.shape[::-1], U2),
        "int16": np.zeros(image.shape, "i2"),
        "C-contiguous": np.zeros(image.shape[::-1], U2).T,
        "read-only": read_only,
    }


@pytest.mark.parametrize("reason", ["the frame is", "int16", "C-contiguous", "read-only"])
def test_an_out_that_does_not_fit_is_refused(image, codec, reason):
    with pytest.raises(ShapeError, match=reason):
        codecs.decode(codecs.encode(image, codec), codec, image.shape, image.dtype, misfits(image)[reason])


IMPOSSIBLE = [
    ((), U2, "0 axes"),
    ((0, 4), U2, "positive"),
    ((4, -4), U2, "positive"),
    ((2.0, 2), U2, "positive"),
    ((1,) * 33, U2, "33 axes"),
    ((2**40, 2**40), U2, "limit"),
    ((4,), np.dtype("c16"), "none of the numbers"),
    ((4,), np.dtype("O"), "none of the numbers"),
    ((4,), np.dtype("M8[s]"), "none of the numbers"),
    ((4,), np.dtype("S2"), "none of the numbers"),
]


@pytest.mark.parametrize(("shape", "dtype", "reason"), IMPOSSIBLE)
def test_a_payload_of_an_impossible_shape_or_dtype_is_corrupt(codec, shape, dtype, reason):
    with pytest.raises(CorruptPayloadError, match=reason):
        codecs.decode(b"\0" * 64, codec, shape, dtype)


@pytest.mark.parametrize("array", [np.zeros(()), np.zeros((0, 3)), np.zeros(4, "c16"), np.zeros((4, 6)).T])
def test_an_array_that_cannot_be_packed_is_refused(codec, array):
    with pytest.raises(ShapeError, match="cannot be packed"):
        codecs.encode(array, codec)


def test_a_payload_for_another_shape_is_refused(image, codec):
    payload = codecs.encode(image, codec)
    with pytest.raises(CodecError):
        codecs.decode(payload, codec, (image.shape[0] + 1, image.shape[1]), image.dtype)


def test_an_empty_payload_is_refused(image, codec):
    with pytest.raises(CodecError):
        codecs.decode(b"", codec, image.shape, image.dtype)


def test_bytes_left_over_are_refused(image, codec):
    payload = bytes(codecs.encode(image, codec)) + b"\0"
    with pytest.raises(CodecError):
        codecs.decode(payload, codec, image.shape, image.dtype)


def test_a_payload_with_gaps_is_the_callers_fault(codec):
    with pytest.raises(ShapeError, match="gaps"):
        codecs.decode(memoryview(bytes(64))[::2], codec, (4,), U2)


@pytest.mark.parametrize("codec", PACKED)
def test_little_bytes_cannot_claim_much_memory(codec):
    header = struct.pack(">QI", 2**30, 8192) if codec != "lz4-block" else b""
    tracemalloc.start()
    # 2**30 / 255, rounded up; of byte offsets, one for each element
    least_bytes = 2**29 if codec == "byte-offset" else 4210753
    with pytest.raises(PayloadSizeError, match=f"{least_bytes} bytes were expected"):
        codecs.decode(header + b"\x1f\0\1\0" + b"\xff" * 1000, codec, (2**28, 2), U2)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**20


def test_importing_the_codecs_does_not_import_numba():
    program = "import beamstream.codecs, sys; print('numba' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "False"
