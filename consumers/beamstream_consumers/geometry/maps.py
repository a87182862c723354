"""What can be said of every pixel, as images of the frame's shape: positions, radius, angle, resolution, panel.

All maps are at the pixels' centres. A map is computed when it is first asked for and kept; computing is done in float64
by blocks of rows, so that a large detector costs little more than the maps that are wanted. Pixels that no panel holds
have `panel_id` -1, `bad` True, 0 in `radius_m` and `radius_pixels` (which serve as indices), NaN in the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .description import BadArea, BadPixels, Geometry, Panel, cross

BLOCK_PIXELS = 1 << 18
"""How many pixels are computed at once: what fits into a processor's cache."""

FloatMap = npt.NDArray[np.float32]
Coordinate = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some rows of one panel: which pixels of the frame they are, and where their centres are [m]."""

    panel: Panel
    rows: slice
    columns: slice
    x_m: Coordinate
    y_m: Coordinate
    z_m: Coordinate


class GeometryMaps:
    """The maps of one geometry.

    Parameters
    ----------
    geometry : Geometry
        Where the pixels are.

    Examples
    --------
    >>> from beamstream_consumers.geometry import Geometry, GeometryMaps, Panel
    >>> panel = Panel(
    ...     name="0", slow=(0, 3), fast=(0, 4), corner_m=(2e-4, 1.5e-4, 0.0),
    ...     fast_step_m=(-1e-4, 0.0, 0.0), slow_step_m=(0.0, -1e-4, 0.0),
    ... )
    >>> maps = GeometryMaps(Geometry(panels=(panel,), shape=(3, 4), distance_m=0.1, wavelength_a=1.0))
    >>> maps.radius_pixels[1].tolist()
    [1.5, 0.5, 0.5, 1.5]
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    # --- where ---------------------------------------------------------------------------------------------------

    @cached_property
    def x_m(self) -> FloatMap:
        """(n_slow, n_fast) float32: x of each pixel [m]."""
        return self._fill(lambda block: block.x_m)

    @cached_property
    def y_m(self) -> FloatMap:
        """(n_slow, n_fast) float32: y of each pixel [m]."""
        return self._fill(lambda block: block.y_m)

    @cached_property
    def z_m(self) -> FloatMap:
        """(n_slow, n_fast) float32: z of each pixel [m]; needs the distance."""
        distance_m = self.geometry.needed("distance_m")
        return self._fill(lambda block: block.z_m + distance_m)

    @cached_property
    def radius_m(self) -> FloatMap:
        """(n_slow, n_fast) float32: distance from the beam's axis [m]; 0 where there is no panel."""
        return self._fill(_radius_m, np.float32(0))

    @cached_property
    def radius_pixels(self) -> FloatMap:
        """(n_slow, n_fast) float32: distance from the beam's axis [pixels of the panel]; 0 where there is no panel.

        Where pixels are not square, the mean of their two sizes counts; see `Panel.unit_m`.
        """
        return self._fill(lambda block: _radius_m(block) / block.panel.unit_m, np.float32(0))

    @cached_property
    def azimuth(self) -> FloatMap:
        """(n_slow, n_fast) float32: angle in the plane of x and y from x towards y, -π to π [rad]."""
        return self._fill(lambda block: np.arctan2(block.y_m, block.x_m))

    # --- scattering ----------------------------------------------------------------------------------------------

    @cached_property
    def two_theta(self) -> FloatMap:
        """(n_slow, n_fast) float32: angle between the beam and the scattered one [rad]; needs the distance."""
        distance_m = self.geometry.needed("distance_m")
        return self._fill(lambda block: _two_theta(block, distance_m))

    @cached_property
    def q(self) -> FloatMap:
        """(n_slow, n_fast) float32: momentum transfer 4π·sin(θ)/λ [1/Å]; needs distance and wavelength."""
        distance_m, wavelength_a = self.geometry.needed("distance_m"), self.geometry.needed("wavelength_a")
        return self._fill(lambda block: 4 * np.pi / wavelength_a * np.sin(_two_theta(block, distance_m) / 2))

    @cached_property
    def resolution(self) -> FloatMap:
        """(n_slow, n_fast) float32: d = λ/(2·sin θ) [Å]; infinite in the beam; needs distance and wavelength."""
        distance_m, wavelength_a = self.geometry.needed("distance_m"), self.geometry.needed("wavelength_a")

        def spacing(block: Block) -> Coordinate:
            with np.errstate(divide="ignore", over="ignore"):
                return np.asarray(wavelength_a / (2 * np.sin(_two_theta(block, distance_m) / 2)))

        return self._fill(spacing)

    @cached_property
    def solid_angle(self) -> FloatMap:
        """(n_slow, n_fast) float32: what a pixel sees, over what it would see at the foot of the perpendicular.

        cos(α)·(d/r)² with the angle α of incidence, the pixel's distance r from the sample, and the distance d of the
        plane of the first panel, times the pixel's area over that of the first panel's; cos³(α) of a flat detector.
        Needs the distance.
        """
        distance_m = self.geometry.needed("distance_m")
        first = self.geometry.panels[0]
        normal = _normal(first)
        x, y, z = first.corner_m
        plane_m = abs(normal[0] * x + normal[1] * y + normal[2] * (z + distance_m))
        area = math.prod(first.pixel_size_m)

        def relative(block: Block) -> Coordinate:
            z_m = block.z_m + distance_m
            square = block.x_m**2 + block.y_m**2 + z_m**2
            nx, ny, nz = _normal(block.panel)
            along = np.abs(nx * block.x_m + ny * block.y_m + nz * z_m)
            scale = plane_m**2 * math.prod(block.panel.pixel_size_m) / area
            return np.asarray(along * scale / square**1.5)

        return self._fill(relative)

    def polarisation(self, fraction: float, plane_rad: float = 0.0) -> FloatMap:
        """Return what polarisation leaves of the scattered intensity.

        Parameters
        ----------
        fraction : float
            (I_plane − I_across)/(I_plane + I_across), -1 to 1; a synchrotron has about 0.99.
        plane_rad : float
            Angle of the plane of polarisation from x [rad]; 0 is horizontal.

        Returns
        -------
        (n_slow, n_fast) float32
            ½·(1 + cos²2θ − fraction·cos(2(φ − plane))·sin²2θ).

        References
        ----------
        Kahn et al., J. Appl. Cryst. 15 (1982) 330.
        """
        distance_m = self.geometry.needed("distance_m")

        def factor(block: Block) -> Coordinate:
            cosine = np.cos(_two_theta(block, distance_m)) ** 2
            around = np.cos(2 * (np.arctan2(block.y_m, block.x_m) - plane_rad))
            return np.asarray(0.5 * (1 + cosine - fraction * around * (1 - cosine)))

        return self._fill(factor)

    # --- which panel ---------------------------------------------------------------------------------------------

    @cached_property
    def panel_number(self) -> npt.NDArray[np.int16]:
        """(n_slow, n_fast) int16: number of the panel that holds a pixel, bad or not; -1 where none does."""
        numbers = np.full(self.geometry.shape, -1, dtype=np.int16)
        for number in range(len(self.geometry.panels) - 1, -1, -1):
            panel = self.geometry.panels[number]
            numbers[slice(*panel.slow), slice(*panel.fast)] = number
        return numbers

    @cached_property
    def bad(self) -> npt.NDArray[np.bool_]:
        """(n_slow, n_fast) bool: True where no panel is, or the geometry calls a pixel bad."""
        bad = self.panel_number < 0
        for number, panel in enumerate(self.geometry.panels):
            if not panel.usable:
                bad |= self.panel_number == number
            elif panel.edge_pixels:
                self._mark_edges(bad, number, panel)
        for region in self.geometry.bad:
            if isinstance(region, BadArea):
                self._mark_area(bad, region)
            else:
                self._mark_pixels(bad, region)
        return bad

    @cached_property
    def panel_id(self) -> npt.NDArray[np.int16]:
        """(n_slow, n_fast) int16: number of the panel of a good pixel; -1 where none is, or the pixel is bad."""
        return np.where(self.bad, np.int16(-1), self.panel_number)

    @cached_property
    def panel_boxes(self) -> npt.NDArray[np.int32]:
        """(n_panels, 4) int32: first row, row after the last, first column, column after the last of each panel."""
        return np.array([(*panel.slow, *panel.fast) for panel in self.geometry.panels], dtype=np.int32)

    # --- inside --------------------------------------------------------------------------------------------------

    def _fill(self, value: Callable[[Block], Coordinate], empty: np.float32 = np.float32(np.nan)) -> FloatMap:  # noqa: B008
        """Return a map of what `value` says of each block; the first panel that has a pixel fills it."""
        filled = np.full(self.geometry.shape, empty, dtype=np.float32)
        for panel in reversed(self.geometry.panels):
            for block in blocks(panel, 0.5):
                filled[block.rows, block.columns] = value(block)
        return filled

    def _mark_edges(self, bad: npt.NDArray[np.bool_], number: int, panel: Panel) -> None:
        rows, columns = slice(*panel.slow), slice(*panel.fast)
        inside = np.zeros(panel.shape, dtype=np.bool_)
        edge = min(panel.edge_pixels, max(panel.shape))
        inside[edge : max(panel.shape[0] - edge, 0), edge : max(panel.shape[1] - edge, 0)] = True
        bad[rows, columns] |= (self.panel_number[rows, columns] == number) & ~inside

    def _mark_pixels(self, bad: npt.NDArray[np.bool_], region: BadPixels) -> None:
        rows, columns = slice(*region.slow), slice(*region.fast)
        if region.panel is None:
            bad[rows, columns] = True
            return
        numbers = [n for n, panel in enumerate(self.geometry.panels) if panel.name == region.panel]
        bad[rows, columns] |= np.isin(self.panel_number[rows, columns], numbers)

    def _mark_area(self, bad: npt.NDArray[np.bool_], region: BadArea) -> None:
        for number, panel in enumerate(self.geometry.panels):
            size_m = panel.unit_m
            for block in blocks(panel, 0.0):
                x, y = block.x_m / size_m, block.y_m / size_m
                inside = (x > region.x[0]) & (x < region.x[1]) & (y > region.y[0]) & (y < region.y[1])
                where = (block.rows, block.columns)
                bad[where] |= inside & (self.panel_number[where] == number)


def blocks(panel: Panel, within: float) -> Iterator[Block]:
    """Yield the rows of a panel, some at a time, with the positions of a point in each pixel.

    Parameters
    ----------
    panel : Panel
        The panel.
    within : float
        Where in a pixel the point is: 0 at its first corner, 0.5 at its centre.
    """
    n_slow, n_fast = panel.shape
    n_rows = max(1, BLOCK_PIXELS // n_fast)
    along = np.arange(n_fast, dtype=np.float64) + within
    for first in range(0, n_slow, n_rows):
        stop = min(first + n_rows, n_slow)
        down = np.arange(first, stop, dtype=np.float64)[:, np.newaxis] + within
        x_m, y_m, z_m = (
            corner + down * slow + along * fast
            for corner, slow, fast in zip(panel.corner_m, panel.slow_step_m, panel.fast_step_m, strict=True)
        )
        rows = slice(panel.slow[0] + first, panel.slow[0] + stop)
        yield Block(panel=panel, rows=rows, columns=slice(*panel.fast), x_m=x_m, y_m=y_m, z_m=z_m)


def _radius_m(block: Block) -> Coordinate:
    return np.hypot(block.x_m, block.y_m)


def _two_theta(block: Block, distance_m: float) -> Coordinate:
    return np.arctan2(_radius_m(block), block.z_m + distance_m)


def _normal(panel: Panel) -> tuple[float, float, float]:
    """Return the unit vector across a panel."""
    across = cross(panel.fast_step_m, panel.slow_step_m)
    length = math.hypot(*across)
    return (across[0] / length, across[1] / length, across[2] / length)
