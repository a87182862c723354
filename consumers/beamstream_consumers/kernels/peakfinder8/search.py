"""Candidates and their integration: connected bright pixels of one panel, judged against their local background.

A candidate is what is 8-connected within a panel and above the threshold, begun at a pixel that is not on the panel's
edge. Pixels and peaks are summed up in the order in which they are found, in float64: the same bits every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.compiling import compiled

from .plan import LEFT_OUT, NO_RING

SIGMA_WITHOUT_SPREAD = 0.01
"""Standard deviation of a local background that has no spread or no pixels [counts]; OM's number for the latter."""

SPREAD_FLOOR = 1e-14
"""A variance below this share of the mean square is rounding, not spread."""

TINY = 1e-10
"""Sums below this are nothing to divide by [counts]; OM's and Cheetah's number."""

FS, SS, INTENSITY, N_PIXELS, MAXIMUM, SIGMA, SNR, PANEL = range(8)
"""Columns of what `search` fills."""

N_COLUMNS = 8

Image = npt.NDArray[Any]
Rings = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]
Box = tuple[int, int, int, int]
"""First row, first column, last row and last column of a panel."""


@compiled
def search(
    image: Image,
    rings: Rings,
    threshold: Floats,
    offset: Floats,
    valid: tuple[float, float],
    bright: Places,
    starts: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.int64],
    minimum_snr: float,
    n_limits: tuple[int, int],
    local_bg_radius: int,
    visited: npt.NDArray[np.uint8],
    out: Floats,
) -> int:
    """Fill `out` with the peaks, one per row, and return how many there are, those beyond its rows included.

    `bright[starts[p]:starts[p + 1]]` are the flat places where panel p may have a candidate's first pixel, in row
    order; `boxes` has a `Box` for each. `visited` is all zero, a bit per pixel: it stays in a core's cache.
    """
    n_fast = image.shape[1]
    queue = np.empty(bright.size, dtype=np.int32)
    last = 0
    n_found = 0
    row = np.empty(N_COLUMNS)
    for panel in range(starts.size - 1):
        box = boxes[panel, 0], boxes[panel, 1], boxes[panel, 2], boxes[panel, 3]
        for j in range(starts[panel], starts[panel + 1]):
            slow, fast = bright[j] // n_fast, bright[j] % n_fast
            on_edge = slow <= box[0] or slow >= box[2] or fast <= box[1] or fast >= box[3]
            if on_edge or _is_set(visited, bright[j]) or not image[slow, fast] > threshold[rings[slow, fast]]:
                continue
            first = last
            last, centre = _flood(image, rings, threshold, offset, valid, box, slow, fast, visited, queue, first)
            if not n_limits[0] <= last - first <= n_limits[1] or centre[0] < 0:
                continue
            local = _local_background(image, rings, threshold, offset, valid, box, centre, 2 * local_bg_radius)
            if _integrate(image, queue[first:last], local, box, minimum_snr, row):
                if n_found < out.shape[0]:
                    row[PANEL] = panel
                    out[n_found] = row
                n_found += 1
    return n_found


@compiled
def _flood(
    image: Image,
    rings: Rings,
    threshold: Floats,
    offset: Floats,
    valid: tuple[float, float],
    box: Box,
    slow: int,
    fast: int,
    visited: npt.NDArray[np.uint8],
    queue: Places,
    first: int,
) -> tuple[int, tuple[int, int]]:
    """Put a pixel and all that is connected with it into `queue` from `first` on.

    Returned is where the queue ends, and the pixel nearest to the middle, weighted by what is above the background of
    the rings; (-1, -1) where there is nothing above it.
    """
    n_fast = image.shape[1]
    queue[first] = slow * n_fast + fast
    _set(visited, queue[first])
    last = first + 1
    total = np.float64(image[slow, fast]) - offset[rings[slow, fast]]
    at_slow = total * slow
    at_fast = total * fast
    taken = first
    while taken < last:
        row, column = queue[taken] // n_fast, queue[taken] % n_fast
        taken += 1
        for y in range(max(row - 1, box[0]), min(row + 1, box[2]) + 1):
            for x in range(max(column - 1, box[1]), min(column + 1, box[3]) + 1):
                ring = rings[y, x]
                place = y * n_fast + x
                if ring >= LEFT_OUT or _is_set(visited, place):
                    continue
                value = np.float64(image[y, x])
                if value > threshold[ring] and valid[0] <= value < valid[1]:
                    _set(visited, place)
                    queue[last] = place
                    last += 1
                    excess = value - offset[ring]
                    total += excess
                    at_slow += excess * y
                    at_fast += excess * x
    if total < TINY:
        return last, (-1, -1)
    return last, (int(np.rint(at_slow / total)), int(np.rint(at_fast / total)))


@compiled
def _is_set(bits: npt.NDArray[np.uint8], place: int) -> bool:
    return bool(bits[place >> 3] >> (place & 7) & 1)


@compiled
def _set(bits: npt.NDArray[np.uint8], place: int) -> None:
    bits[place >> 3] |= np.uint8(1 << (place & 7))


@compiled
def _local_background(
    image: Image,
    rings: Rings,
    threshold: Floats,
    offset: Floats,
    valid: tuple[float, float],
    box: Box,
    centre: tuple[int, int],
    width: int,
) -> tuple[float, float, float]:
    """Return mean, standard deviation and largest value of what is below the threshold around a pixel.

    Looked at are distances up to `width`, in a window that is one row and column shorter on the far sides.
    """
    n = 0
    total = 0.0
    squares = 0.0
    largest = 0.0
    for y in range(max(centre[0] - width, box[0]), min(centre[0] + width - 1, box[2]) + 1):
        for x in range(max(centre[1] - width, box[1]), min(centre[1] + width - 1, box[3]) + 1):
            ring = rings[y, x]
            if ring >= LEFT_OUT or (y - centre[0]) ** 2 + (x - centre[1]) ** 2 > width * width:
                continue
            value = np.float64(image[y, x])
            if value < threshold[ring] and valid[0] <= value < valid[1]:
                n += 1
                total += value
                squares += value * value
                largest = max(largest, value)
    if n == 0:
        ring = rings[centre]
        mean = 0.0 if ring == NO_RING else offset[ring & np.uint16(LEFT_OUT - 1)]
        return mean, SIGMA_WITHOUT_SPREAD, largest
    mean = total / n
    variance = squares / n - mean * mean
    return mean, np.sqrt(variance) if variance > SPREAD_FLOOR * squares / n else SIGMA_WITHOUT_SPREAD, largest


@compiled
def _integrate(
    image: Image, places: Places, local: tuple[float, float, float], box: Box, minimum_snr: float, row: Floats
) -> bool:
    """Sum up a candidate's pixels above its local background into `row`, and tell whether it is a peak."""
    mean, sigma, largest = local
    n_fast = image.shape[1]
    intensity = 0.0
    raw = 0.0
    maximum = 0.0
    at_slow = 0.0
    at_fast = 0.0
    for place in places:
        slow, fast = place // n_fast, place % n_fast
        value = np.float64(image[slow, fast])
        intensity += value - mean
        raw += value
        maximum = max(maximum, value - mean)
        at_slow += value * slow
        at_fast += value * fast
    snr = intensity / sigma if sigma > TINY else 0.0
    if abs(raw) < TINY or snr < minimum_snr or maximum < largest - mean:
        return False
    row[FS] = at_fast / abs(raw)
    row[SS] = at_slow / abs(raw)
    row[INTENSITY] = intensity
    row[N_PIXELS] = places.size
    row[MAXIMUM] = maximum
    row[SIGMA] = sigma
    row[SNR] = snr
    return bool(box[0] <= row[SS] <= box[2] and box[1] <= row[FS] <= box[3])
