"""peakfinder8 written down step by step, slowly, to compare others with: the kernel in the tests, OM's extension here.

With `Rules()` it is what `beamstream_consumers.kernels.peakfinder8` has to be, to the last bit. With `OM` it is what
OM's extension is, to the last bit, defects included. Each rule between the two can be changed alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

N_ROUNDS = 5
WIDEST = 1e9
TINY = 1e-10
SIGMA_WITHOUT_SPREAD = 0.01
SPREAD_FLOOR = 1e-14

Array = npt.NDArray[Any]
Box = tuple[int, int, int, int]
"""First row, first column, last row and last column of a panel."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """In what the kernel and OM's extension differ.

    Attributes
    ----------
    number : type
        What sums are made in.
    rings_keep_theirs : bool
        A ring of which a round leaves nothing keeps what it had; else its threshold becomes infinite.
    spread_floor : bool
        A local background without spread has the standard deviation 0.01; else 0, and the peak is dropped.
    stale_queue : bool
        Pixels around a place of the queue that is not in use are added to a peak.
    """

    number: type = np.float64
    rings_keep_theirs: bool = True
    spread_floor: bool = True
    stale_queue: bool = False


OM = Rules(number=np.float32, rings_keep_theirs=False, spread_floor=False, stale_queue=True)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The parameters, by the names that OM has for them."""

    adc_threshold: float
    minimum_snr: float
    min_pixel_count: int
    max_pixel_count: int
    local_bg_radius: int
    max_num_peaks: int


def find(image: Array, used: Array, radius: Array, boxes: list[Box], thresholds: Thresholds, rules: Rules) -> Array:
    """Return the peaks of a frame, a row each: fs, ss, intensity, index, pixels, maximum, sigma, snr.

    `used` tells which pixels take part; `radius` is in pixels. Both have the shape of `image`.
    """
    values = image.astype(rules.number)
    rings = np.rint(radius).astype(int)
    upper, offset = background(values, used, rings, thresholds, rules)
    above = used & (values > upper[rings])
    below = used & (values < upper[rings])
    peaks = []
    queue = {}
    visited = np.zeros(image.shape, dtype=bool)
    for box in boxes:
        for seed in seeds(above, box):
            if not visited[seed]:
                places = flood(above, visited, seed, box, queue, stale=rules.stale_queue)
                peak = judge(values, places, below, offset[rings], box, thresholds, rules)
                if peak is not None:
                    peaks.append(peak)
    return np.array(peaks[: thresholds.max_num_peaks], dtype=float).reshape(-1, 8)


def background(values: Array, used: Array, rings: Array, thresholds: Thresholds, rules: Rules) -> tuple[Array, Array]:
    """Return threshold and mean of each ring."""
    number = rules.number
    adc, snr = number(thresholds.adc_threshold), number(thresholds.minimum_snr)
    n_rings = int(rings.max(initial=0)) + 1
    upper, lower = np.full(n_rings, WIDEST, number), np.full(n_rings, -WIDEST, number)
    offset = np.zeros(n_rings, number)
    for round_number in range(N_ROUNDS):
        inside = used & (lower[rings] < values) & (values < upper[rings])
        ring, value = rings[inside], values[inside]
        n, total, squares = np.zeros(n_rings, int), np.zeros(n_rings, number), np.zeros(n_rings, number)
        np.add.at(n, ring, 1)
        np.add.at(total, ring, value)  # one after the other, in row order
        np.add.at(squares, ring, value * value)
        some = n > 0
        count = np.maximum(n, 1).astype(number)
        mean = np.where(some, total / count, number(0))
        variance = squares / count - mean * mean
        sigma = np.sqrt(np.maximum(variance, 0))
        if number is np.float32:  # OM leaves a negative variance in the place of sigma
            sigma = np.where(variance < 0, variance, sigma)
        new_upper, new_lower = np.maximum(mean + snr * sigma, adc), mean - snr * sigma
        if rules.rings_keep_theirs and round_number:
            new_upper, new_lower, mean = (
                np.where(some, new, old) for new, old in ((new_upper, upper), (new_lower, lower), (mean, offset))
            )
        else:
            new_upper = np.where(some, new_upper, np.finfo(np.float32).max)
            new_lower = np.where(some, new_lower, np.finfo(np.float32).tiny)
        upper, lower, offset = new_upper, new_lower, mean
    return upper, offset


def seeds(above: Array, box: Box) -> Iterator[tuple[int, int]]:
    """Yield bright pixels of a panel that are not on its edge, row by row."""
    inner = above[box[0] + 1 : box[2], box[1] + 1 : box[3]]
    for slow, fast in np.argwhere(inner):
        yield int(slow) + box[0] + 1, int(fast) + box[1] + 1


def flood(
    above: Array, visited: Array, seed: tuple[int, int], box: Box, queue: dict[int, tuple[int, int]], *, stale: bool
) -> list[tuple[int, int]]:
    """Return what is connected with a pixel, in the order in which it is found.

    `queue` outlives the candidate, with places counted from the corner of the panel that they were put in for. With
    `stale` one place more than is in use is looked around; before anything was put there, it is the corner.
    """
    corner = box[0], box[1]
    places: list[tuple[int, int]] = []
    queue[0] = seed[0] - corner[0], seed[1] - corner[1]
    steps = [(0, 0), *(step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0))]
    n_before = -1
    while n_before != len(places):  # looked over again until nothing is added
        n_before = len(places)
        taken = 0
        while taken <= len(places) if stale else taken < max(1, len(places)):
            for step in steps:
                at = queue.get(taken, (0, 0))
                slow, fast = at[0] + corner[0] + step[0], at[1] + corner[1] + step[1]
                within = box[0] <= slow <= box[2] and box[1] <= fast <= box[3]
                if within and above[slow, fast] and not visited[slow, fast]:
                    visited[slow, fast] = True
                    queue[len(places)] = slow - corner[0], fast - corner[1]
                    places.append((slow, fast))
            taken += 1
    return places


def judge(
    values: Array, places: list[tuple[int, int]], below: Array, offsets: Array, box: Box, t: Thresholds, rules: Rules
) -> tuple[float, ...] | None:
    """Return the columns of a candidate; None if it is no peak."""
    number = rules.number
    slow, fast = np.array(places).T
    value = values[slow, fast]
    excess = value - offsets[slow, fast]
    total = in_order(excess)
    if not t.min_pixel_count <= len(places) <= t.max_pixel_count or abs(total) < TINY:
        return None
    middle = tuple(int(np.rint(in_order(excess * axis.astype(number)) / abs(total))) for axis in (slow, fast))
    mean, sigma, largest = local_background(values, below, offsets, box, middle, 2 * t.local_bg_radius, rules)
    intensity, raw = in_order(value - mean), in_order(value)
    maximum = max(number(0), (value - mean).max())
    if abs(raw) < TINY:
        return None
    ss, fs = (in_order(value * axis.astype(number)) / abs(raw) for axis in (slow, fast))
    snr = intensity / sigma if abs(sigma) > TINY else number(0)
    if snr < number(t.minimum_snr) or maximum < largest - mean:
        return None
    if not (box[0] <= ss <= box[2] and box[1] <= fs <= box[3]):
        return None
    index = np.rint(fs) + np.rint(ss) * values.shape[1]
    return tuple(map(float, (fs, ss, intensity, index, len(places), maximum, sigma, snr)))


def local_background(
    values: Array, below: Array, offsets: Array, box: Box, middle: tuple[int, ...], width: int, rules: Rules
) -> tuple[Any, Any, Any]:
    """Return mean, standard deviation and largest value around a pixel."""
    number = rules.number
    near = [
        slice(max(m - width, first), min(m + width - 1, last) + 1)
        for m, first, last in zip(middle, box[:2], box[2:], strict=True)
    ]
    slow, fast = np.mgrid[near[0], near[1]]
    chosen = below[near[0], near[1]] & ((slow - middle[0]) ** 2 + (fast - middle[1]) ** 2 <= width**2)
    value = values[near[0], near[1]][chosen]
    if not value.size:
        return offsets[middle], number(SIGMA_WITHOUT_SPREAD), number(0)
    n = number(value.size)
    mean, square = in_order(value) / n, in_order(value * value) / n
    variance = square - mean * mean
    spread = variance > SPREAD_FLOOR * in_order(value * value) / n if rules.spread_floor else variance >= 0
    sigma = np.sqrt(variance) if spread else number(SIGMA_WITHOUT_SPREAD)
    return mean, sigma, max(number(0), value.max())


def in_order(values: Array) -> Any:
    """Sum up one after the other, in the numbers' own type."""
    return np.add.accumulate(values)[-1]
