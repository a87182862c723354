"""Bragg peaks of a simulated hit: where they lie, how strong they are, and what one looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PATCH_RADIUS = 7
"""Half the edge of the square that one peak is drawn into, five of the widest sigmas [pixels]."""

MARGIN = 4
"""Nearest that a peak's centre comes to the rim of its module, so that all of it can be counted [pixels]."""

SEPARATION = 16
"""Nearest that two centres come to each other, so that the list of peaks is the list of maxima [pixels]."""

MEAN_PEAKS, FEWEST_PEAKS = 45, 15
"""Peaks on a hit: on average, and at least."""

PHOTONS_FLOOR, PHOTONS_SCALE = 150.0, 800.0
"""Weakest peak, and the mean of what Wilson's exponential distribution adds to it [photons]."""

OVERLOAD_FRACTION = 0.03
"""Share of peaks whose top is beyond what a pixel can tell."""

SIGMA_RANGE = (0.7, 1.3)
"""Widths of peaks, standard deviation of the Gaussian [pixels]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """One Bragg peak.

    Attributes
    ----------
    slow, fast : float
        Its centre [pixels]; whole numbers are pixel centres.
    photons : float
        Expected integrated intensity [photons].
    sigma : float
        Standard deviation of its profile [pixels].
    overloaded : bool
        Its top is beyond the detector's cutoff, so its middle reads as the largest value.
    """

    slow: float
    fast: float
    photons: float
    sigma: float
    overloaded: bool


def spot(peak: Peak) -> npt.NDArray[np.float64]:
    """Return the expected counts around a peak.

    Returns
    -------
    (2 * PATCH_RADIUS + 1, 2 * PATCH_RADIUS + 1) float64
        Counts [photons per pixel]; the middle is the pixel that `slow` and `fast` round to.
    """
    offsets = np.arange(-PATCH_RADIUS, PATCH_RADIUS + 1)
    along = [
        np.exp(-0.5 * np.square((offsets - (centre - round(centre))) / peak.sigma)) for centre in (peak.slow, peak.fast)
    ]
    profile = np.outer(*along)
    return np.asarray(profile * (peak.photons / (2 * np.pi * peak.sigma**2)), dtype=np.float64)


def place_peaks(
    random: np.random.Generator,
    sensor: npt.NDArray[np.bool_],
    beam_center: tuple[float, float],
    stop_radius: float,
    cutoff: int,
) -> tuple[Peak, ...]:
    """Draw the peaks of one hit.

    Parameters
    ----------
    random : numpy.random.Generator
        Where chance comes from.
    sensor : (n_slow, n_fast) bool
        True where there are pixels.
    beam_center : (float, float)
        Slow and fast of the direct beam [pixels].
    stop_radius : float
        Radius of the beam stop's shadow, where there are no peaks [pixels].
    cutoff : int
        Most counts that a pixel tells [photons]; overloaded peaks go beyond it.

    Returns
    -------
    tuple of Peak
        At least `SEPARATION` from one another, in the order they were drawn.
    """
    n_wanted = FEWEST_PEAKS + int(random.poisson(MEAN_PEAKS - FEWEST_PEAKS))
    taken: list[tuple[float, float]] = []
    for _ in range(50 * n_wanted):  # bounded: a crowded sensor gets fewer peaks, never an endless search
        if len(taken) == n_wanted:
            break
        centre = tuple(float(x) for x in random.uniform(MARGIN, np.subtract(sensor.shape, MARGIN + 1)))
        if _is_free(centre, sensor, beam_center, stop_radius, taken):
            taken.append((centre[0], centre[1]))
    return tuple(_draw_peak(random, slow, fast, cutoff) for slow, fast in taken)


def _is_free(
    centre: tuple[float, ...],
    sensor: npt.NDArray[np.bool_],
    beam_center: tuple[float, float],
    stop_radius: float,
    taken: list[tuple[float, float]],
) -> bool:
    slow, fast = round(centre[0]), round(centre[1])
    if not sensor[slow - MARGIN : slow + MARGIN + 1, fast - MARGIN : fast + MARGIN + 1].all():
        return False
    if np.hypot(slow - beam_center[0], fast - beam_center[1]) < stop_radius + SEPARATION:
        return False
    return all(np.hypot(centre[0] - other[0], centre[1] - other[1]) >= SEPARATION for other in taken)


def _draw_peak(random: np.random.Generator, slow: float, fast: float, cutoff: int) -> Peak:
    sigma = float(random.uniform(*SIGMA_RANGE))
    height_of_one = 1 / (2 * np.pi * sigma**2)
    photons = PHOTONS_FLOOR + float(random.exponential(PHOTONS_SCALE))
    if random.random() < OVERLOAD_FRACTION:
        # four times: with its centre in the corner of a pixel, exp(-1/(4 sigma^2)) of the height is left
        photons = 4 * cutoff / height_of_one
    overloaded = photons * height_of_one * np.exp(-0.25 / sigma**2) > cutoff
    return Peak(slow=slow, fast=fast, photons=photons, sigma=sigma, overloaded=bool(overloaded))
