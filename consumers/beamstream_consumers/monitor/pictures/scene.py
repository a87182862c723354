"""A scene: what all pictures of one run share. Where pixels are seen, which are bad, what the geometry says.

A detector of one panel is shown as its frames are; several panels are assembled as they are seen along the beam.
Positions in pictures: x along the fast axis (columns), y along the slow one (rows), pixel (0, 0) covers 0 to 1.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import BeamstreamError
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.geometry import (
    Assembly,
    Geometry,
    GeometryIncompleteError,
    GeometryMaps,
    assemble_pixels,
    parse_text,
    read_geometry,
)
from beamstream_consumers.geometry.nexus_format import wavelength_a
from beamstream_consumers.kernels.radial_bins import RadialBins, make_bins

log = logging.getLogger(__name__)

MAX_RADIAL_BINS = 4096
"""Most bins of the radial profile: one for each pixel of radius, up to twice the diagonal of a 4M detector."""


@dataclass(frozen=True, slots=True)
class RawPixel:
    """A pixel of the frame: its row and column there, and the name of its panel."""

    slow: int
    fast: int
    panel: str


class Scene:
    """What pictures of one run share.

    Parameters
    ----------
    metadata : mapping
        Of the stream.
    shape : (n_slow, n_fast)
        Shape of its frames.
    mask : (n_slow, n_fast) array, optional
        More bad pixels, not 0 where bad; passed over where it is of another shape, and said.
    geometry : str, optional
        Text of a .geom or .poni file; else what the metadata say.

    Attributes
    ----------
    flaws : list of str
        What could not be used, in words.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        shape: tuple[int, int],
        *,
        mask: npt.NDArray[Any] | None = None,
        geometry: str | None = None,
    ) -> None:
        self.frame_shape = shape
        self.flaws: list[str] = []
        self.geometry = self._read_geometry(metadata, geometry)
        self.assembly = self._assemble()
        self.raw_mask = self._join_masks(metadata, mask)

    def _read_geometry(self, metadata: Mapping[str, Any], text: str | None) -> Geometry | None:
        try:
            if text is None:
                return read_geometry(metadata, self.frame_shape)
            geometry = parse_text(text, "the geometry that was given", self.frame_shape, metadata)
            geometry = geometry.within(self.frame_shape)
            beam = wavelength_a(metadata)
            return geometry if geometry.wavelength_a is not None or beam is None else geometry.at(wavelength_a=beam)
        except GeometryIncompleteError:
            return None
        except BeamstreamError as error:
            self.flaws.append(f"the geometry cannot be used: {error}")
            return None

    def _assemble(self) -> Assembly | None:
        if self.geometry is None or len(self.geometry.panels) == 1:
            return None
        try:
            return assemble_pixels(self.geometry)
        except BeamstreamError as error:
            self.flaws.append(f"the panels cannot be assembled: {error}")
            return None

    def _join_masks(self, metadata: Mapping[str, Any], more: npt.NDArray[Any] | None) -> npt.NDArray[np.bool_] | None:
        bad = pixel_mask(metadata, self.frame_shape)
        if more is not None and more.shape != self.frame_shape:
            self.flaws.append(f"the mask is {more.shape}, the frames are {self.frame_shape}; it is not used")
            more = None
        if more is not None:
            bad = more != 0 if bad is None else bad | (more != 0)
        if self.maps is not None and (len(self.maps.geometry.bad) or len(self.maps.geometry.panels) > 1):
            outside = self.maps.bad
            if outside.any():
                bad = outside if bad is None else bad | outside
        return bad

    def is_like(self, other: Scene) -> bool:
        """Whether pictures of both are made in the same way, and the same is wrong with them."""
        if (self.frame_shape, self.geometry, self.flaws) != (other.frame_shape, other.geometry, other.flaws):
            return False
        if self.raw_mask is None or other.raw_mask is None:
            return self.raw_mask is other.raw_mask
        return np.array_equal(self.raw_mask, other.raw_mask)

    # --- pixels ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of pictures (n_rows, n_columns)."""
        if self.assembly is None:
            return self.frame_shape
        return self.assembly.index.shape[0], self.assembly.index.shape[1]

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Which pixels of pictures are bad; None where none is."""
        if self.raw_mask is None or self.assembly is None:
            return self.raw_mask
        return self.assembly.assemble(self.raw_mask, empty=False)

    @cached_property
    def n_masked(self) -> int:
        """How many pixels of pictures are bad."""
        return 0 if self.mask is None else int(np.count_nonzero(self.mask))

    @cached_property
    def n_empty(self) -> int:
        """How many places of pictures no pixel is seen at."""
        return 0 if self.assembly is None else int(np.count_nonzero(self.assembly.index < 0))

    def raw_pixel(self, x: int, y: int) -> RawPixel | None:
        """Return which pixel of the frame is seen at a place; None where none is."""
        if not (0 <= y < self.shape[0] and 0 <= x < self.shape[1]):
            return None
        if self.assembly is None:
            slow, fast = y, x
        else:
            number = int(self.assembly.index[y, x])
            if number < 0:
                return None
            slow, fast = divmod(number, self.frame_shape[1])
        panel = "" if self.maps is None else self._panel_name(slow, fast)
        return RawPixel(slow, fast, panel)

    def _panel_name(self, slow: int, fast: int) -> str:
        number = -1 if self.maps is None else int(self.maps.panel_number[slow, fast])
        return "" if self.geometry is None or number < 0 else self.geometry.panels[number].name

    # --- geometry ----------------------------------------------------------------------------------------------

    @cached_property
    def maps(self) -> GeometryMaps | None:
        """The maps of the geometry; None where there is none."""
        return None if self.geometry is None else GeometryMaps(self.geometry)

    @cached_property
    def radial_bins(self) -> RadialBins | None:
        """Bins of one pixel of radius each; None where the beam's centre is not known."""
        if self.maps is None:
            return None
        radius = self.maps.radius_pixels
        n_bins = min(MAX_RADIAL_BINS, max(1, math.ceil(float(radius.max()))))
        try:
            return make_bins(radius, n_bins, bad=self.raw_mask, limits=(0.0, float(max(n_bins, radius.max()))))
        except BeamstreamError as error:
            log.info("there is no radial profile: %s", error)
            return None

    @cached_property
    def beam(self) -> tuple[float, float] | None:
        """Where the beam's axis is in pictures (x, y); None where it is not known."""
        if self.assembly is not None:
            return self.assembly.centre[1], self.assembly.centre[0]
        if self.geometry is None:
            return None
        panel = self.geometry.panels[0]
        (sx, sy, _), (fx, fy, _) = panel.slow_step_m, panel.fast_step_m
        determinant = sx * fy - sy * fx
        if abs(determinant) < 1e-9 * math.prod(panel.pixel_size_m):
            return None
        x, y = -panel.corner_m[0], -panel.corner_m[1]
        slow, fast = (x * fy - y * fx) / determinant, (y * sx - x * sy) / determinant
        return fast + panel.fast[0], slow + panel.slow[0]

    def document(self) -> dict[str, Any] | None:
        """Return the geometry as the protocol has it; None where nothing is known."""
        geometry = self.geometry
        if geometry is None:
            return None
        slow_m, fast_m = geometry.pixel_size_m
        if self.assembly is not None:
            slow_m = fast_m = self.assembly.pixel_size_m
        return {
            "name": geometry.origin,
            "beam": None if self.beam is None else list(self.beam),
            "pixel_m": [fast_m, slow_m],
            "distance_m": geometry.distance_m,
            "wavelength_a": geometry.wavelength_a,
        }

    def resolution_a(self, slow: int, fast: int) -> float | None:
        """Return d at the centre of a pixel of the frame [Å]; None where the geometry does not say it."""
        geometry, maps = self.geometry, self.maps
        if geometry is None or maps is None or geometry.distance_m is None or geometry.wavelength_a is None:
            return None
        number = int(maps.panel_number[slow, fast])
        if number < 0:
            return None
        panel = geometry.panels[number]
        x, y, z = (
            corner + (slow - panel.slow[0] + 0.5) * down + (fast - panel.fast[0] + 0.5) * along
            for corner, down, along in zip(panel.corner_m, panel.slow_step_m, panel.fast_step_m, strict=True)
        )
        sine = math.sin(math.atan2(math.hypot(x, y), z + geometry.distance_m) / 2)
        return geometry.wavelength_a / (2 * sine) if sine > 0 else None

    def place_peaks(self, fs: npt.NDArray[np.float64], ss: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return where peaks are seen.

        Parameters
        ----------
        fs, ss : (n,) float64
            Where they are in the frame [pixels]; the middle of the first pixel is 0.

        Returns
        -------
        (n, 2) float32
            x, y in pictures.
        """
        seen = np.stack([fs + 0.5, ss + 0.5], axis=1)
        if self.assembly is None or self.geometry is None or self.maps is None:
            return seen.astype(np.float32)
        n_slow, n_fast = self.frame_shape
        row = np.clip(np.floor(ss + 0.5), 0, n_slow - 1).astype(np.int64)
        column = np.clip(np.floor(fs + 0.5), 0, n_fast - 1).astype(np.int64)
        numbers = self.maps.panel_number[row, column]
        size_m = self.assembly.pixel_size_m
        for number in np.unique(numbers[numbers >= 0]):
            panel, here = self.geometry.panels[number], numbers == number
            down, along = ss[here] + 0.5 - panel.slow[0], fs[here] + 0.5 - panel.fast[0]
            x = panel.corner_m[0] + down * panel.slow_step_m[0] + along * panel.fast_step_m[0]
            y = panel.corner_m[1] + down * panel.slow_step_m[1] + along * panel.fast_step_m[1]
            seen[here, 0] = -x / size_m + self.assembly.centre[1]
            seen[here, 1] = -y / size_m + self.assembly.centre[0]
        return seen.astype(np.float32)
