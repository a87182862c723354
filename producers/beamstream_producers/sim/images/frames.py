"""Serial-crystallography frames as a detector would count them, from nothing but a seed.

A frame is the falling background of air and sample, the ring of water, the shadow of the beam stop, and, on
the hits, Bragg peaks, some of them overloaded. All of it is Poisson noise around an expectation. Masked
pixels and overloaded ones hold the largest value of the element, as EIGER2 writes them. A few noisy pixels
are in no mask, because that is life at a beamline. Nothing here depends on a clock or on global state: the
same recipe and number give the same frame.

The geometry is fixed by the model; moving the detector through its REST interface changes what it says, not
the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .detectors import NOISY_BIT, DetectorModel, gap_mask, pixel_mask
from .peaks import PATCH_RADIUS, Peak, place_peaks, spot

N_LEVELS = 96
"""Distinct expectations of the background; neighbouring ones differ by about 5 %, far less than the noise."""

N_QUANTILES = 1 << 16
"""Steps of the inverse distribution: one 16-bit random number per pixel, the rarest count has 1 in 65536."""

ROWS_AT_ONCE = 128
"""Rows that are drawn together; keeps the index arrays in the cache [pixels]."""

AIR_COUNTS, AIR_RADIUS_M, FLOOR_COUNTS = 6.0, 0.030, 0.15
"""Background next to the beam [photons per pixel], where it falls to 1/e [m], and what is left far out."""

WATER_SPACING_A, WATER_WIDTH_M, WATER_COUNTS = 3.2, 0.004, 3.0
"""Spacing of the ring of water [Å], its half width [m] and its height [photons per pixel]."""

BEAM_STOP_RADIUS_M, BEAM_STOP_TRANSMISSION = 0.0015, 0.02
"""Radius of the shadow [m], and the share of the background that is seen in it."""

N_UNLISTED_HOT_PIXELS = 8
"""Noisy pixels that the mask does not know yet; each counts about `HOT_COUNTS` photons in every frame."""

HOT_COUNTS = 1500

EV_ANGSTROM = 12_398.419_84
"""Photon energy times wavelength, h c [eV Å]."""

_CUTOFFS = {8: 0xFE, 16: 0xFFFE, 32: 4_000_000}
"""Most counts that a pixel tells, by bit depth [photons]; above it reads as the largest value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the pixels of every frame.

    Attributes
    ----------
    model : DetectorModel
        Shape, gaps and geometry.
    seed : int
        Frames, mask and hits follow from it.
    n_frames : int
        Distinct frames; their numbers are 0 to n_frames - 1.
    hit_fraction : float
        Share of them that shows Bragg peaks, rounded to whole frames; at least one if it is not 0.
    bit_depth : int
        8, 16 or 32.
    mask_applied : bool
        Write masked pixels as the largest value; otherwise dead ones count nothing, noisy ones too much.
    """

    model: DetectorModel
    seed: int
    n_frames: int
    hit_fraction: float
    bit_depth: int = 16
    mask_applied: bool = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element of the image."""
        return np.dtype(f"<u{self.bit_depth // 8}")

    @property
    def frame_bytes(self) -> int:
        """Size of one frame before compression [bytes]."""
        n_slow, n_fast = self.model.shape
        return n_slow * n_fast * self.dtype.itemsize

    def dealt_from(self, n_frames: int) -> Recipe:
        """Return the same recipe for another number of frames."""
        return replace(self, n_frames=n_frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is in a frame, as nobody knows it at a real beamline.

    Attributes
    ----------
    index : int
        Number of the frame within its recipe.
    peaks : tuple of Peak
        Its Bragg peaks; empty for a miss.
    """

    index: int
    peaks: tuple[Peak, ...]

    @property
    def hit(self) -> bool:
        """It shows Bragg peaks."""
        return bool(self.peaks)


def count_cutoff(bit_depth: int) -> int:
    """Return the most counts that a pixel of this many bits tells [photons]."""
    return _CUTOFFS[bit_depth]


def background(model: DetectorModel) -> npt.NDArray[np.float32]:
    """Return the expected background, (n_slow, n_fast) float32 [photons per pixel]."""
    n_slow, n_fast = model.shape
    slow_m = (np.arange(n_slow, dtype=np.float32)[:, None] - model.beam_center[0]) * model.pixel_size_m
    fast_m = (np.arange(n_fast, dtype=np.float32)[None, :] - model.beam_center[1]) * model.pixel_size_m
    radius_m: npt.NDArray[np.float32] = np.hypot(slow_m, fast_m)
    wavelength_a = EV_ANGSTROM / model.photon_energy_ev
    ring_m = model.distance_m * np.tan(2 * np.arcsin(wavelength_a / (2 * WATER_SPACING_A)))
    counts = FLOOR_COUNTS + AIR_COUNTS * np.exp(-radius_m / AIR_RADIUS_M)
    counts += WATER_COUNTS * np.exp(-0.5 * np.square((radius_m - ring_m) / WATER_WIDTH_M))
    counts[radius_m < BEAM_STOP_RADIUS_M] *= BEAM_STOP_TRANSMISSION
    return np.asarray(counts, dtype=np.float32)


class FrameMaker:
    """Makes the frames of one recipe; holds what all of them share."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        model, seed = recipe.model, recipe.seed
        self.mask = pixel_mask(model, seed)
        levels, self._level_of = _quantise(background(model))
        self._counts = _inverse_poisson(levels)
        self._hits = frozenset(_choose_hits(recipe))
        self._placeable = ~gap_mask(model)
        good = np.flatnonzero(self.mask == 0)
        self._unlisted = good[np.random.default_rng((seed, 2)).choice(good.size, N_UNLISTED_HOT_PIXELS, replace=False)]

    def truth(self, index: int) -> Truth:
        """Return what is in frame `index`."""
        if index not in self._hits:
            return Truth(index=index, peaks=())
        model = self.recipe.model
        stop_px = BEAM_STOP_RADIUS_M / model.pixel_size_m
        cutoff = count_cutoff(self.recipe.bit_depth)
        peaks = place_peaks(self._random(index, "peaks"), self._placeable, model.beam_center, stop_px, cutoff)
        return Truth(index=index, peaks=peaks)

    def make(self, index: int) -> npt.NDArray[Any]:
        """Return frame `index`, (n_slow, n_fast) of the recipe's dtype."""
        random = self._random(index, "counts")
        counts = self._draw_background(random)
        for peak in self.truth(index).peaks:
            _add_peak(counts, peak, random)
        self._spoil_pixels(counts, random)
        return self._as_written(counts)

    def _random(self, index: int, purpose: str) -> np.random.Generator:
        # random numbers of its own per frame and purpose: frames in any order, and truth without pixels
        return np.random.default_rng((self.recipe.seed, 3, index, {"counts": 0, "peaks": 1}[purpose]))

    def _draw_background(self, random: np.random.Generator) -> npt.NDArray[np.uint32]:
        out = np.empty(self.recipe.model.shape, dtype=np.uint32)
        for first in range(0, out.shape[0], ROWS_AT_ONCE):
            levels = self._level_of[first : first + ROWS_AT_ONCE]
            index = random.integers(0, N_QUANTILES, levels.shape, dtype=np.uint16).astype(np.intp)
            index += levels.astype(np.intp) * N_QUANTILES
            out[first : first + ROWS_AT_ONCE] = self._counts.take(index)
        return out

    def _spoil_pixels(self, counts: npt.NDArray[np.uint32], random: np.random.Generator) -> None:
        flat = counts.reshape(-1)
        flat[self._unlisted] = random.poisson(HOT_COUNTS, self._unlisted.size)
        if self.recipe.mask_applied:
            return
        flat[self.mask.reshape(-1) != 0] = 0
        noisy = np.flatnonzero(self.mask.reshape(-1) & NOISY_BIT)
        flat[noisy] = random.poisson(HOT_COUNTS, noisy.size)

    def _as_written(self, counts: npt.NDArray[np.uint32]) -> npt.NDArray[Any]:
        """Return the counts as they are written: overloaded and masked pixels hold the largest value."""
        largest = np.iinfo(self.recipe.dtype).max
        counts[counts > count_cutoff(self.recipe.bit_depth)] = largest
        counts[(self.mask != 0) if self.recipe.mask_applied else ~self._placeable] = largest
        return counts.astype(self.recipe.dtype, copy=False)


def _choose_hits(recipe: Recipe) -> list[int]:
    """Return the numbers of the frames that show peaks."""
    n_hits = round(recipe.hit_fraction * recipe.n_frames)
    if recipe.hit_fraction > 0:
        n_hits = max(1, n_hits)
    order = np.random.default_rng((recipe.seed, 4)).permutation(recipe.n_frames)
    return [int(index) for index in order[:n_hits]]


def _quantise(expected: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Round expectations to `N_LEVELS` values; return these, and as uint8 which one each pixel has."""
    levels = np.geomspace(float(expected.min()), float(expected.max()), N_LEVELS)
    edges = np.sqrt(levels[1:] * levels[:-1])
    return levels, np.searchsorted(edges, expected).astype(np.uint8)


def _inverse_poisson(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return (N_LEVELS * N_QUANTILES,) uint8: the count that a 16-bit random number stands for, by level.

    Looking a count up costs a few nanoseconds; drawing it with `Generator.poisson` costs thirty times that.
    """
    quantiles = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    table = np.empty((levels.size, N_QUANTILES), dtype=np.uint8)
    for row, expectation in zip(table, levels, strict=True):
        row[:] = np.searchsorted(_poisson_cdf(float(expectation)), quantiles)
    return table.reshape(-1)


def _poisson_cdf(expectation: float) -> npt.NDArray[np.float64]:
    """Return P(count <= 0), P(count <= 1), … up to where a 16-bit random number sees no difference from 1."""
    n_counts = int(expectation + 8 * expectation**0.5) + 12
    ratios = expectation / np.arange(1, n_counts)
    terms = np.concatenate(([1.0], np.cumprod(ratios)))
    return np.asarray(np.exp(-expectation) * np.cumsum(terms), dtype=np.float64)


def _add_peak(counts: npt.NDArray[np.uint32], peak: Peak, random: np.random.Generator) -> None:
    """Count the photons of one peak into the frame, cut off at its edges."""
    photons = random.poisson(spot(peak)).astype(np.uint32)
    row, column = round(peak.slow) - PATCH_RADIUS, round(peak.fast) - PATCH_RADIUS
    rows = slice(max(row, 0), min(row + photons.shape[0], counts.shape[0]))
    columns = slice(max(column, 0), min(column + photons.shape[1], counts.shape[1]))
    counts[rows, columns] += photons[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
