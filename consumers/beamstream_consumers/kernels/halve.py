"""Halve the edge of an image: each pixel says the largest, or the mean, of the up to four below it with a value.

One pass, nothing allocated but the result; the odd last row and column stand for themselves. The flag, which says «no
value», is the largest number of the dtype: one added to it wraps to 0, so that the largest of what is left is found
without asking.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64

from beamstream.compiling import compiled

Image = npt.NDArray[Any]


def halve_by_max(image: Image) -> Image:
    """Return the largest value of each 2 x 2 pixels.

    Parameters
    ----------
    image : (n_slow, n_fast) uint16 or uint32
        Pixels; the largest number of the dtype where there is no value.

    Returns
    -------
    (ceil(n_slow / 2), ceil(n_fast / 2)) of the same dtype
    """
    out = _half(image)
    one = image.dtype.type(1)
    _halve_max(np.ascontiguousarray(image), one, out)
    return out


def halve_by_mean(image: Image) -> Image:
    """Return the mean of what has a value of each 2 x 2 pixels, rounded down; parameters as of `halve_by_max`."""
    out = _half(image)
    _halve_mean(np.ascontiguousarray(image), np.iinfo(image.dtype).max, out)
    return out


def _half(image: Image) -> Image:
    n_slow, n_fast = image.shape
    return np.empty((-(-n_slow // 2), -(-n_fast // 2)), image.dtype)


@compiled
def _halve_max(image: Image, one: Any, out: Image) -> None:
    """Take the largest of `value + 1`, which is 0 where there is no value, and subtract 1 again."""
    n_slow, n_fast = image.shape
    kind = out.dtype.type
    for slow in range(n_slow // 2):
        above, below = image[2 * slow], image[2 * slow + 1]
        row = out[slow]
        for fast in range(n_fast // 2):
            first = max(kind(above[2 * fast] + one), kind(above[2 * fast + 1] + one))
            second = max(kind(below[2 * fast] + one), kind(below[2 * fast + 1] + one))
            row[fast] = kind(max(first, second) - one)
    if n_fast % 2:
        for slow in range(n_slow // 2):
            largest = max(kind(image[2 * slow, n_fast - 1] + one), kind(image[2 * slow + 1, n_fast - 1] + one))
            out[slow, n_fast // 2] = kind(largest - one)
    if n_slow % 2:
        for fast in range(n_fast // 2):
            largest = max(kind(image[n_slow - 1, 2 * fast] + one), kind(image[n_slow - 1, 2 * fast + 1] + one))
            out[n_slow // 2, fast] = kind(largest - one)
        if n_fast % 2:
            out[n_slow // 2, n_fast // 2] = image[n_slow - 1, n_fast - 1]


@compiled
def _mean_of(first: Any, second: Any, third: Any, fourth: Any, flag: Any) -> Any:
    """Return the mean of those that are not the flag; a quotient by 4 is a shift, and most pixels have that."""
    if first != flag and second != flag and third != flag and fourth != flag:
        return (first + second + third + fourth) >> 2
    total, n_good = 0, 0
    for value in (first, second, third, fourth):
        if value != flag:
            total += value
            n_good += 1
    return flag if n_good == 0 else total // n_good


@compiled
def _halve_mean(image: Image, flag: int, out: Image) -> None:
    n_slow, n_fast = image.shape
    for slow in range(out.shape[0]):
        above = image[2 * slow]
        below = image[min(2 * slow + 1, n_slow - 1)]
        alone = 2 * slow + 1 == n_slow
        row = out[slow]
        for fast in range(n_fast // 2):
            third, fourth = int64(below[2 * fast]), int64(below[2 * fast + 1])
            if alone:
                third, fourth = int64(flag), int64(flag)
            row[fast] = _mean_of(int64(above[2 * fast]), int64(above[2 * fast + 1]), third, fourth, flag)
        if n_fast % 2:
            last = int64(flag) if alone else int64(below[n_fast - 1])
            row[n_fast // 2] = _mean_of(int64(above[n_fast - 1]), last, int64(flag), int64(flag), int64(flag))
