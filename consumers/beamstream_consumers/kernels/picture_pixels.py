"""From a frame to the pixels of a picture, and what is in them: one pass for each.

A picture has unsigned integers of 16 or 32 bits, the largest of which stands for «no value». Values are counted by
number up to `N_EXACT`, above it in bins that are 1/2048 of their value wide (as HDR histograms do): percentiles and
histograms follow from the counts, to that resolution, and exactly for what nearly all pixels have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64

from beamstream.compiling import compiled

Image = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

N_EXACT = 4096
"""Values below this are counted one by one."""

HALF = N_EXACT // 2
"""Bins for each further power of two."""

LARGEST_FLOAT = 1e300
"""Floats beyond it are no values, like those that are not finite: what is made of them would not be either."""

N_LANES = 2
"""Interleaved counts: neighbours often have the same value, and a count would have to wait for the one before."""


def n_bins(dtype: npt.DTypeLike) -> int:
    """Return how many bins the values of an unsigned dtype have."""
    return N_EXACT + HALF * (8 * np.dtype(dtype).itemsize - 12)


def bin_values(dtype: npt.DTypeLike) -> npt.NDArray[np.float64]:
    """Return the smallest value of each bin, (n_bins,) float64."""
    numbers = np.arange(n_bins(dtype))
    power = np.maximum(numbers - N_EXACT, 0) // HALF + 1
    return np.where(numbers < N_EXACT, numbers, (HALF + (numbers - N_EXACT) % HALF) * 2.0**power)


def place_integers(pixels: Image, index: npt.NDArray[np.int32] | None, lowest: int, flag: int, out: Image) -> None:
    """Put integer pixels where they are seen.

    Parameters
    ----------
    pixels : (n_slow * n_fast,) integer
        A frame as it lies in memory.
    index : (n_rows * n_columns,) int32, optional
        Which pixel is seen at each place, -1 for none; None: the frame as it is.
    lowest : int
        Smaller values are none.
    flag : int
        Of a pixel that says nothing: the largest of an unsigned dtype; -1 where none does.
    out : (n_rows * n_columns,) uint16 or uint32
        Where they go; the largest number of its dtype where there is no value.
    """
    places = np.zeros(0, np.int32) if index is None else index
    _place_integers(pixels, places, index is not None, lowest, flag, np.iinfo(out.dtype).max, out)


def place_floats(pixels: Image, index: npt.NDArray[np.int32] | None, scale: float, offset: float, out: Image) -> None:
    """Put float pixels where they are seen, as round((value - offset) / scale); what is not finite is no value."""
    places = np.zeros(0, np.int32) if index is None else index
    _place_floats(pixels, places, index is not None, 1.0 / scale, offset, np.iinfo(out.dtype).max, out)


def count_values(image: Image, mask: npt.NDArray[np.bool_] | None) -> tuple[Counts, int, int, int]:
    """Count what is in a picture.

    Parameters
    ----------
    image : (n_slow, n_fast) uint16 or uint32, C-contiguous
        Pixels; the largest number of the dtype where there is no value.
    mask : (n_slow, n_fast) bool, optional
        True where a pixel is bad.

    Returns
    -------
    (n_bins,) int64
        How many good pixels have a value of each bin, see `bin_values`.
    int, int, int
        Sum of the good pixels, their largest, and how many pixels outside the mask have no value.
    """
    counts = np.zeros((N_LANES, n_bins(image.dtype)), np.int64)
    masked = np.zeros(1, np.bool_) if mask is None else mask.reshape(-1)
    flag = np.iinfo(image.dtype).max
    total, largest, n_flagged = _count_values(image.reshape(-1), masked, mask is not None, flag, counts)
    return counts.sum(axis=0), int(total), int(largest), int(n_flagged)


def float_range(pixels: Image) -> tuple[float, float, float, int, bool]:
    """Return smallest, largest and mean absolute value of what is finite, how many that are, and whether all are whole.

    Parameters
    ----------
    pixels : (n_pixels,) float
        Where nothing is finite, the numbers are 0.
    """
    low, high, absolute, n_finite, whole = _float_range(pixels)
    if not n_finite:
        return 0.0, 0.0, 0.0, 0, True
    return float(low), float(high), float(absolute) / n_finite, int(n_finite), bool(whole)


@compiled
def _float_range(pixels: Image) -> tuple[float, float, float, int, bool]:
    low, high, absolute, n_finite, whole = np.inf, -np.inf, 0.0, 0, True
    for pixel in range(pixels.size):
        value = float(pixels[pixel])
        if not abs(value) < LARGEST_FLOAT:
            continue
        n_finite += 1
        low = min(low, value)
        high = max(high, value)
        absolute += abs(value)
        whole = whole and value == np.floor(value)
    return low, high, absolute, n_finite, whole


@compiled
def _place_integers(
    pixels: Image, index: npt.NDArray[np.int32], indexed: bool, lowest: int, flag: int, none: int, out: Image
) -> None:
    kind = out.dtype.type
    for place in range(out.size):
        at = index[place] if indexed else place
        if at < 0:
            out[place] = kind(none)
            continue
        value = int64(pixels[at])
        out[place] = kind(none) if value < lowest or value == flag else kind(value)


@compiled
def _place_floats(
    pixels: Image,
    index: npt.NDArray[np.int32],
    indexed: bool,
    per_unit: float,
    offset: float,
    none: int,
    out: Image,
) -> None:
    kind = out.dtype.type
    for place in range(out.size):
        at = index[place] if indexed else place
        value = float(pixels[at]) if at >= 0 else np.nan
        if not abs(value) < LARGEST_FLOAT:
            out[place] = kind(none)
            continue
        number = np.floor((value - offset) * per_unit + 0.5)
        out[place] = kind(min(max(number, 0.0), float(none - 1)))


@compiled
def _bin_of(value: int) -> int:
    if value < N_EXACT:
        return value
    power = 1
    while value >> power >= N_EXACT:
        power += 1
    return N_EXACT + (power - 1) * HALF + (value >> power) - HALF


@compiled
def _count_values(
    image: Image, mask: npt.NDArray[np.bool_], masked: bool, flag: int, counts: Counts
) -> tuple[Any, Any, Any]:
    total, largest, n_flagged = int64(0), int64(0), 0
    for pixel in range(image.size):
        if masked and mask[pixel]:
            continue
        value = int64(image[pixel])
        if value == flag:
            n_flagged += 1
            continue
        counts[pixel & (N_LANES - 1), _bin_of(value)] += 1
        total += value
        largest = max(largest, value)
    return total, largest, n_flagged
