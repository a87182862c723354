"""Where a stream's pixels are, as far as the peak finder has to know: distance from the beam, panels, bad pixels.

Taken from the geometry that was given, else from the stream's metadata. A stream that says neither where the beam is is
taken as one flat panel with the beam in its middle, and that is said aloud: rings are wrong then, peaks still are found
where the background is flat.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.geometry import Geometry, GeometryIncompleteError, GeometryMaps, parse_text, read_geometry
from beamstream_consumers.geometry.nexus_format import wavelength_a
from beamstream_consumers.kernels.peakfinder8 import Panel, Plan, make_plan

from .settings import PeakSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Geometry and mask of a stream, ready for its frames.

    Attributes
    ----------
    plan : Plan
        What the peak finder works with.
    resolution : (n_slow, n_fast) float32 or None
        Spacing d of each pixel [Å]; None where distance or wavelength is not known.
    name : str
        What the geometry was taken from.
    """

    plan: Plan
    resolution: npt.NDArray[np.float32] | None
    name: str


def place(settings: PeakSettings, metadata: Mapping[str, Any], shape: tuple[int, int]) -> Placement:
    """Work out where pixels are.

    Parameters
    ----------
    settings : PeakSettings
        With geometry and mask, if there are any.
    metadata : mapping
        The stream's.
    shape : (n_slow, n_fast)
        Shape of its frames [pixels].

    Raises
    ------
    GeometryFormatError, GeometryShapeError
        If the geometry cannot be, or is for other frames.
    ShapeError
        If the mask is for other frames, or panels lie over one another.
    """
    geometry = _geometry(settings.hits.geometry, metadata, shape)
    good = _good(settings.hits.mask, metadata, shape)
    if geometry is None:
        slow, fast = np.indices(shape, dtype=np.float32, sparse=True)
        radius = np.hypot(slow - (shape[0] - 1) / 2, fast - (shape[1] - 1) / 2).astype(np.float32)
        plan = make_plan(radius, settings.finder, good=good)
        return Placement(plan=plan, resolution=None, name="the middle of the frame")
    maps = GeometryMaps(geometry)
    panels = [Panel(slow=p.slow[0], fast=p.fast[0], n_slow=p.shape[0], n_fast=p.shape[1]) for p in geometry.panels]
    plan = make_plan(maps.radius_pixels, settings.finder, good=good & ~maps.bad, panels=panels)
    known = geometry.distance_m is not None and geometry.wavelength_a is not None
    return Placement(plan=plan, resolution=maps.resolution if known else None, name=geometry.origin)


def _geometry(text: str | None, metadata: Mapping[str, Any], shape: tuple[int, int]) -> Geometry | None:
    """Return the geometry; None where there is none."""
    if text is not None:
        geometry = parse_text(text, _first_comment(text) or "the geometry that was given", shape, metadata)
        geometry.check(shape)
        beam = wavelength_a(metadata)
        return geometry if geometry.wavelength_a is not None or beam is None else geometry.at(wavelength_a=beam)
    try:
        return read_geometry(metadata, shape)
    except GeometryIncompleteError as error:
        log.warning(
            "%s; the beam is taken to be in the middle of the frame. Resolutions are not known, and rings around the "
            "beam are wrong: name a geometry with --geometry FILE",
            error,
        )
        return None


def _good(mask: npt.NDArray[Any] | None, metadata: Mapping[str, Any], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixels neither the detector nor the mask calls bad."""
    if mask is not None and mask.shape != shape:
        raise ShapeError(f"the mask is {mask.shape}, the frames are {shape}; they have to be the same")
    own = pixel_mask(metadata, shape)
    good = np.ones(shape, dtype=np.bool_) if own is None else ~own
    return good if mask is None else good & (mask == 0)


def _first_comment(text: str) -> str:
    """Return what the first line says, if it is a comment: the name of the file that the text was made from."""
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("; #").strip() if first[:1] in ";#" else ""
