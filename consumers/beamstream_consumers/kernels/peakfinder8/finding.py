"""Find the Bragg peaks of a frame: peakfinder8, on the pixels as they come from the detector.

The pixels are read as they are, whatever their type; nothing is converted to float. The same frame and plan give the
same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

from .plan import Plan
from .rings import (
    LISTED_SHARE,
    N_ROUNDS,
    N_VALUES,
    Bounds,
    count_values,
    empty_sums,
    list_bright,
    narrow,
    sum_counted,
    sum_pixels,
    widest_bounds,
)
from .search import FS, INTENSITY, MAXIMUM, N_COLUMNS, N_PIXELS, PANEL, SIGMA, SNR, SS, search

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
"""What pixels may be."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The peaks of a frame, in the order in which they were found: panel by panel, row by row.

    Attributes
    ----------
    fs, ss : (n,) float64
        Centre of mass along the fast and the slow axis, weighted by the counts, background included [pixels]; the
        middle of the first pixel is 0.
    intensity : (n,) float64
        Sum over the peak's pixels, less the local background [counts].
    n_pixels : (n,) int64
        Pixels of the peak.
    maximum : (n,) float64
        Its largest pixel, less the local background [counts].
    sigma : (n,) float64
        Standard deviation of the local background [counts].
    snr : (n,) float64
        `intensity` through `sigma`.
    panel : (n,) int64
        Number of the panel.
    index : (n,) int64
        Place of the pixel nearest to the centre, in row order.
    n_found : int
        How many there are in the frame; only the first `max_num_peaks` of them are here.
    n_flagged : int
        Pixels of the searched area that hold no count: saturated, or masked by the detector itself.
    n_good : int
        Pixels of the searched area that hold one.
    total : float
        Their sum [counts].
    largest : float
        The largest of them [counts]; 0 where there is none.
    """

    fs: Doubles
    ss: Doubles
    intensity: Doubles
    n_pixels: npt.NDArray[np.int64]
    maximum: Doubles
    sigma: Doubles
    snr: Doubles
    panel: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    n_found: int
    n_flagged: int
    n_good: int
    total: float
    largest: float

    def __len__(self) -> int:
        """How many peaks are here."""
        return len(self.fs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What the pixels of each ring say of their background.

    Attributes
    ----------
    threshold, offset : (n_rings,) float64
        What a pixel has to be above to belong to a peak, and the mean of those that do not [counts].
    bright : (n,) int32
        Flat places of the pixels that may be above their threshold, in row order.
    n_flagged, n_good : int
        Pixels of the searched area that hold no count, and that hold one.
    total, largest : float
        Sum of the latter, and the largest [counts].
    """

    threshold: Doubles
    offset: Doubles
    bright: npt.NDArray[np.int32]
    n_flagged: int
    n_good: int
    total: float
    largest: float


def valid_values(dtype: npt.DTypeLike) -> tuple[float, float]:
    """Return which values are counts, [first, second); pixels of other values are left out.

    Of unsigned integers that is all but the largest: DECTRIS writes it into saturated and masked pixels. Of signed ones
    it is what is not negative: Pilatus writes -1 and -2 into gaps and bad pixels. Of floats it is what is finite.
    """
    kind = np.dtype(dtype)
    if kind.kind == "u":
        return 0.0, float(np.iinfo(kind).max)
    return (0.0, np.inf) if kind.kind == "i" else (-np.finfo(np.float64).max, np.inf)


def find_peaks(image: npt.NDArray[Any], plan: Plan, *, valid: tuple[float, float] | None = None) -> Peaks:
    """Find the peaks of a frame.

    Parameters
    ----------
    image : (n_slow, n_fast) of one of `DTYPES`
        Counts [photons or detector units per pixel].
    plan : Plan
        Geometry, mask and parameters, from `make_plan`.
    valid : (float, float), optional
        Which values are counts, from the first up to below the second; default: `valid_values`.

    Returns
    -------
    Peaks

    Raises
    ------
    ShapeError
        If `image` is no image of these types, or the plan is for another shape.

    Notes
    -----
    Deliberately unlike OM's extension: a ring of which clipping leaves nothing keeps its background (there its
    threshold is infinite); a local background of one value has the standard deviation 0.01 (there 0, and the peak is
    dropped); sums are exact or float64 (there float32); a peak has no pixels but its own (there pixels of another
    panel, or of the frame's first corner, can be added to it); flagged pixels are left out (there they are counts).

    References
    ----------
    Barty et al., «Cheetah: software for high-throughput reduction and analysis of serial femtosecond X-ray diffraction
    data», J. Appl. Cryst. 47 (2014) 1118. Decision 0022 of this project.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((64, 64), np.uint16)
    >>> image[40:42, 20:22] = 100
    >>> slow, fast = np.indices(image.shape)
    >>> plan = make_plan(np.hypot(slow - 31.5, fast - 31.5))
    >>> find_peaks(image, plan).ss
    array([40.5])
    """
    if image.ndim != 2 or image.dtype.name not in DTYPES:
        raise ShapeError(f"peaks are found in images of {', '.join(DTYPES)}; this is {image.shape} {image.dtype}")
    if image.shape != plan.shape:
        raise ShapeError(f"the frame is {image.shape}, the geometry is for {plan.shape}")
    native = np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False))
    valid = valid or valid_values(image.dtype)
    background = measure_background(native, plan, valid)
    bright, starts = _by_panel(background.bright, plan)
    parameters = plan.parameters
    rows = np.empty((min(parameters.max_num_peaks, bright.size), N_COLUMNS))
    n_found = search(
        native,
        plan.rings,
        background.threshold,
        background.offset,
        valid,
        bright,
        starts,
        np.array([p.box for p in plan.panels], dtype=np.int64),
        float(parameters.minimum_snr),
        (int(parameters.min_pixel_count), int(parameters.max_pixel_count)),
        int(parameters.local_bg_radius),
        np.zeros(-(-native.size // 8), dtype=np.uint8),
        rows,
    )
    return _peaks(rows[:n_found], n_found, background, native.shape[1])


def measure_background(image: npt.NDArray[Any], plan: Plan, valid: tuple[float, float]) -> Background:
    """Return what each ring's background is, by counting where that is possible, and exactly in any case."""
    if image.dtype.kind != "f":
        counted = _count(image, plan, valid)
        if counted is not None:
            return counted
    return _read(image, plan, valid)


def _count(image: npt.NDArray[Any], plan: Plan, valid: tuple[float, float]) -> Background | None:
    """Measure the background of an integer image that is read once; None if too many pixels are too large for it."""
    parameters = plan.parameters
    counts = np.zeros((plan.n_rings, N_VALUES), dtype=np.uint32)
    bright = np.empty(image.size, dtype=np.int32)
    rings, values = np.empty(image.size // LISTED_SHARE + 1, np.uint16), np.empty(image.size // LISTED_SHARE + 1)
    flat = image.reshape(-1), plan.rings.reshape(-1)
    n_bright, n_large, n_flagged = count_values(
        *flat, *valid, float(parameters.adc_threshold), counts, bright, rings, values
    )
    if n_large < 0:
        return None
    bounds, sums = widest_bounds(plan.n_rings), empty_sums(plan.n_rings)
    total = 0.0
    for number in range(N_ROUNDS):
        large = rings[:n_large], values[:n_large]
        sum_counted(counts, *large, bounds.lower, bounds.upper, sums.n, sums.values, sums.squares)
        total = total if number else float(sums.values.sum())
        if not narrow(bounds, sums, parameters.minimum_snr, parameters.adc_threshold, first=number == 0):
            break
    if n_bright:
        largest = float(flat[0][bright[:n_bright]].max())
    else:
        largest = max(
            float(np.flatnonzero(counts.any(axis=0)).max(initial=-1)), float(values[:n_large].max(initial=-1))
        )
    return _background(bounds, bright[:n_bright], n_flagged, plan, (total, largest))


def _read(image: npt.NDArray[Any], plan: Plan, valid: tuple[float, float]) -> Background:
    """Measure the background of any image, reading it once per round."""
    parameters = plan.parameters
    bounds, sums = widest_bounds(plan.n_rings), empty_sums(plan.n_rings)
    flat = image.reshape(-1), plan.rings.reshape(-1)
    total = 0.0
    for number in range(N_ROUNDS):
        sum_pixels(*flat, *valid, bounds.lower, bounds.upper, sums.n, sums.values, sums.squares)
        total = total if number else float(sums.values.sum())
        if not narrow(bounds, sums, parameters.minimum_snr, parameters.adc_threshold, first=number == 0):
            break
    bright = np.empty(image.size, dtype=np.int32)
    n_bright, n_flagged, largest = list_bright(*flat, *valid, bounds.upper, bright)
    return _background(bounds, bright[:n_bright], n_flagged, plan, (total, largest))


def _background(
    bounds: Bounds, bright: npt.NDArray[np.int32], n_flagged: int, plan: Plan, total_and_largest: tuple[float, float]
) -> Background:
    n_good = plan.n_searched - n_flagged
    return Background(
        threshold=bounds.upper,
        offset=bounds.offset,
        bright=bright,
        n_flagged=n_flagged,
        n_good=n_good,
        total=total_and_largest[0],
        largest=total_and_largest[1] if n_good else 0.0,
    )


def _by_panel(bright: npt.NDArray[np.int32], plan: Plan) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the places panel by panel, in row order within each, and where each panel's begin."""
    if plan.panel_numbers is None:
        return bright, np.array([0, bright.size], dtype=np.int64)
    numbers = plan.panel_numbers.reshape(-1)[bright]
    counts = np.bincount(numbers, minlength=len(plan.panels))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return bright[np.argsort(numbers, kind="stable")], starts


def _peaks(rows: Doubles, n_found: int, background: Background, n_fast: int) -> Peaks:
    fs, ss = rows[:, FS], rows[:, SS]
    return Peaks(
        fs=fs,
        ss=ss,
        intensity=rows[:, INTENSITY],
        n_pixels=rows[:, N_PIXELS].astype(np.int64),
        maximum=rows[:, MAXIMUM],
        sigma=rows[:, SIGMA],
        snr=rows[:, SNR],
        panel=rows[:, PANEL].astype(np.int64),
        index=(np.rint(ss) * n_fast + np.rint(fs)).astype(np.int64),
        n_found=n_found,
        n_flagged=background.n_flagged,
        n_good=background.n_good,
        total=background.total,
        largest=background.largest,
    )
