"""Bin an image: sums over square blocks of pixels, with masked pixels left out.

Sums are exact. Counts up to 16 bits come back as uint32, 32-bit counts as uint64 (int64 where signed): two
saturated 32-bit pixels do not fit into 32 bits, and the upper zero bytes cost next to nothing once
bit-shuffled and compressed. Floats are summed in float64, in row order: the same result everywhere.

Policy: a sum is of what was counted, and nothing is made up for pixels that are left out; `scale_blocks` does that, for
whoever wants a picture without dark seams. Decision 0023 says why, and why unpacking is a step of its own.

Detector axes are seldom multiples of the factor (an Eiger2 4M has 2162 x 2068 pixels): the last block of an
axis then covers the pixels that are left, and counts what they hold. No pixel is lost, and block (i, j)
always begins at pixel (i * factor, j * factor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import uint32, uintp

from beamstream.compiling import compiled
from beamstream.errors import ShapeError

MAX_FACTOR = 256
"""Largest edge of a block [pixels]: 256 x 256 saturated 16-bit pixels still fit into 32 bits."""

_SUM_DTYPES = {
    "uint8": "uint32",
    "uint16": "uint32",
    "uint32": "uint64",
    "int8": "int32",
    "int16": "int32",
    "int32": "int64",
    "float32": "float64",
    "float64": "float64",
}

_NO_MASK = np.zeros((1, 1), dtype=np.uint8)
"""What the kernels are given where there is no mask; they do not look at it."""


def sum_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype that holds the sums over blocks of `dtype` without loss.

    Raises
    ------
    ShapeError
        If blocks of `dtype` cannot be summed (64-bit integers, complex numbers, records).
    """
    name = np.dtype(dtype).name
    if name not in _SUM_DTYPES:
        raise ShapeError(f"images of {name} cannot be binned; possible are {', '.join(_SUM_DTYPES)}")
    return np.dtype(_SUM_DTYPES[name])


def binned_shape(shape: tuple[int, ...], factor: int) -> tuple[int, int]:
    """Return how many blocks of `factor` pixels, the partial ones at the ends included, cover `shape`.

    Raises
    ------
    ShapeError
        If `shape` is not that of an image, or `factor` is not between 1 and `MAX_FACTOR`.
    """
    if len(shape) != 2:
        raise ShapeError(f"an image has two axes, this array has shape {shape}")
    if not 1 <= factor <= MAX_FACTOR:
        raise ShapeError(f"blocks of {factor} pixels are not possible; the factor is 1 to {MAX_FACTOR}")
    return -(-shape[0] // factor), -(-shape[1] // factor)


def sum_blocks(
    image: npt.NDArray[Any],
    factor: int,
    mask: npt.NDArray[np.bool_] | None = None,
    out: npt.NDArray[Any] | None = None,
    *,
    masked_value: int | None = None,
) -> npt.NDArray[Any]:
    """Add up square blocks of pixels, leaving masked ones out; see `sum_and_count`, which also counts those."""
    return sum_and_count(image, factor, mask, out, masked_value=masked_value)[0]


def sum_and_count(
    image: npt.NDArray[Any],
    factor: int,
    mask: npt.NDArray[np.bool_] | None = None,
    out: npt.NDArray[Any] | None = None,
    *,
    masked_value: int | None = None,
) -> tuple[npt.NDArray[Any], int]:
    """Add up square blocks of pixels, leaving masked ones out, and count these.

    Parameters
    ----------
    image : (n_slow, n_fast) uint8, uint16, uint32, int8, int16, int32, float32 or float64
        Counts [photons per pixel]. NaN counts as masked.
    factor : int
        Edge of a block [pixels]; blocks at the far ends cover what is left where it does not divide an axis.
    mask : (n_slow, n_fast) bool, optional
        True where a pixel is bad.
    out : (ceil(n_slow / factor), ceil(n_fast / factor)) `sum_dtype(image.dtype)`, optional
        Where to put the sums.
    masked_value : int, optional
        Pixels of this value are left out too. DECTRIS detectors write the largest value of the dtype into pixels that
        are masked or saturated; see `flag_value`.

    Returns
    -------
    (ceil(n_slow / factor), ceil(n_fast / factor)) `sum_dtype(image.dtype)`
        Counts [photons per block]; 0 where no good pixel is left. `out` if it was given.
    int
        How many pixels were left out.

    Raises
    ------
    ShapeError
        If `image` is no image of these dtypes, `factor` is out of range, or `mask` or `out` does not fit.
    """
    shape = binned_shape(image.shape, factor)
    dtype = sum_dtype(image.dtype)
    if mask is not None:
        _check("the mask", mask, image.shape, np.dtype(np.bool_))
    if out is None:
        out = np.empty(shape, dtype=dtype)
    else:
        _check("out", out, shape, dtype)
    return out, _filler(image.dtype, factor, masked_value)(image, mask, out)


def sum_slabs(
    slabs: Iterable[tuple[int, npt.NDArray[Any]]],
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    factor: int,
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    masked_value: int | None = None,
) -> tuple[npt.NDArray[Any], int]:
    """Do as `sum_and_count` with an image that comes some rows at a time, e.g. from `beamstream.codecs.slabs`.

    Parameters
    ----------
    slabs : iterable of (int, (n, n_fast) array)
        Number of the first row, a multiple of `factor`, and the rows; in order, all of them.
    shape, dtype
        Those of the image.
    factor, mask, masked_value
        As of `sum_and_count`.

    Raises
    ------
    ShapeError
        As `sum_and_count`.
    """
    out = np.empty(binned_shape(shape, factor), dtype=sum_dtype(dtype))
    if mask is not None:
        _check("the mask", mask, (shape[0], shape[1]), np.dtype(np.bool_))
    fill = _filler(np.dtype(dtype), factor, masked_value)
    n_bad = 0
    for row, pixels in slabs:
        blocks = out[row // factor : -(-(row + pixels.shape[0]) // factor)]
        part = None if mask is None else mask[row : row + pixels.shape[0]]
        n_bad += fill(pixels, part, blocks)
    return out, n_bad


def scale_blocks(
    image: npt.NDArray[Any],
    factor: int,
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    masked_value: int | None = None,
) -> tuple[npt.NDArray[np.float32], int]:
    """Say what square blocks would have counted if all their pixels were good; parameters as of `sum_and_count`.

    Parameters
    ----------
    image : (n_slow, n_fast) any dtype that `sum_and_count` takes
        Counts [photons per pixel]. NaN counts as masked.
    factor : int
        Edge of a block [pixels].
    mask : (n_slow, n_fast) bool, optional
        True where a pixel is bad.
    masked_value : int, optional
        Pixels of this value are left out too.

    Returns
    -------
    (ceil(n_slow / factor), ceil(n_fast / factor)) float32
        Mean of a block's good pixels times ``factor ** 2`` [photons per block], so that blocks with bad pixels, and
        those that reach over the end of an axis, are as bright as their neighbours; NaN where no good pixel is left.
    int
        How many pixels were left out.

    Raises
    ------
    ShapeError
        As `sum_and_count`.
    """
    sums, n_bad = sum_and_count(image, factor, mask, masked_value=masked_value)
    good = np.ones(image.shape, np.uint8) if mask is None else np.logical_not(mask).view(np.uint8)
    if masked_value is not None:
        good &= image != masked_value
    if image.dtype.kind == "f":
        good &= ~np.isnan(image)
    n_good = sum_blocks(good, factor)
    scaled = np.full(sums.shape, np.nan, np.float32)
    np.divide(sums * float(factor**2), n_good, out=scaled, where=n_good > 0, casting="same_kind")
    return scaled, n_bad


def flag_value(dtype: npt.DTypeLike) -> int | None:
    """Return what DECTRIS writes into masked or saturated pixels: all bits set; None unless unsigned."""
    kind = np.dtype(dtype)
    return int(np.iinfo(kind).max) if kind.kind == "u" else None


Fill = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_] | None, npt.NDArray[Any]], int]
"""Fills an array of blocks from an image (or rows of one) and its mask; returns how many pixels were left out."""


def _filler(dtype: np.dtype[Any], factor: int, masked_value: int | None) -> Fill:
    """Return what fills blocks from pixels of this dtype: everything is decided that is the same for all of them."""
    native = dtype.newbyteorder("=")
    if masked_value is not None and native.kind in "ui":
        limits = np.iinfo(native)
        masked_value = masked_value if limits.min <= masked_value <= limits.max else None
    kernel = _sum_floats if native.kind == "f" else _sum_integers
    flagged, flag = masked_value is not None, native.type(masked_value or 0)

    def fill(image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, out: npt.NDArray[Any]) -> int:
        used = _NO_MASK if mask is None else mask.view(np.uint8)
        return kernel(image.astype(native, copy=False), factor, mask is not None, used, flagged, flag, out)

    return fill


def _check(what: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise `ShapeError` unless `array` is of this shape and dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ShapeError(f"{what} is {array.shape} {array.dtype}; needed is {shape} {dtype}")


@compiled
def _sum_integers(
    image: npt.NDArray[Any],
    factor: int,
    masked: bool,
    mask: npt.NDArray[np.uint8],
    flagged: bool,
    flag: Any,
    out: npt.NDArray[Any],
) -> int:
    """Fill `out` and return how many pixels were left out: rows are added up, then the sums of columns."""
    n_slow, n_fast = image.shape
    columns = np.empty(n_fast, out.dtype)
    n_bad = 0
    for slow in range(n_slow):
        row = image[uintp(slow)]
        mask_row = mask[uintp(slow if masked else 0)]
        n_bad += _add_row(row, masked, mask_row, flagged, flag, slow % factor == 0, columns)
        if slow % factor == factor - 1 or slow == n_slow - 1:
            _add_columns(columns, factor, out[uintp(slow // factor)])
    return n_bad


@compiled
def _add_row(
    row: npt.NDArray[Any],
    masked: bool,
    mask: npt.NDArray[np.uint8],
    flagged: bool,
    flag: Any,
    first: bool,
    columns: npt.NDArray[Any],
) -> int:
    """Add the good pixels of a row to `columns`, or put them there if it is the first; return how many are bad.

    There is no branch in the loop, and numbers are cut to their width again after each addition: LLVM then makes
    vector code of it.
    """
    n_bad = uint32(0)
    number = columns.dtype.type
    for k in range(columns.size):
        at = uintp(k)
        value = row[at]
        bad = (masked and mask[at] != 0) | (flagged & (value == flag))
        good_value = number(0) if bad else number(value)
        columns[at] = good_value if first else number(columns[at] + good_value)
        n_bad = uint32(n_bad + uint32(bad))
    return int(n_bad)


@compiled
def _add_columns(columns: npt.NDArray[Any], factor: int, out: npt.NDArray[Any]) -> None:
    """Add up each `factor` columns; the last block takes what is left."""
    number = out.dtype.type
    n_whole = columns.size // factor
    if factor == 2:  # the loop below, unrolled, so that LLVM makes vector code of it
        for k in range(n_whole):
            out[uintp(k)] = number(columns[uintp(2 * k)] + columns[uintp(2 * k + 1)])
    else:
        for k in range(n_whole):
            total = number(0)
            for i in range(k * factor, (k + 1) * factor):
                total = number(total + columns[uintp(i)])
            out[uintp(k)] = total
    if n_whole < out.size:
        total = number(0)
        for i in range(n_whole * factor, columns.size):
            total = number(total + columns[uintp(i)])
        out[uintp(n_whole)] = total


@compiled
def _sum_floats(
    image: npt.NDArray[Any],
    factor: int,
    masked: bool,
    mask: npt.NDArray[np.uint8],
    flagged: bool,
    flag: Any,
    out: npt.NDArray[Any],
) -> int:
    """Do as `_sum_integers`, with each block's pixels added one after the other, row by row: order matters here."""
    n_slow, n_fast = image.shape
    n_bad = 0
    out[:] = 0
    for slow in range(n_slow):
        block_slow = slow // factor
        block_fast = 0
        left = factor
        for fast in range(n_fast):
            if left == 0:
                block_fast += 1
                left = factor
            left -= 1
            value = image[slow, fast]
            bad = (masked and mask[slow, fast] != 0) or (flagged and value == flag) or value != value
            if bad:
                n_bad += 1
            else:
                out[block_slow, block_fast] += value
    return n_bad
