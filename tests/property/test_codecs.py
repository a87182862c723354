"""Codecs under any array and any damage: the right array, or a `CodecError`; never anything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamstream import codecs
from beamstream.errors import CodecError

# the first example compiles the kernels; nothing here is timed
PATIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

NAMES = st.sampled_from(tuple(codecs.CODECS))
DTYPES = st.sampled_from([np.dtype(name) for name in ("u1", "<u2", "<u4", "<i4", "<f4", "<u8", ">u2")])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40)


@st.composite
def images(draw):
    """Draw arrays as detectors make them: dense, sparse, repeating or noise, seldom a multiple of 8 elements."""
    shape, dtype = draw(SHAPES), draw(DTYPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    content = rng.integers(0, draw(st.sampled_from([1, 2, 3, 17, 256])), n_bytes, dtype=np.uint8)
    content[rng.random(n_bytes) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    period = draw(st.integers(1, n_bytes))
    return np.resize(content[:period], n_bytes).view(dtype).reshape(shape)


@pytest.fixture(params=[False, True], ids=["new", "out"])
def into(request):
    """Whether to unpack into a given array: with `dectris-compression` installed that is another way."""
    return request.param


def unpack(payload, codec, image, into):
    return codecs.decode(payload, codec, image.shape, image.dtype, np.zeros_like(image) if into else None)


def unpack_or_refuse(payload, codec, image, into):
    """Unpack what may be damaged; fail on anything but an array of the right kind or a `CodecError`."""
    try:
        unpacked = unpack(payload, codec, image, into)
    except CodecError:
        return
    assert (unpacked.shape, unpacked.dtype) == (image.shape, image.dtype)


@PATIENT
@given(image=images(), codec=NAMES)
def test_any_array_comes_back(image, codec, into):
    unpacked = unpack(codecs.encode(image, codec), codec, image, into)
    assert (unpacked.shape, unpacked.dtype, unpacked.tobytes()) == (image.shape, image.dtype, image.tobytes())


@PATIENT
@given(image=images(), codec=NAMES, data=st.data())
def test_a_payload_cut_off_anywhere_is_refused(image, codec, into, data):
    payload = bytes(codecs.encode(image, codec))
    length = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(CodecError):
        unpack(payload[:length], codec, image, into)


@PATIENT
@given(image=images(), codec=NAMES, data=st.data())
def test_flipped_bytes_do_no_harm(image, codec, into, data):
    payload = bytearray(codecs.encode(image, codec))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    unpack_or_refuse(payload, codec, image, into)


@PATIENT
@given(image=images(), codec=NAMES, data=st.data())
def test_flipped_bytes_behind_the_header_do_no_harm(image, codec, into, data):
    payload = bytearray(codecs.encode(image, codec))
    first = min(16, len(payload) - 1)  # header and first length stay whole, so the damage reaches the LZ4 itself
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(first, len(payload) - 1))
        payload[at] = data.draw(st.sampled_from([0, 1, 15, 16, 127, 240, 255]))
    unpack_or_refuse(payload, codec, image, into)


@PATIENT
@given(image=images(), codec=NAMES, payload=st.binary(max_size=200), with_header=st.booleans())
def test_random_bytes_do_no_harm(image, codec, into, payload, with_header):
    header = bytes(codecs.encode(image, codec))[:12] if with_header else b""
    unpack_or_refuse(header + payload, codec, image, into)
