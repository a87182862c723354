"""Where a frame's panels lie: rectangles of any size and place, none over another.

Neither a peak nor its local background reaches over a panel's edge: pixels that are neighbours in the frame need not be
neighbours on the detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

MAX_PANELS = 65_535
"""Most panels: their numbers are kept in 16 bits, the last one means «none»."""

NO_PANEL = 65_535
"""What stands in a panel map where no panel is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A rectangle of the frame [pixels].

    Attributes
    ----------
    slow, fast : int
        Its first row and column.
    n_slow, n_fast : int
        Its size.
    """

    slow: int
    fast: int
    n_slow: int
    n_fast: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its first row, first column, last row and last column."""
        return self.slow, self.fast, self.slow + self.n_slow - 1, self.fast + self.n_fast - 1


def grid_of_panels(panel_shape: tuple[int, int], n_panels: tuple[int, int]) -> tuple[Panel, ...]:
    """Return equal panels side by side, rows of panels outside: what OM calls ASICs.

    Parameters
    ----------
    panel_shape : (n_slow, n_fast)
        Size of each [pixels].
    n_panels : (int, int)
        How many along the slow and the fast axis.
    """
    n_slow, n_fast = panel_shape
    return tuple(
        Panel(slow=row * n_slow, fast=column * n_fast, n_slow=n_slow, n_fast=n_fast)
        for row in range(n_panels[0])
        for column in range(n_panels[1])
    )


def panel_map(panels: Sequence[Panel], shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Return which panel each pixel belongs to.

    Parameters
    ----------
    panels : sequence of Panel
        At least one.
    shape : (n_slow, n_fast)
        Shape of the frames.

    Returns
    -------
    (n_slow, n_fast) uint16
        Number of the panel, `NO_PANEL` where there is none.

    Raises
    ------
    ShapeError
        If a panel is empty, is not all within the frame, or lies over another one.
    """
    if not 1 <= len(panels) < MAX_PANELS:
        raise ShapeError(f"there are {len(panels)} panels; possible are 1 to {MAX_PANELS - 1}")
    numbers = np.full(shape, NO_PANEL, dtype=np.uint16)
    for number, panel in enumerate(panels):
        what = f"panel {number}, {panel.n_slow} x {panel.n_fast} pixels at ({panel.slow}, {panel.fast}),"
        if min(panel.slow, panel.fast) < 0 or min(panel.n_slow, panel.n_fast) < 1:
            raise ShapeError(f"{what} is empty or begins before the frame, which is {shape}")
        if panel.slow + panel.n_slow > shape[0] or panel.fast + panel.n_fast > shape[1]:
            raise ShapeError(f"{what} does not fit into the frame, which is {shape}")
        place = numbers[panel.slow : panel.slow + panel.n_slow, panel.fast : panel.fast + panel.n_fast]
        if (place != NO_PANEL).any():
            raise ShapeError(f"{what} lies over panel {int(place[place != NO_PANEL][0])}")
        place[:] = number
    return numbers
