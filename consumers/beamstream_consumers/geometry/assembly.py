"""The image that one would see: panels where they are, gaps between them, nearest pixel for each place.

The view is along the beam, as from the sample: columns run along -x, rows along -y, so that a flat DECTRIS detector
comes out as its frames are. CrystFEL's programs look the other way, against the beam, which mirrors the columns.

For each place of the image the pixel that covers it is looked up (not the other way round: rotated panels would have
holes). Tilts out of the plane across the beam are looked at along z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

from .description import Geometry, Panel
from .errors import GeometryFormatError

MAX_ASSEMBLED_PIXELS = 1 << 28
"""Largest image [pixels]; modules that are too far apart for it cannot be shown in one."""

ROUNDING = 1e-6
"""What is not taken for a further row or column [pixels]: lengths in metres are no exact pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Which pixel of the frame is seen where.

    Attributes
    ----------
    index : (n_rows, n_columns) int32
        Number of the pixel in the frame as it lies in memory; -1 where there is none.
    centre : (row, column)
        Where the beam's axis is [pixels from the outer corner of the first place].
    pixel_size_m : float
        Edge of a place, the size of the first panel's pixels [m].
    frame_shape : (n_slow, n_fast)
        Shape of the frames.
    """

    index: npt.NDArray[np.int32]
    centre: tuple[float, float]
    pixel_size_m: float
    frame_shape: tuple[int, int]

    def assemble(self, image: npt.NDArray[Any], empty: float = 0) -> npt.NDArray[Any]:
        """Put the pixels of a frame where they are.

        Parameters
        ----------
        image : (n_slow, n_fast)
            A frame, or a map.
        empty : number
            What stands where no pixel is.

        Returns
        -------
        (n_rows, n_columns) of the frame's dtype

        Raises
        ------
        ShapeError
            If the frame has another shape.
        """
        if image.shape != self.frame_shape:
            raise ShapeError(f"the frame has {image.shape} pixels; the assembly is of {self.frame_shape}")
        seen = np.ravel(image)[np.maximum(self.index, 0)]
        seen[self.index < 0] = empty
        return seen


def assemble_pixels(geometry: Geometry, *, against_the_beam: bool = False) -> Assembly:
    """Return which pixel is seen where.

    Parameters
    ----------
    geometry : Geometry
        Where the pixels are.
    against_the_beam : bool
        Look from the detector towards the sample, as CrystFEL's programs do.

    Raises
    ------
    GeometryFormatError
        If the panels lie too far apart for an image.
    """
    size_m = sum(geometry.pixel_size_m) / 2
    across = 1.0 if against_the_beam else -1.0
    corners = np.array([corner for panel in geometry.panels for corner in _corners(panel)]) / size_m
    rows, columns = -corners[:, 1], across * corners[:, 0]
    first_row, first_column = _first(rows), _first(columns)
    shape = (_count(rows, first_row), _count(columns, first_column))
    if shape[0] * shape[1] > MAX_ASSEMBLED_PIXELS:
        reason = f"its panels would make an image of {shape} pixels; the limit is {MAX_ASSEMBLED_PIXELS}"
        raise GeometryFormatError(geometry.origin, 0, reason)
    index = np.full(shape, -1, dtype=np.int32)
    for panel in reversed(geometry.panels):
        _place(panel, geometry.shape[1], index, (first_row, first_column), across, size_m)
    return Assembly(index=index, centre=(-first_row, -first_column), pixel_size_m=size_m, frame_shape=geometry.shape)


def _place(
    panel: Panel,
    n_fast: int,
    index: npt.NDArray[np.int32],
    first: tuple[float, float],
    across: float,
    size_m: float,
) -> None:
    """Enter the pixels of one panel."""
    corners = np.array(_corners(panel)) / size_m
    rows, columns = -corners[:, 1] - first[0], across * corners[:, 0] - first[1]
    top, left = max(math.floor(rows.min()), 0), max(math.floor(columns.min()), 0)
    bottom, right = math.ceil(rows.max() - ROUNDING), math.ceil(columns.max() - ROUNDING)
    # Where the middle of each place is, and which pixel covers that: two equations for slow and fast.
    (sx, sy, _), (fx, fy, _) = panel.slow_step_m, panel.fast_step_m
    determinant = sx * fy - sy * fx
    if abs(determinant) < 1e-12 * size_m**2:
        return  # seen from its edge
    x = ((np.arange(left, min(right, index.shape[1])) + 0.5 + first[1]) * across * size_m - panel.corner_m[0])[None, :]
    for row in range(top, min(bottom, index.shape[0])):
        y = -(row + 0.5 + first[0]) * size_m - panel.corner_m[1]
        slow = np.floor((x * fy - y * fx) / determinant + ROUNDING).astype(np.int64)[0]
        fast = np.floor((y * sx - x * sy) / determinant + ROUNDING).astype(np.int64)[0]
        inside = (slow >= 0) & (slow < panel.shape[0]) & (fast >= 0) & (fast < panel.shape[1])
        line = index[row, left : left + inside.size]
        line[inside] = ((slow + panel.slow[0]) * n_fast + fast + panel.fast[0])[inside]


def _corners(panel: Panel) -> list[tuple[float, float]]:
    """Return x and y of a panel's four corners [m]."""
    n_slow, n_fast = panel.shape
    return [
        (
            panel.corner_m[0] + slow * panel.slow_step_m[0] + fast * panel.fast_step_m[0],
            panel.corner_m[1] + slow * panel.slow_step_m[1] + fast * panel.fast_step_m[1],
        )
        for slow in (0, n_slow)
        for fast in (0, n_fast)
    ]


def _first(values: npt.NDArray[np.float64]) -> float:
    return float(values.min())


def _count(values: npt.NDArray[np.float64], first: float) -> int:
    return max(1, math.ceil(float(values.max()) - first - ROUNDING))
