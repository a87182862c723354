"""Which pixel counts in which bin of a radial axis, and how much: made once for a stream, used for every frame.

Definition (that of pyFAI's CSR engines «no» and «bbox» of splitting): the axis goes from the smallest to the largest
position of a good pixel, or over the limits that are asked for, in bins of one width. Without splitting a pixel counts
in the bin that its centre is in. With it, a pixel is spread evenly over its position plus and minus its half width, and
each bin gets the share that it covers, its weight; what it covers beyond an end of the axis goes to the bin there, so
that a pixel is in the curve as a whole or not at all. Limits include their ends: the upper one is moved up by one part
in eight million.

Policy: what cannot count does not get in. Pixels that are bad, outside the limits, without a position, or with a
normalisation that is not a positive number are in no bin.

References
----------
J. Kieffer, J. P. Wright, Powder Diffraction 28 (2013) S339: splitting, and the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import uint32

from beamstream.compiling import compiled
from beamstream.errors import ShapeError, UsageError

MAX_BINS = 65_536
"""Most bins of a curve; no detector has as many pixels along a radius, and 0.5 MB is what a message should hold."""

UPPER_BOUND = 1.0 + float(np.finfo(np.float32).eps)
"""By what the upper end of an axis is multiplied, so that the outermost pixel is in the last bin; as pyFAI does."""

FloatMap = npt.NDArray[np.floating[Any]]
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialBins:
    """Where pixels count.

    Attributes
    ----------
    shape : (n_slow, n_fast)
        Shape of the images [pixels].
    centers : (n_bins,) float64
        Middle of each bin, in the unit of the positions.
    width : float
        Width of a bin, in the same unit.
    normalization : (n_slow * n_fast,) float32
        What each pixel's signal is divided by: solid angle, polarisation, flat field …
    bin_of : (n_slow * n_fast,) uint32
        Without splitting, each pixel's bin, `n_bins` for none; empty otherwise.
    first_share : (n_slow * n_fast + 1,) uint32
        With splitting, where each pixel's shares begin in the two arrays below; empty otherwise.
    share_bins, share_weights : (n_shares,) uint32, float32
        Which bins they go to, and how much of the pixel.
    sum_normalization, sum_squares, n_pixels : (n_bins,) float64
        Over all pixels of a bin: weight times normalisation, its square, the weight.
    """

    shape: tuple[int, int]
    centers: Sums
    width: float
    normalization: npt.NDArray[np.float32]
    bin_of: npt.NDArray[np.uint32]
    first_share: npt.NDArray[np.uint32]
    share_bins: npt.NDArray[np.uint32]
    share_weights: npt.NDArray[np.float32]
    sum_normalization: Sums
    sum_squares: Sums
    n_pixels: Sums

    @property
    def n_bins(self) -> int:
        """How many bins there are."""
        return int(self.centers.size)

    @property
    def splits(self) -> bool:
        """Whether a pixel may count in several bins."""
        return bool(self.first_share.size)

    @property
    def counting(self) -> npt.NDArray[np.bool_]:
        """(n_slow, n_fast) bool: True where a pixel is in any bin."""
        inside = self.first_share[1:] > self.first_share[:-1] if self.splits else self.bin_of < self.n_bins
        return np.asarray(inside).reshape(self.shape)


def make_bins(
    position: FloatMap,
    n_bins: int,
    *,
    normalization: FloatMap | None = None,
    bad: npt.NDArray[np.bool_] | None = None,
    limits: tuple[float, float] | None = None,
    half_width: FloatMap | None = None,
) -> RadialBins:
    """Find the bins of all pixels.

    Parameters
    ----------
    position : (n_slow, n_fast) float
        Where each pixel's centre is on the axis, e.g. q [1/Å]; NaN where there is no pixel.
    n_bins : int
        How many bins.
    normalization : (n_slow, n_fast) float, optional
        What each pixel's signal is divided by; 1 everywhere by default.
    bad : (n_slow, n_fast) bool, optional
        True where a pixel does not count.
    limits : (float, float), optional
        First and last position that counts; by default those of the pixels.
    half_width : (n_slow, n_fast) float, optional
        How far a pixel reaches to both sides of its centre; None: pixels are not split.

    Raises
    ------
    ShapeError
        If the maps differ in shape, or are no images.
    UsageError
        If the number of bins or the limits make no axis, or no pixel is left.
    """
    shape = _checked(position, {"normalization": normalization, "bad": bad, "half width": half_width})
    if not 1 <= n_bins <= MAX_BINS:
        raise UsageError(f"{n_bins} bins are not possible; there may be 1 to {MAX_BINS}")
    centers = _flat64(position)
    halves = np.zeros(0) if half_width is None else _flat64(half_width)
    weights = np.ones(centers.size, np.float32) if normalization is None else _flat32(normalization)
    usable = np.isfinite(centers) & np.isfinite(weights) & (weights > 0)
    if bad is not None:
        usable &= ~bad.reshape(-1)
    if halves.size:
        usable &= np.isfinite(halves) & (halves >= 0)
    first, last = _limits(centers, halves, usable, limits)
    width = (last * UPPER_BOUND - first) / n_bins
    if not width > 0:
        raise UsageError(f"bins from {first:g} to {last:g} have no width; give limits that differ")
    if halves.size:
        bin_of = np.zeros(0, np.uint32)
        first_share, share_bins, share_weights = _split(centers, halves, usable, first, width, n_bins)
    else:
        bin_of = _bin_numbers(centers, usable, first, width, n_bins)
        first_share, share_bins, share_weights = np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0, np.float32)
    bins = RadialBins(
        shape=shape,
        centers=np.asarray(first + (np.arange(n_bins, dtype=np.float64) + 0.5) * width),
        width=width,
        normalization=np.where(usable, weights, np.float32(0)),
        bin_of=bin_of,
        first_share=first_share,
        share_bins=share_bins,
        share_weights=share_weights,
        sum_normalization=np.zeros(n_bins),
        sum_squares=np.zeros(n_bins),
        n_pixels=np.zeros(n_bins),
    )
    _sum_up(bins)
    if not bins.n_pixels.any():
        raise UsageError(f"no good pixel is between {first:g} and {last:g}; look at the limits, the mask, the geometry")
    return bins


def _checked(position: FloatMap, maps: dict[str, npt.NDArray[Any] | None]) -> tuple[int, int]:
    """Return the shape that all maps have."""
    if position.ndim != 2 or not position.size:
        raise ShapeError(f"positions of pixels are an image (n_slow, n_fast), these have shape {position.shape}")
    for name, one in maps.items():
        if one is not None and one.shape != position.shape:
            raise ShapeError(f"the map of {name} is {one.shape}, that of positions {position.shape}")
    return int(position.shape[0]), int(position.shape[1])


def _flat64(image: FloatMap) -> Sums:
    return np.ascontiguousarray(image, np.float64).reshape(-1)


def _flat32(image: FloatMap) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(image, np.float32).reshape(-1)


def _limits(
    centers: Sums, halves: Sums, usable: npt.NDArray[np.bool_], limits: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the ends of the axis."""
    if limits is not None:
        first, last = float(limits[0]), float(limits[1])
        if not first < last < np.inf or first < 0:
            raise UsageError(f"limits of {first:g} and {last:g} make no axis; the second is to be larger, none below 0")
        return first, last
    if not usable.any():
        raise UsageError("no pixel is good: the mask, the geometry and the image's own bad values leave none")
    half = halves[usable] if halves.size else 0.0
    return max(0.0, float(np.min(centers[usable] - half))), float(np.max(centers[usable] + half))


def _bin_numbers(
    centers: Sums, usable: npt.NDArray[np.bool_], first: float, width: float, n_bins: int
) -> npt.NDArray[np.uint32]:
    """Return each pixel's bin, `n_bins` for none."""
    number = np.floor((np.where(usable, centers, first) - first) / width)
    inside = usable & (number >= 0) & (number < n_bins)
    return np.where(inside, number, n_bins).astype(np.uint32)


def _split(
    centers: Sums, halves: Sums, usable: npt.NDArray[np.bool_], first: float, width: float, n_bins: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """Return where each pixel's shares begin, their bins and their weights."""
    first_share = np.zeros(centers.size + 1, np.uint32)
    n_shares = _count_shares(centers, halves, usable, first, width, n_bins, first_share)
    share_bins, share_weights = np.empty(n_shares, np.uint32), np.empty(n_shares, np.float32)
    _fill_shares(centers, halves, first, width, n_bins, first_share, share_bins, share_weights)
    return first_share, share_bins, share_weights


def _sum_up(bins: RadialBins) -> None:
    """Fill in the sums over all pixels."""
    if bins.splits:
        n_shares = bins.first_share[1:] - bins.first_share[:-1]
        norm = np.repeat(bins.normalization, n_shares)
        number, share = bins.share_bins, bins.share_weights.astype(np.float64)
    else:
        norm, number, share = bins.normalization, bins.bin_of, np.ones(bins.bin_of.size)
    weighted = share * norm
    n = bins.n_bins + 1
    bins.sum_normalization[:] = np.bincount(number, weighted, n)[:-1]
    bins.sum_squares[:] = np.bincount(number, weighted**2, n)[:-1]
    bins.n_pixels[:] = np.bincount(number, share, n)[:-1]


@compiled
def _reach(center: float, half: float, first: float, width: float, n_bins: int) -> tuple[int, int]:
    """Return the first bin that a pixel reaches, and the one after the last; both 0 if it is outside."""
    low, high = (center - half - first) / width, (center + half - first) / width
    if high < 0.0 or low >= n_bins:
        return 0, 0
    begin = int(max(low, 0.0))
    return begin, min(max(int(np.ceil(high)), begin + 1), n_bins)


@compiled
def _count_shares(
    centers: Sums,
    halves: Sums,
    usable: npt.NDArray[np.bool_],
    first: float,
    width: float,
    n_bins: int,
    first_share: npt.NDArray[np.uint32],
) -> int:
    """Fill in where each pixel's shares begin, and return how many there are."""
    total = 0
    for pixel in range(centers.size):
        if usable[pixel]:
            begin, end = _reach(centers[pixel], halves[pixel], first, width, n_bins)
            total += end - begin
        first_share[pixel + 1] = uint32(total)
    return total


@compiled
def _fill_shares(
    centers: Sums,
    halves: Sums,
    first: float,
    width: float,
    n_bins: int,
    first_share: npt.NDArray[np.uint32],
    share_bins: npt.NDArray[np.uint32],
    share_weights: npt.NDArray[np.float32],
) -> None:
    """Fill in each share's bin and weight."""
    for pixel in range(centers.size):
        at, end = int(first_share[pixel]), int(first_share[pixel + 1])
        if at == end:
            continue
        low = (centers[pixel] - halves[pixel] - first) / width
        high = (centers[pixel] + halves[pixel] - first) / width
        begin, _ = _reach(centers[pixel], halves[pixel], first, width, n_bins)
        for k in range(at, end):
            number = begin + k - at
            below = low if k == at else float(number)
            above = high if k == end - 1 else number + 1.0
            share_bins[k] = uint32(number)
            share_weights[k] = (above - below) / (high - low) if high > low else 1.0
