"""Where each pixel is on a radial axis, by the geometry: scattering vector, angle, or distance from the beam.

Positions are in float64, panel by panel: a map in float32 would put pixels at the edge of a bin into its neighbour. The
half width of a pixel is the farthest that one of its corners is from its centre along the axis, as pyFAI's «bbox» has
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError
from beamstream_consumers.geometry import Geometry, GeometryMaps, Panel, parse_text
from beamstream_consumers.geometry.nexus_format import wavelength_a

Values = npt.NDArray[np.float64]
RadialMap = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One kind of radial axis.

    Attributes
    ----------
    name : str
        What it is called on the command line, in pyFAI's words.
    quantity : str
        What it measures: the name of the axis in NeXus metadata.
    unit : str
        Its unit in NeXus's words.
    needs_wavelength : bool
        Whether the geometry has to know the wavelength.
    position : function of (radius, z, wavelength)
        From the distance from the beam's axis [m], the distance along it [m] and the wavelength [Å] to the position.
    """

    name: str
    quantity: str
    unit: str
    needs_wavelength: bool
    position: Callable[[Values, Values, float], Values]


def _two_theta(radius_m: Values, z_m: Values, _wavelength_a: float) -> Values:
    return np.asarray(np.arctan2(radius_m, z_m))


def _q(radius_m: Values, z_m: Values, wavelength_a: float) -> Values:
    return np.asarray(4 * np.pi / wavelength_a * np.sin(_two_theta(radius_m, z_m, wavelength_a) / 2))


_ALL = (
    Axis(name="q_A^-1", quantity="q", unit="1/angstrom", needs_wavelength=True, position=_q),
    Axis(name="q_nm^-1", quantity="q", unit="1/nm", needs_wavelength=True, position=lambda r, z, w: 10 * _q(r, z, w)),
    Axis(
        name="2th_deg",
        quantity="two_theta",
        unit="degree",
        needs_wavelength=False,
        position=lambda r, z, w: np.degrees(_two_theta(r, z, w)),
    ),
    Axis(name="2th_rad", quantity="two_theta", unit="rad", needs_wavelength=False, position=_two_theta),
    Axis(name="r_mm", quantity="r", unit="mm", needs_wavelength=False, position=lambda r, _z, _w: 1e3 * r),
)

AXES: Mapping[str, Axis] = MappingProxyType({axis.name: axis for axis in _ALL})
"""Every axis by its name."""


def find_axis(name: str) -> Axis:
    """Return the axis of this name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in AXES:
        raise UsageError(f"there is no unit {name!r}; there are {', '.join(AXES)}")
    return AXES[name]


def given_geometry(text: str, shape: tuple[int, int] | None, metadata: Mapping[str, Any]) -> Geometry:
    """Return the geometry in a text, with the wavelength of the stream's metadata where the text has none.

    Raises
    ------
    GeometryFormatError, GeometryIncompleteError
        If it describes no detector, or does not say how many pixels it has.
    GeometryShapeError
        If it describes frames of another shape.
    """
    first = text.lstrip().partition("\n")[0]
    name = first.lstrip(";# ").strip() if first[:1] in (";", "#") else ""
    geometry = parse_text(text, name or "the geometry that was given", shape, metadata)
    if shape is not None:
        geometry.check(shape)
    beam = wavelength_a(metadata)
    return geometry if geometry.wavelength_a is not None or beam is None else geometry.at(wavelength_a=beam)


def radial_positions(geometry: Geometry, axis: Axis, *, splits: bool) -> tuple[RadialMap, RadialMap | None]:
    """Return where each pixel is, and how far it reaches.

    Parameters
    ----------
    geometry : Geometry
        Where the pixels are.
    axis : Axis
        What is measured.
    splits : bool
        Whether half widths are wanted.

    Returns
    -------
    (n_slow, n_fast) float64
        Position of each pixel's centre in the unit of the axis; NaN where no panel is.
    (n_slow, n_fast) float64 or None
        Half width, in the same unit; NaN where no panel is.

    Raises
    ------
    GeometryIncompleteError
        If the geometry does not know the distance, or the wavelength where it is needed.
    """
    distance_m = geometry.needed("distance_m")
    wavelength_a = geometry.needed("wavelength_a") if axis.needs_wavelength else np.nan
    position = np.full(geometry.shape, np.nan)
    half_width = np.full(geometry.shape, np.nan) if splits else None
    for panel in reversed(geometry.panels):  # where two hold the same pixel, the first one has it
        where = (slice(*panel.slow), slice(*panel.fast))
        position[where] = centers = _on_panel(panel, axis, distance_m, wavelength_a, 0.5)
        if half_width is not None:
            corners = _on_panel(panel, axis, distance_m, wavelength_a, 0.0)
            around = (corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:])
            half_width[where] = np.max([np.abs(corner - centers) for corner in around], axis=0)
    return position, half_width


def normalization(geometry: Geometry, *, solid_angle: bool, polarisation: float | None) -> npt.NDArray[np.float32]:
    """Return what the counts of each pixel are divided by.

    Parameters
    ----------
    geometry : Geometry
        Where the pixels are.
    solid_angle : bool
        Whether the solid angle is corrected for, relative to that of a pixel at the foot of the perpendicular.
    polarisation : float or None
        Degree of polarisation in the horizontal plane, -1 to 1; None: no correction.

    Returns
    -------
    (n_slow, n_fast) float32
    """
    maps = GeometryMaps(geometry)
    factor = maps.solid_angle if solid_angle else np.ones(geometry.shape, np.float32)
    return factor if polarisation is None else factor * maps.polarisation(polarisation)


def _on_panel(panel: Panel, axis: Axis, distance_m: float, wavelength_a: float, within: float) -> RadialMap:
    """Return positions at `within` each pixel; at 0, the corners on the far sides too, one more row and column."""
    n_slow, n_fast = (n + (within == 0.0) for n in panel.shape)
    down = np.arange(n_slow, dtype=np.float64)[:, np.newaxis] + within
    along = np.arange(n_fast, dtype=np.float64) + within
    x_m, y_m, z_m = (
        corner + down * slow + along * fast
        for corner, slow, fast in zip(panel.corner_m, panel.slow_step_m, panel.fast_step_m, strict=True)
    )
    return axis.position(np.hypot(x_m, y_m), z_m + distance_m, wavelength_a)
