"""Which part of a picture a viewer is sent, and from which level; pure arithmetic.

The level is chosen so that its pixels are as large as those of the screen, or smaller by less than half. What is sent
is what is seen and an eighth more on each side, in whole tiles: so a small move of the view needs nothing new, and
viewers who see nearly the same are sent the very same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .wishes import Rect

TILE = 64
"""Parts begin and end at multiples of this [pixels of the level], but at the picture's edge."""

MARGIN = 0.125
"""How much more than what is seen is sent on each side, of its span."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one level of a picture, x0 ≤ x < x1, y0 ≤ y < y1 [pixels of the level]."""

    level: int
    x0: int
    y0: int
    x1: int
    y1: int


def part_of(shape: tuple[int, int], n_levels: int, rect: Rect, canvas: tuple[int, int], *, full: bool = False) -> Part:
    """Return the part to be sent.

    Parameters
    ----------
    shape : (int, int)
        Of the whole picture (n_slow, n_fast).
    n_levels : int
        How many levels there are; pixels of level n are 2**n wide.
    rect : (4,) float
        x0, y0, x1, y1: what is seen [pixels]; may reach beyond the picture or miss it.
    canvas : (2,) int
        Width and height of what it is seen on [device pixels].
    full : bool
        All pixels of the whole picture.
    """
    if full:
        return Part(0, 0, 0, shape[1], shape[0])
    x0, y0, x1, y1 = rect
    pixels_per_pixel = max((x1 - x0) / canvas[0], (y1 - y0) / canvas[1])
    level = min(max(0, math.floor(math.log2(pixels_per_pixel))), n_levels - 1)
    columns = _whole_tiles(x0, x1, shape[1], level)
    rows = _whole_tiles(y0, y1, shape[0], level)
    return Part(level, columns[0], rows[0], columns[1], rows[1])


def _whole_tiles(first: float, last: float, n_pixels: int, level: int) -> tuple[int, int]:
    """Return where the tiles begin and end that cover a span and its margin; one tile of the picture at least."""
    n = -(-n_pixels >> level)  # of the level
    margin = MARGIN * (last - first)
    begin = math.floor((first - margin) / (TILE << level)) * TILE
    end = math.ceil((last + margin) / (TILE << level)) * TILE
    last_tile = (n - 1) // TILE * TILE
    begin = min(max(0, begin), last_tile)
    return begin, min(max(end, begin + TILE), n)


def region_part(shape: tuple[int, int], roi: Rect) -> Part:
    """Return the pixels that a region touches, within the picture; without any it is empty."""
    x0, x1 = (min(max(0, x), shape[1]) for x in (math.floor(roi[0]), math.ceil(roi[2])))
    y0, y1 = (min(max(0, y), shape[0]) for y in (math.floor(roi[1]), math.ceil(roi[3])))
    return Part(0, x0, y0, x1, y1)
