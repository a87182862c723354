"""Where the pixels of a detector are: one description, whatever it was read from.

The laboratory's frame is that of NeXus (McStas) and of CrystFEL: z along the beam, y up, x completing the right-handed
frame (to the left as seen along the beam); the sample is at the origin, lengths are in metres. Pixel (i, j) of a frame
covers slow coordinates i to i + 1 and fast ones j to j + 1: its centre is half a pixel from its corner, and `corner_m`
is the outer corner of a panel's first pixel.

A description is checked when it is made, sizes before anything is allocated for them. What can be computed from it is
in `maps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import GeometryFormatError, GeometryIncompleteError, GeometryShapeError

Vector = tuple[float, float, float]

EV_ANGSTROM = 12_398.419_843_320_026
"""h·c [eV·Å], exact since the SI of 2019."""

MAX_PANELS = 4096
"""Most panels of a detector; an AGIPD of 1 Mpx has 128. Panel numbers have to fit into int16."""

MAX_FRAME_PIXELS = 1 << 28
"""Largest frame [pixels]: sixteen times an Eiger 16M."""

MAX_DISTANCE_M = 1000.0
"""Farthest that anything may be from the sample [m]; the longest SAXS flight tubes have some tens of metres."""

PIXEL_SIZES_M = (1e-7, 0.1)
"""Sizes that a pixel may have [m]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFlags:
    """Values [ADU] that say that a pixel is bad: below `less_than`, above `more_than`, or one of `equal`."""

    less_than: float | None = None
    more_than: float | None = None
    equal: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A flat piece of a detector: a rectangle of the frame, and where it is.

    Attributes
    ----------
    name : str
        What it is called.
    slow, fast : (int, int)
        Its first row (column) in the frame, and the one after its last.
    corner_m : (x, y, z)
        The outer corner of its first pixel [m]; z is counted from the detector's `distance_m`.
    fast_step_m, slow_step_m : (x, y, z)
        From one pixel to the next along fast (slow) [m].
    usable : bool
        Whether its pixels are to be used at all.
    edge_pixels : int
        How many pixels at each of its edges are bad.
    adu_per_photon, adu_per_ev : float or None
        What a photon (an electron volt) reads as [ADU].
    saturation_adu : float or None
        From which value on a pixel is saturated [ADU].
    flags : ValueFlags
        Values of bad pixels.
    pitch_m : float or None
        What lengths in pixels are counted in [m], where it is not the pixels' own size: the steps of CrystFEL's files
        are refined and differ from it by a little.
    """

    name: str
    slow: tuple[int, int]
    fast: tuple[int, int]
    corner_m: Vector
    fast_step_m: Vector
    slow_step_m: Vector
    usable: bool = True
    edge_pixels: int = 0
    adu_per_photon: float | None = None
    adu_per_ev: float | None = None
    saturation_adu: float | None = None
    flags: ValueFlags = field(default_factory=ValueFlags)
    pitch_m: float | None = None

    @property
    def unit_m(self) -> float:
        """What a length in pixels is counted in [m]: the pitch, else the mean of the pixels' two sizes."""
        return sum(self.pixel_size_m) / 2 if self.pitch_m is None else self.pitch_m

    @property
    def shape(self) -> tuple[int, int]:
        """(n_slow, n_fast) of this panel [pixels]."""
        return self.slow[1] - self.slow[0], self.fast[1] - self.fast[0]

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Size of a pixel along slow and along fast [m]."""
        return math.hypot(*self.slow_step_m), math.hypot(*self.fast_step_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPixels:
    """A rectangle of the frame that is bad; only where `panel` is, if one is named.

    Attributes
    ----------
    name : str
        What it is called.
    slow, fast : (int, int)
        First row (column) in the frame, and the one after the last.
    panel : str or None
        Name of the panel that is meant.
    """

    name: str
    slow: tuple[int, int]
    fast: tuple[int, int]
    panel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadArea:
    """A rectangle of the laboratory's x and y that is bad, as CrystFEL has it.

    Pixels whose first corner lies inside, limits not included; in pixel widths of the panel that they are on.

    Attributes
    ----------
    name : str
        What it is called.
    x, y : (float, float)
        Limits [pixels of the panel].
    """

    name: str
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFile:
    """A mask that the geometry refers to.

    A pixel is bad unless all of `good_bits` are set, and if any of `bad_bits` is.

    Attributes
    ----------
    location : str
        Path of the dataset.
    file : str or None
        The file it is in; None: that of the images.
    good_bits, bad_bits : int
        What the bits mean.
    """

    location: str
    file: str | None = None
    good_bits: int = 0
    bad_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where the pixels of a detector are.

    Attributes
    ----------
    panels : tuple of Panel
        Its parts; where two hold the same pixel of the frame, the first one has it.
    shape : (n_slow, n_fast)
        Shape of the frames that it describes [pixels].
    distance_m : float or None
        What is added to all panels' z [m]: the distance of the detector from the sample.
    wavelength_a : float or None
        Wavelength of the beam [Å].
    bad : tuple of BadPixels and BadArea
        Regions that are bad.
    masks : tuple of MaskFile
        Masks that it refers to.
    groups : mapping
        Name of a group → names of the panels (or groups) in it.
    locations : mapping
        Where to find what it does not say itself: ``distance`` and ``wavelength`` → a path, and its unit.
    data_location : str or None
        Path of the images in a file.
    origin : str
        What it was read from, for messages.

    Raises
    ------
    GeometryFormatError
        If it describes no possible detector.
    """

    panels: tuple[Panel, ...]
    shape: tuple[int, int]
    distance_m: float | None = None
    wavelength_a: float | None = None
    bad: tuple[BadPixels | BadArea, ...] = ()
    masks: tuple[MaskFile, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    locations: Mapping[str, str] = field(default_factory=dict)
    data_location: str | None = None
    origin: str = "this geometry"

    def __post_init__(self) -> None:
        if not 0 < len(self.panels) <= MAX_PANELS:
            raise GeometryFormatError(self.origin, 0, f"{len(self.panels)} panels; there are 1 to {MAX_PANELS}")
        n_slow, n_fast = self.shape
        if n_slow < 1 or n_fast < 1 or n_slow * n_fast > MAX_FRAME_PIXELS:
            raise GeometryFormatError(
                self.origin, 0, f"frames of {self.shape} pixels cannot be; the limit is {MAX_FRAME_PIXELS} pixels"
            )
        for panel in self.panels:
            self._check(panel)
        for name, value in (("distance", self.distance_m), ("wavelength", self.wavelength_a)):
            if value is not None and not 0 < value < MAX_DISTANCE_M:
                raise GeometryFormatError(self.origin, 0, f"a {name} of {value:g} cannot be")

    @property
    def photon_energy_ev(self) -> float | None:
        """Photon energy [eV]; None where the wavelength is unknown."""
        return None if self.wavelength_a is None else EV_ANGSTROM / self.wavelength_a

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Size of the first panel's pixels along slow and along fast [m]."""
        return self.panels[0].pixel_size_m

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse frames of another shape.

        Parameters
        ----------
        shape : (n_slow, n_fast)
            Shape of the frames [pixels].

        Raises
        ------
        GeometryShapeError
            If this geometry is not theirs.
        """
        if tuple(shape) != self.shape:
            raise GeometryShapeError(self.origin, self.shape, shape)

    def within(self, shape: tuple[int, int]) -> Geometry:
        """Return this geometry for frames that are larger than its panels reach; what is beyond them has no panel.

        Raises
        ------
        GeometryShapeError
            If the frames are smaller.
        """
        if shape[0] < self.shape[0] or shape[1] < self.shape[1]:
            raise GeometryShapeError(self.origin, self.shape, shape)
        return replace(self, shape=shape)

    def at(self, *, distance_m: float | None = None, wavelength_a: float | None = None) -> Geometry:
        """Return this geometry with another distance [m] or wavelength [Å]."""
        changes: dict[str, Any] = {}
        if distance_m is not None:
            changes["distance_m"] = float(distance_m)
        if wavelength_a is not None:
            changes["wavelength_a"] = float(wavelength_a)
        return replace(self, **changes)

    def needed(self, name: str) -> float:
        """Return ``distance_m`` or ``wavelength_a``.

        Raises
        ------
        GeometryIncompleteError
            If the geometry does not have it.
        """
        value: float | None = getattr(self, name)
        if value is None:
            what = "the distance" if name == "distance_m" else "the wavelength"
            place = self.locations.get(name.rpartition("_")[0])
            reason = f"{what} (it refers to {place})" if place else what
            raise GeometryIncompleteError(self.origin, reason, f"name it: at({name}=…)")
        return value

    def _check(self, panel: Panel) -> None:
        """Refuse a panel that cannot be."""
        for first, stop, size, axis in ((*panel.slow, self.shape[0], "slow"), (*panel.fast, self.shape[1], "fast")):
            if not 0 <= first < stop <= size:
                reason = f"panel {panel.name} covers {axis} pixels {first} to {stop - 1} of {size}"
                raise GeometryFormatError(self.origin, 0, reason)
        numbers = (*panel.corner_m, *panel.fast_step_m, *panel.slow_step_m)
        if not all(map(math.isfinite, numbers)) or max(map(abs, numbers)) > MAX_DISTANCE_M:
            reason = f"panel {panel.name} is not within {MAX_DISTANCE_M:g} m of the sample"
            raise GeometryFormatError(self.origin, 0, reason)
        for size_m in panel.pixel_size_m:
            if not PIXEL_SIZES_M[0] <= size_m <= PIXEL_SIZES_M[1]:
                reason = f"panel {panel.name} has pixels of {size_m:g} m; they have {PIXEL_SIZES_M[0]:g} m at least"
                raise GeometryFormatError(self.origin, 0, f"{reason} and {PIXEL_SIZES_M[1]:g} m at most")
        if math.hypot(*cross(panel.fast_step_m, panel.slow_step_m)) < 1e-3 * math.prod(panel.pixel_size_m):
            raise GeometryFormatError(self.origin, 0, f"fast and slow of panel {panel.name} have the same direction")


def cross(a: Vector, b: Vector) -> Vector:
    """Return the vector product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
