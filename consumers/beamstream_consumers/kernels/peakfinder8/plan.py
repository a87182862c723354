"""What the peak finder needs to know of geometry and mask, worked out once and used for every frame.

One 16-bit number per pixel says it all: in which ring around the beam it lies, and whether it takes part. A pixel is
left out where the mask calls it bad, where no panel is, where `min_res` and `max_res` exclude it, and where its radius
is no number or beyond `MAX_RADIUS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

from .panels import NO_PANEL, Panel, panel_map
from .parameters import PeakParameters

LEFT_OUT = 0x8000
"""Bit of a ring number that says that the pixel takes no part; its ring still is in the other bits."""

MAX_RADIUS = 0x7FFE
"""Largest ring [pixels]: what 15 bits hold, less the number that says «no ring»."""

NO_RING = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Geometry, mask and parameters of one stream, ready for its frames; make one with `make_plan`.

    Attributes
    ----------
    parameters : PeakParameters
        What is looked for.
    panels : tuple of Panel
        The panels, in the order in which peaks are found.
    rings : (n_slow, n_fast) uint16
        Ring of each pixel, with the bit `LEFT_OUT` where it takes no part.
    panel_numbers : (n_slow, n_fast) uint16, or None for a single panel that is the frame
        Panel of each pixel.
    n_rings : int
        Rings there are, empty ones included.
    n_searched : int
        Pixels that take part.
    good : (n_slow, n_fast) bool
        What the mask says, before `min_res` and `max_res`; kept for changing these.
    radius : (n_slow, n_fast) float32
        Distance from the beam [pixels]; kept likewise.
    """

    parameters: PeakParameters
    panels: tuple[Panel, ...]
    rings: npt.NDArray[np.uint16]
    panel_numbers: npt.NDArray[np.uint16] | None
    n_rings: int
    n_searched: int
    good: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_slow, n_fast) of the frames that it is for."""
        return self.radius.shape[0], self.radius.shape[1]

    def with_parameters(self, parameters: PeakParameters) -> Plan:
        """Return the plan for other parameters; costs nothing unless the resolution limits are among them."""
        if (parameters.min_res, parameters.max_res) == (self.parameters.min_res, self.parameters.max_res):
            return replace(self, parameters=parameters)
        return make_plan(self.radius, parameters, good=self.good, panels=self.panels)


def make_plan(
    radius: npt.NDArray[np.floating],
    parameters: PeakParameters | None = None,
    *,
    good: npt.NDArray[np.bool_] | None = None,
    panels: Sequence[Panel] | None = None,
) -> Plan:
    """Prepare for the frames of a stream.

    Parameters
    ----------
    radius : (n_slow, n_fast) float
        Distance from the beam [pixels]; what is not a number, negative or above `MAX_RADIUS` is left out.
    parameters : PeakParameters, optional
        What is looked for; default: the defaults.
    good : (n_slow, n_fast) bool, optional
        True where a pixel may be used; default: everywhere.
    panels : sequence of Panel, optional
        The panels, in the order in which peaks shall be found; default: the frame is one.

    Raises
    ------
    ShapeError
        If `radius` is no image, `good` has another shape, or a panel does not fit.
    """
    if radius.ndim != 2 or radius.dtype.kind != "f":
        raise ShapeError(f"radii are an image of floats, this is {radius.shape} {radius.dtype}")
    shape = (radius.shape[0], radius.shape[1])
    if good is None:
        good = np.ones(shape, dtype=np.bool_)
    if good.shape != shape or good.dtype != np.bool_:
        raise ShapeError(f"the mask is {good.shape} {good.dtype}; the radii are {shape}, needed are as many bool")
    parameters = parameters or PeakParameters()
    chosen = tuple(panels) if panels is not None else (Panel(slow=0, fast=0, n_slow=shape[0], n_fast=shape[1]),)
    numbers = panel_map(chosen, shape) if radius.size else None
    used = good & (radius >= parameters.min_res) & (radius <= parameters.max_res)
    if numbers is not None:
        used &= numbers != NO_PANEL
    rings = _rings(radius, used)
    known = (rings & np.uint16(0x7FFF))[rings != NO_RING]
    return Plan(
        parameters=parameters,
        panels=chosen,
        rings=rings,
        panel_numbers=numbers if len(chosen) > 1 else None,
        n_rings=int(known.max()) + 1 if known.size else 1,
        n_searched=int(np.count_nonzero(rings < LEFT_OUT)),
        good=good,
        radius=radius.astype(np.float32, copy=False),
    )


def _rings(radius: npt.NDArray[np.floating], used: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """Return the ring of each pixel, half to even as `rint` rounds, and whether it takes part."""
    with np.errstate(invalid="ignore"):
        ring = np.rint(radius)
        possible = (ring >= 0) & (ring <= MAX_RADIUS)
    rings = np.where(possible, ring, 0).astype(np.uint16)
    rings[~used] |= LEFT_OUT
    rings[~possible] = NO_RING
    return rings
