"""Background of each ring around the beam: mean and threshold after five rounds of clipping.

The sums of a round are over pixels strictly between the ring's bounds. Integer images are read once: how often each
small value occurs in each ring is counted, larger values are listed, and every round sums these up, exactly. Others,
and images of which more than a part of the pixels is large, are read once per round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.compiling import compiled

from .plan import LEFT_OUT

N_ROUNDS = 5
"""Rounds of clipping; OM's and Cheetah's number."""

WIDEST = 1e9
"""Bounds of the first round, below and above [counts]; OM's and Cheetah's number."""

N_VALUES = 256
"""Values from 0 that are counted, not listed; they fit a core's cache for all rings together [counts]."""

LISTED_SHARE = 8
"""Of this many pixels at most one may be too large to be counted; else the image is read once per round."""

Floats = npt.NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class RingSums:
    """Sums of one round, an element per ring: pixels, values [counts], squares [counts²]; filled anew every round."""

    n: npt.NDArray[np.int64]
    values: Floats
    squares: Floats


@dataclass(slots=True, kw_only=True)
class Bounds:
    """What the rounds so far have made of each ring.

    Attributes
    ----------
    lower, upper : (n_rings,) float64
        Pixels between them are background [counts]; `upper` in the end is the threshold.
    offset : (n_rings,) float64
        Mean of the background [counts].
    """

    lower: Floats
    upper: Floats
    offset: Floats


def widest_bounds(n_rings: int) -> Bounds:
    """Return what the first round begins with."""
    return Bounds(lower=np.full(n_rings, -WIDEST), upper=np.full(n_rings, WIDEST), offset=np.zeros(n_rings))


def empty_sums(n_rings: int) -> RingSums:
    """Return room for the sums of a round."""
    return RingSums(n=np.zeros(n_rings, np.int64), values=np.zeros(n_rings), squares=np.zeros(n_rings))


def narrow(bounds: Bounds, sums: RingSums, minimum_snr: float, adc_threshold: float, *, first: bool) -> bool:
    """Draw the bounds closer after a round, and tell whether any changed.

    A ring that the round left without a pixel keeps what it had: all that was left of it before had one value, and that
    is its background. (OM gives such a ring the threshold infinity and lets the peaks become the background.)
    """
    filled = sums.n > 0
    n = np.where(filled, sums.n, 1)
    offset = sums.values / n
    sigma = np.sqrt(np.maximum(sums.squares / n - offset * offset, 0.0))
    upper = np.maximum(offset + minimum_snr * sigma, adc_threshold)
    lower = offset - minimum_snr * sigma
    if first:  # without any pixel there is nothing that could be above it
        upper[~filled] = np.inf
        filled[:] = True
    moved = filled & ((upper != bounds.upper) | (lower != bounds.lower))
    for old, new in ((bounds.upper, upper), (bounds.lower, lower), (bounds.offset, offset)):
        np.copyto(old, new, where=filled)
    return bool(moved.any())


@compiled
def count_values(
    image: npt.NDArray[Any],
    rings: npt.NDArray[np.uint16],
    lowest: float,
    ceiling: float,
    cut: float,
    counts: npt.NDArray[np.uint32],
    bright: npt.NDArray[np.int32],
    large_rings: npt.NDArray[np.uint16],
    large_values: Floats,
) -> tuple[int, int, int]:
    """Count small values and list others; return how many are bright, large (-1: too many), and flagged.

    `image` and `rings` are flat. Bright are pixels above `cut`: their places go to `bright`. Large are those that
    `counts`, (n_rings, N_VALUES), has no room for. Flagged are those outside [lowest, ceiling).
    """
    n_bright = 0
    n_large = 0
    n_flagged = 0
    first = np.int64(max(0.0, np.ceil(min(lowest, float(N_VALUES)))))  # from here to `plain` a value is just counted
    plain = np.int64(max(-1.0, min(cut, float(N_VALUES - 1), np.ceil(ceiling) - 1)))
    for place in range(image.size):
        ring = rings[place]
        if ring >= LEFT_OUT:
            continue
        value = np.int64(image[place])
        if first <= value <= plain:
            counts[ring, value] += np.uint32(1)
            continue
        if not lowest <= value < ceiling:
            n_flagged += 1
            continue
        if 0 <= value < N_VALUES:
            counts[ring, value] += np.uint32(1)
        else:
            if n_large == large_values.size:
                return 0, -1, 0
            large_rings[n_large] = ring
            large_values[n_large] = value
            n_large += 1
        if value > cut:
            bright[n_bright] = place
            n_bright += 1
    return n_bright, n_large, n_flagged


@compiled
def sum_counted(
    counts: npt.NDArray[np.uint32],
    large_rings: npt.NDArray[np.uint16],
    large_values: Floats,
    lower: Floats,
    upper: Floats,
    n: npt.NDArray[np.int64],
    values: Floats,
    squares: Floats,
) -> None:
    """Fill a round's sums from what `count_values` found; exact."""
    for ring in range(n.size):
        # the first and the last value strictly between the bounds
        first = 0
        last = N_VALUES - 1
        if lower[ring] >= 0.0:
            first = int(np.floor(lower[ring])) + 1
        if upper[ring] < N_VALUES:
            last = int(np.ceil(upper[ring])) - 1
        n_pixels = 0
        total = 0
        square = 0
        for value in range(first, last + 1):
            count = int(counts[ring, value])
            n_pixels += count
            total += count * value
            square += count * value * value
        n[ring] = n_pixels
        values[ring] = total
        squares[ring] = square
    for j in range(large_values.size):
        its_ring = large_rings[j]
        large = large_values[j]
        if lower[its_ring] < large < upper[its_ring]:
            n[its_ring] += 1
            values[its_ring] += large
            squares[its_ring] += large * large


@compiled
def sum_pixels(
    image: npt.NDArray[Any],
    rings: npt.NDArray[np.uint16],
    lowest: float,
    ceiling: float,
    lower: Floats,
    upper: Floats,
    n: npt.NDArray[np.int64],
    values: Floats,
    squares: Floats,
) -> None:
    """Fill a round's sums from the pixels themselves, in row order; `image` and `rings` are flat."""
    n[:] = 0
    values[:] = 0.0
    squares[:] = 0.0
    for place in range(image.size):
        ring = rings[place]
        if ring >= LEFT_OUT:
            continue
        value = np.float64(image[place])
        if lower[ring] < value < upper[ring] and lowest <= value < ceiling:
            n[ring] += 1
            values[ring] += value
            squares[ring] += value * value


@compiled
def list_bright(
    image: npt.NDArray[Any],
    rings: npt.NDArray[np.uint16],
    lowest: float,
    ceiling: float,
    upper: Floats,
    bright: npt.NDArray[np.int32],
) -> tuple[int, int, float]:
    """List the pixels above the threshold of their ring; return how many, how many are flagged, and the largest."""
    n_bright = 0
    n_flagged = 0
    largest = -np.inf
    for place in range(image.size):
        ring = rings[place]
        if ring >= LEFT_OUT:
            continue
        value = np.float64(image[place])
        if not lowest <= value < ceiling:
            n_flagged += 1
            continue
        largest = max(largest, value)
        if value > upper[ring]:
            bright[n_bright] = place
            n_bright += 1
    return n_bright, n_flagged, largest
