"""Azimuthal average of one image: the mean over each ring of pixels, and how well it is known.

Definition (pyFAI's): with the raw signal x of a pixel, its normalisation ω (solid angle, polarisation, flat field …)
and the share c of it that belongs to a bin,

    intensity = Σ c·x / Σ c·ω          sigma = sqrt(Σ c²·v) / Σ c·ω   (standard error of that mean)

where v is the variance of x: max(x, 1) for ``poisson``, as nothing better is known than the count itself, and a pixel
that counted nothing is not known exactly; (x − ω·intensity)² for ``azimuthal``, which takes what differs along the ring
for noise. Bins in which no good pixel is are NaN.

Pixels are walked in memory order. Sums of integers are exact; sums of floats are in float64, in two interleaved
halves: neighbours are often in the same bin, and a sum would have to wait for the one before. Pixels outside the valid
values (NaN always) are left out, and their share of the normalisation is taken back, which costs nothing where there
are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import uintp

from beamstream.compiling import compiled
from beamstream.errors import ShapeError, UsageError

from .radial_bins import RadialBins

ERROR_MODELS = ("poisson", "azimuthal", "none")
"""What is known of a pixel's variance."""

N_LANES = 2
"""Interleaved sums; measured: 1.6 times as fast as one, four gain nothing more."""

Values = npt.NDArray[np.float64]
Kind = Any
"""A number of the image's own type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AzimuthalAverage:
    """One curve.

    Attributes
    ----------
    intensity, sigma : (n_bins,) float32
        Mean of the corrected signal [photons per pixel], and its standard error; NaN where no good pixel is. `sigma`
        is 0 where the error model is ``none``.
    n_pixels : (n_bins,) float64
        How many good pixels it is the mean of; with splitting, shares of pixels.
    n_left_out : int
        Pixels of the bins that were not valid in this image.
    """

    intensity: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32]
    n_pixels: Values
    n_left_out: int


def valid_values(dtype: npt.DTypeLike) -> tuple[float, float]:
    """Return the lowest and the highest value that a pixel of this dtype can have counted.

    Unsigned: all but the largest value, which DECTRIS writes into masked and saturated pixels. Signed: 0 and more, as
    PILATUS writes -1 and -2 into gaps and bad pixels. Floats: all that are finite.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return float(np.finfo(kind).min), float(np.finfo(kind).max)
    largest = int(np.iinfo(kind).max)
    return 0, largest - 1 if kind.kind == "u" else largest


def azimuthal_average(
    image: npt.NDArray[Any],
    bins: RadialBins,
    *,
    error_model: str = "poisson",
    valid: tuple[float, float] | None = None,
    factor: float = 1.0,
) -> AzimuthalAverage:
    """Average an image over the rings of `bins`.

    Parameters
    ----------
    image : (n_slow, n_fast) uint8, uint16, uint32, int8, int16, int32, float32 or float64
        Counts [photons per pixel].
    bins : RadialBins
        Which pixel counts where.
    error_model : {"poisson", "azimuthal", "none"}
        Where `sigma` comes from.
    valid : (float, float), optional
        Lowest and highest value of a good pixel; by default `valid_values`.
    factor : float
        What the curve is divided by, e.g. the exposure or a monitor's counts.

    Raises
    ------
    ShapeError
        If the image has another shape than the bins, or no such dtype.
    UsageError
        If there is no such error model, or the factor is not a positive number.
    """
    if error_model not in ERROR_MODELS:
        raise UsageError(f"there is no error model {error_model!r}; there are {', '.join(ERROR_MODELS)}")
    if not 0 < factor < np.inf:
        raise UsageError(f"a curve cannot be divided by {factor:g}; the factor is a positive number")
    if image.shape != bins.shape:
        raise ShapeError(f"the image is {image.shape}, the bins are made for {bins.shape} (n_slow, n_fast)")
    if image.dtype.kind not in "uif" or (image.dtype.kind != "f" and image.dtype.itemsize > 4):
        raise ShapeError(f"images of {image.dtype} cannot be averaged; up to 32 bits or floats can")
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("=")).reshape(-1)
    low, high = _bounds(pixels.dtype, valid)
    is_exact = pixels.dtype.kind != "f" and not bins.splits
    sums = np.zeros((bins.n_bins + 1, N_LANES, 2), np.int64 if is_exact else np.float64)
    lost = np.zeros((bins.n_bins + 1, 2))
    if bins.splits:
        shares = (bins.first_share, bins.share_bins, bins.share_weights, bins.normalization)
        n_left_out = _sum_shares(pixels, *shares, low, high, sums, lost)
    else:
        n_left_out = _sum_whole(pixels, bins.bin_of, bins.normalization, low, high, sums, lost)
    signal, poisson = sums.sum(axis=1)[:-1].astype(np.float64).T
    norm = _what_is_left(bins.sum_normalization, lost[:-1, 0])
    n_pixels = _what_is_left(bins.n_pixels, lost[:-1, 1])
    norm[n_pixels <= 0] = 0.0
    intensity = _divide(signal, norm)
    if error_model == "azimuthal":
        variance = _variance_in_ring(pixels, bins, low, high, np.append(np.nan_to_num(intensity), 0.0))
    else:
        variance = poisson if error_model == "poisson" else np.zeros(bins.n_bins)
    return AzimuthalAverage(
        intensity=(intensity / factor).astype(np.float32),
        sigma=(_divide(np.sqrt(variance), norm) / factor).astype(np.float32),
        n_pixels=n_pixels,
        n_left_out=n_left_out,
    )


def _bounds(dtype: np.dtype[Any], valid: tuple[float, float] | None) -> tuple[Kind, Kind]:
    """Return the lowest and the highest good value in the image's own type."""
    low, high = valid_values(dtype) if valid is None else valid
    if dtype.kind == "f":
        return dtype.type(low), dtype.type(high)
    limits = np.iinfo(dtype)
    whole = [int(np.clip(value, limits.min, limits.max)) for value in (np.ceil(low), np.floor(high))]
    return dtype.type(whole[0]), dtype.type(whole[1])


def _variance_in_ring(pixels: npt.NDArray[Any], bins: RadialBins, low: Kind, high: Kind, mean: Values) -> Values:
    """Return the sum of squared differences from the mean of each bin, (n_bins,) float64."""
    spread = np.zeros((bins.n_bins + 1, N_LANES))
    if bins.splits:
        shares = (bins.first_share, bins.share_bins, bins.share_weights, bins.normalization)
        _sum_share_variance(pixels, *shares, low, high, mean, spread)
    else:
        _sum_whole_variance(pixels, bins.bin_of, bins.normalization, low, high, mean, spread)
    return np.asarray(spread.sum(axis=1)[:-1])


def _what_is_left(everything: Values, lost: Values) -> Values:
    """Subtract what was lost; what is only rounding of that is nothing."""
    left = everything - lost
    left[left <= 1e-9 * everything] = 0.0
    return left


def _divide(numerator: Values, denominator: Values) -> Values:
    """Divide where there is something to divide by; NaN elsewhere."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


@compiled
def _sum_whole(
    pixels: npt.NDArray[Any],
    bin_of: npt.NDArray[np.uint32],
    norm: npt.NDArray[np.float32],
    low: Kind,
    high: Kind,
    sums: npt.NDArray[Any],
    lost: Values,
) -> int:
    """Add each pixel and its Poisson variance to its bin, what is not valid to `lost`; return how many are not."""
    n_lost = 0
    none = uintp(lost.shape[0] - 1)
    number = sums.dtype.type
    for pixel in range(pixels.size):
        at = uintp(pixel)
        value = pixels[at]
        to = uintp(bin_of[at])
        if low <= value <= high:
            lane = uintp(pixel & (N_LANES - 1))
            sums[to, lane, uintp(0)] += number(value)
            sums[to, lane, uintp(1)] += max(number(value), number(1))
        elif to != none:
            lost[to, uintp(0)] += norm[at]
            lost[to, uintp(1)] += 1.0
            n_lost += 1
    return n_lost


@compiled
def _sum_whole_variance(
    pixels: npt.NDArray[Any],
    bin_of: npt.NDArray[np.uint32],
    norm: npt.NDArray[np.float32],
    low: Kind,
    high: Kind,
    mean: Values,
    spread: Values,
) -> None:
    """Add the squared differences from the mean of their bin."""
    for pixel in range(pixels.size):
        at = uintp(pixel)
        value = pixels[at]
        if low <= value <= high:
            to = uintp(bin_of[at])
            difference = float(value) - mean[to] * norm[at]
            spread[to, uintp(pixel & (N_LANES - 1))] += difference * difference


@compiled
def _sum_shares(
    pixels: npt.NDArray[Any],
    first_share: npt.NDArray[np.uint32],
    bins: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.float32],
    norm: npt.NDArray[np.float32],
    low: Kind,
    high: Kind,
    sums: npt.NDArray[Any],
    lost: Values,
) -> int:
    """Do as `_sum_whole`, with each pixel's shares."""
    n_lost = 0
    for pixel in range(pixels.size):
        at = uintp(pixel)
        begin, end = first_share[at], first_share[at + uintp(1)]
        if begin == end:
            continue
        value = float(pixels[at])
        good = low <= pixels[at] <= high
        variance = max(value, 1.0)
        n_lost += not good
        for k in range(begin, end):
            to, weight = uintp(bins[uintp(k)]), float(weights[uintp(k)])
            if good:
                sums[to, uintp(0), uintp(0)] += weight * value
                sums[to, uintp(0), uintp(1)] += weight * weight * variance
            else:
                lost[to, uintp(0)] += weight * norm[at]
                lost[to, uintp(1)] += weight
    return n_lost


@compiled
def _sum_share_variance(
    pixels: npt.NDArray[Any],
    first_share: npt.NDArray[np.uint32],
    bins: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.float32],
    norm: npt.NDArray[np.float32],
    low: Kind,
    high: Kind,
    mean: Values,
    spread: Values,
) -> None:
    """Do as `_sum_whole_variance`, with each pixel's shares."""
    for pixel in range(pixels.size):
        at = uintp(pixel)
        if low <= pixels[at] <= high:
            for k in range(first_share[at], first_share[at + uintp(1)]):
                to, weight = uintp(bins[uintp(k)]), float(weights[uintp(k)])
                difference = weight * (float(pixels[at]) - mean[to] * norm[at])
                spread[to, uintp(0)] += difference * difference
