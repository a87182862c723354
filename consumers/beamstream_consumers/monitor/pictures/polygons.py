"""Which pixels lie in polygons that somebody has drawn on a picture. Pure; sizes are checked first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError

from .scene import Scene

MAX_SHAPES, MAX_CORNERS = 100, 1000
"""Most polygons of one drawing, and most corners of one."""

MAX_POSITION = 1e6
"""Farthest corner from the picture's first pixel [pixels]."""

Polygon = npt.NDArray[np.float64]


def read_shapes(shapes: object) -> list[tuple[Polygon, bool]]:
    """Return polygons, (n, 2) float64 of x and y, and whether each erases.

    Raises
    ------
    UsageError
        If they are none.
    """
    if not isinstance(shapes, list | tuple) or not 0 < len(shapes) <= MAX_SHAPES:
        raise UsageError(f"a drawing is a list of 1 to {MAX_SHAPES} shapes")
    return [_read_shape(shape) for shape in shapes]


def _read_shape(shape: object) -> tuple[Polygon, bool]:
    if not isinstance(shape, Mapping) or not isinstance(shape.get("erase", False), bool):
        raise UsageError("a shape has a polygon, and perhaps erase: true or false")
    corners = shape.get("polygon")
    if not isinstance(corners, Sequence) or not 3 <= len(corners) <= MAX_CORNERS:
        raise UsageError(f"a polygon has 3 to {MAX_CORNERS} corners [x, y]")
    try:
        polygon = np.array(corners, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a polygon's corners are no numbers: {error}") from error
    if polygon.shape != (len(corners), 2) or not (np.abs(polygon) <= MAX_POSITION).all():
        raise UsageError(f"a polygon's corners are pairs [x, y] of numbers, {MAX_POSITION:g} at most")
    return polygon, shape.get("erase", False)


def inside(polygon: Polygon, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixels' centres lie in a polygon, by the even-odd rule.

    Parameters
    ----------
    polygon : (n, 2) float64
        x and y of its corners; pixel (0, 0) covers 0 to 1.
    shape : (n_slow, n_fast)
        Of the picture.

    Returns
    -------
    (n_slow, n_fast) bool
    """
    found = np.zeros(shape, np.bool_)
    (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
    first_row, last_row = max(0, math.floor(top)), min(shape[0], math.ceil(bottom) + 1)
    first, last = max(0, math.floor(left)), min(shape[1], math.ceil(right) + 1)
    if first_row >= last_row or first >= last:
        return found
    x = np.arange(first, last) + 0.5
    y = (np.arange(first_row, last_row) + 0.5)[:, np.newaxis]
    odd = found[first_row:last_row, first:last]
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return found


def draw(shapes: Sequence[tuple[Polygon, bool]], scene: Scene, mask: npt.NDArray[Any] | None) -> npt.NDArray[np.uint8]:
    """Return a mask with what was drawn added to it, or erased from it.

    Parameters
    ----------
    shapes : sequence of (polygon, bool)
        Of `read_shapes`, one after the other.
    scene : Scene
        Of the pictures on which they were drawn.
    mask : (n_slow, n_fast) array or None
        What is masked so far, not 0 where bad, as frames lie in memory; of another shape it counts as nothing.

    Returns
    -------
    (n_slow, n_fast) uint8
        1 where a pixel is bad.
    """
    drawn = np.zeros(scene.frame_shape, np.uint8)
    if mask is not None and mask.shape == scene.frame_shape:
        drawn[mask != 0] = 1
    for polygon, erases in shapes:
        seen = inside(polygon, scene.shape)
        if scene.assembly is None:
            drawn[seen] = not erases
        else:
            numbers = scene.assembly.index[seen]
            drawn.reshape(-1)[numbers[numbers >= 0]] = not erases
    return drawn
