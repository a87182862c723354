"""Bin an image: sums over square blocks of pixels, with masked pixels left out.

Sums are exact. Counts up to 16 bits come back as uint32, 32-bit counts as uint64 (int64 where signed): two
saturated 32-bit pixels do not fit into 32 bits, and the upper zero bytes cost next to nothing once
bit-shuffled and compressed. Floats are summed in float64, in row order: the same result everywhere.

Detector axes are seldom multiples of the factor (an Eiger2 4M has 2162 x 2068 pixels): the last block of an
axis then covers the pixels that are left, and counts what they hold. No pixel is lost, and block (i, j)
always begins at pixel (i * factor, j * factor).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
    native = image.astype(image.dtype.newbyteorder("="), copy=False)
    used = np.zeros((1, 1), dtype=np.bool_) if mask is None else mask
    flagged = masked_value is not None
    return out, _sum_blocks(native, factor, mask is not None, used, flagged, masked_value or 0, out)


def flag_value(dtype: npt.DTypeLike) -> int | None:
    """Return what DECTRIS writes into masked or saturated pixels: all bits set; None unless unsigned."""
    kind = np.dtype(dtype)
    return int(np.iinfo(kind).max) if kind.kind == "u" else None


def _check(what: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise `ShapeError` unless `array` is of this shape and dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ShapeError(f"{what} is {array.shape} {array.dtype}; needed is {shape} {dtype}")


@compiled
def _sum_blocks(
    image: npt.NDArray[Any],
    factor: int,
    masked: bool,
    mask: npt.NDArray[np.bool_],
    flagged: bool,
    flag: int,
    out: npt.NDArray[Any],
) -> int:
    """Fill `out` and return how many pixels were left out; rows of the image are walked in memory order."""
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
            bad = (masked and mask[slow, fast]) or (flagged and value == flag) or value != value
            if bad:
                n_bad += 1
            else:
                out[block_slow, block_fast] += value
    return n_bad
