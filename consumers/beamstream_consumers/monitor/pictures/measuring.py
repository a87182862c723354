"""What a picture's good pixels say, unpooled: percentiles, a histogram of log10(1 + value), numbers.

All of it follows from one pass of counting; percentiles are values that a pixel has, exact below 4096 numbers of the
picture and to 1/2048 of their value above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.kernels.picture_pixels import bin_values, count_values

PERCENTILES = ("1", "50", "95", "99.5", "99.95")
"""As the protocol names them."""

LOG_STEP = 1 / 16
"""Width of a bin of log10(1 + value): 78 of them up to 2**16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is in a picture; the parts of `About` that follow from its pixels."""

    percentiles: Mapping[str, float]
    histogram: Mapping[str, Any]
    numbers: Mapping[str, float]


def measure(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None,
    *,
    n_empty: int = 0,
    n_masked: int = 0,
    scale: float = 1.0,
    offset: float = 0.0,
) -> Measured:
    """Measure a picture.

    Parameters
    ----------
    image : (n_slow, n_fast) uint16 or uint32
        Its pixels; the largest number of the dtype where there is no value.
    mask : (n_slow, n_fast) bool, optional
        True where a pixel is bad.
    n_empty : int
        Places between panels, outside the mask: they are no pixels, and counted as nothing.
    n_masked : int
        How many pixels the mask has.
    scale, offset : float
        Value = number · scale + offset.
    """
    counts, total, largest, n_flagged = count_values(image, mask)
    there = np.flatnonzero(counts)
    n_of = counts[there]
    values = _values(image.dtype.str)[there] * scale + offset
    n_good = int(n_of.sum())
    return Measured(
        percentiles=_percentiles(values, n_of, n_good),
        histogram=_histogram(values, n_of),
        numbers={
            "maximum": largest * scale + offset if n_good else 0.0,
            "mean": total / n_good * scale + offset if n_good else 0.0,
            "total": total * scale + n_good * offset,
            "n_good": n_good,
            "n_flagged": n_flagged - n_empty,
            "n_masked": n_masked,
        },
    )


@lru_cache(maxsize=4)
def _values(dtype: str) -> npt.NDArray[np.float64]:
    return bin_values(dtype)


def _percentiles(values: npt.NDArray[np.float64], n_of: npt.NDArray[np.int64], n_good: int) -> dict[str, float]:
    """Return the value that at least so much of the good pixels have or are below; 0 where there is none."""
    if not n_good:
        return dict.fromkeys(PERCENTILES, 0.0)
    up_to = np.cumsum(n_of)
    ranks = [max(1, int(np.ceil(float(name) / 100 * n_good))) for name in PERCENTILES]
    found = values[np.searchsorted(up_to, ranks)]
    return {name: float(value) for name, value in zip(PERCENTILES, found, strict=True)}


def _histogram(values: npt.NDArray[np.float64], n_of: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return counts of log10(1 + value), what is below 0 in the first bin, up to the last bin with a pixel."""
    numbers = np.floor(np.log10(1 + np.maximum(values, 0)) / LOG_STEP).astype(np.int64)
    counts = np.bincount(numbers, n_of, 1).astype(np.int64)
    return {"first": 0.0, "step": LOG_STEP, "counts": counts.tolist()}
