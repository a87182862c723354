"""Sum and maximum of all frames that come, pixel by pixel, in one pass over each frame.

Values that say nothing (the flag of unsigned pixels, negative ones of signed pixels, what is not finite) are left out:
a pixel that never had a value has none in the end, NaN in floats, the largest number in integers. Sums of integers stay
below that number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64

from beamstream.compiling import compiled

Image = npt.NDArray[Any]

FULL = 2**32 - 2
"""Where sums of integers stay; one more says that there is no value."""


def empty_powder(n_pixels: int, dtype: npt.DTypeLike) -> Image:
    """Return a powder of nothing for frames of a dtype, (2, n_pixels) uint32, of floats float64: sum and maximum."""
    if np.dtype(dtype).kind == "f":
        return np.full((2, n_pixels), np.nan)
    return np.full((2, n_pixels), FULL + 1, np.uint32)


def add_to_powder(powder: Image, pixels: Image) -> None:
    """Add a frame.

    Parameters
    ----------
    powder : (2, n_pixels) uint32 or float64
        Of `empty_powder`.
    pixels : (n_pixels,) integer of 32 bits at most, or float
        The frame as it lies in memory.
    """
    if pixels.dtype.kind == "f":
        _add_floats(powder[0], powder[1], pixels)
        return
    flag = int(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else -1
    _add_integers(powder[0], powder[1], pixels, flag)


@compiled
def _add_integers(sums: Image, largest: Image, pixels: Image, flag: int) -> None:
    for pixel in range(pixels.size):
        value = int64(pixels[pixel])
        if value < 0 or value == flag:
            continue
        before = int64(sums[pixel])
        if before > FULL:
            sums[pixel] = largest[pixel] = np.uint32(min(value, FULL))
        else:
            sums[pixel] = np.uint32(min(before + value, FULL))
            largest[pixel] = np.uint32(max(int64(largest[pixel]), value))


@compiled
def _add_floats(sums: Image, largest: Image, pixels: Image) -> None:
    for pixel in range(pixels.size):
        value = float(pixels[pixel])
        if not np.isfinite(value):
            continue
        if np.isnan(sums[pixel]):
            sums[pixel] = largest[pixel] = value
        else:
            sums[pixel] += value
            largest[pixel] = max(largest[pixel], value)
