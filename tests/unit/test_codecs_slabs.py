"""Images unpacked some rows at a time: the same pixels as unpacked at once, and the same refusals."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream import codecs
from beamstream.codecs.slabs import SlabReader
from beamstream.errors import BeamstreamError, CodecError, ShapeError


def image_of(shape: tuple[int, ...], dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).poisson(3.0, shape).astype(dtype)


def joined(
    reader: SlabReader, payload: Any, codec: str, image: npt.NDArray[Any], multiple: int = 1
) -> npt.NDArray[Any]:
    """Put the slabs together again, and look at what is said of them."""
    rows = 0
    parts = []
    for row, slab in reader.slabs(payload, codec, image.shape, image.dtype, multiple):
        assert row == rows
        assert slab.dtype == image.dtype
        assert row % multiple == 0
        rows += slab.shape[0]
        parts.append(slab.copy())
    return np.concatenate(parts)


@pytest.mark.parametrize("codec", codecs.CODECS)
@pytest.mark.parametrize("slab_bytes", [1, 700, 20_000, 1 << 20])
def test_slabs_are_the_rows_of_the_image(codec: str, slab_bytes: int) -> None:
    reader = SlabReader(slab_bytes)
    for shape in ((1, 1), (3, 5), (7, 1), (97, 113), (200, 64)):
        for multiple in (1, 3):
            image = image_of(shape, "<u2")
            assert np.array_equal(joined(reader, codecs.encode(image, codec), codec, image, multiple), image)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<u4", "<i4", "<f4", "<f8"])
def test_slabs_keep_the_dtype(dtype: str) -> None:
    image = image_of((83, 71), dtype)
    assert np.array_equal(joined(SlabReader(900), codecs.encode(image, "bslz4"), "bslz4", image), image)


def rechunked(image: npt.NDArray[Any], n_block: int) -> bytes:
    """Pack an image in blocks of another size than the packer's own."""
    flat = image.reshape(-1)
    parts = [struct.pack(">QI", image.nbytes, n_block * image.itemsize)]
    n_grouped = flat.size - flat.size % 8
    for first in range(0, n_grouped, n_block):
        packed = bytes(codecs.encode(flat[first : min(first + n_block, n_grouped)], "bslz4"))
        parts.append(packed[12:])  # one block of its own, as blocks are packed one by one
    return b"".join([*parts, flat[n_grouped:].tobytes()])


@pytest.mark.parametrize("n_block", [8, 64, 4096])
def test_blocks_may_have_any_size(n_block: int) -> None:
    image = image_of((61, 67), "<u2")
    payload = rechunked(image, n_block)
    assert np.array_equal(codecs.decode(payload, "bslz4", image.shape, image.dtype), image)
    for slab_bytes in (1, 1000, 6000):
        assert np.array_equal(joined(SlabReader(slab_bytes), payload, "bslz4", image, 2), image)


def test_a_reader_is_used_for_images_of_all_kinds_one_after_the_other() -> None:
    reader = SlabReader(2000)
    for seed, (shape, dtype, codec) in enumerate(
        [((50, 40), "<u2", "bslz4"), ((90, 80), "<u4", "bslz4"), ((9, 8), "u1", "bslz4"), ((50, 40), "<u2", "lz4")] * 2
    ):
        image = image_of(shape, dtype, seed)
        assert np.array_equal(joined(reader, codecs.encode(image, codec), codec, image), image)


def outcome(call: Any) -> Any:
    try:
        return call().tolist()
    except BeamstreamError as error:
        return type(error), str(error)


def test_damaged_payloads_are_refused_as_they_are_at_once() -> None:
    image = image_of((40, 37), "<u2")
    good = bytes(codecs.encode(image, "bslz4"))
    rng = np.random.default_rng(7)
    reader = SlabReader(500)
    n_refused = 0
    for _ in range(400):
        bad = bytearray(good[: rng.integers(0, len(good))] if rng.random() < 0.2 else good)
        for _ in range(rng.integers(1, 4)):
            if bad:
                bad[rng.integers(0, len(bad))] = rng.integers(0, 256)
        at_once = outcome(lambda bad=bad: codecs.decode(bytes(bad), "bslz4", image.shape, image.dtype))
        by_rows = outcome(lambda bad=bad: joined(reader, bytes(bad), "bslz4", image))
        assert at_once == by_rows
        n_refused += isinstance(at_once, tuple)
    assert n_refused > 100


def test_a_chunk_that_breaks_off_is_refused_before_the_first_row() -> None:
    image = image_of((40, 37), "<u2")
    payload = bytes(codecs.encode(image, "bslz4"))[:-3]
    with pytest.raises(CodecError):
        next(SlabReader(100).slabs(payload, "bslz4", image.shape, image.dtype))


def test_only_images_have_rows() -> None:
    image = image_of((2, 3, 4), "<u2")
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\)"):
        next(SlabReader().slabs(codecs.encode(image, "bslz4"), "bslz4", image.shape, image.dtype))
