"""What adds up over the frames of a run: hits, peaks, where they are and how strong. Pure: no clock, no server.

Everything is a count, or a sum of multiples of 1/1024 of a count, so that sums are exact whatever the order in which
frames come: a process that goes on after another one was killed gives what that one would have given, to the last bit.
Rates «of late» follow the frames' own ids and times, not the clock of whoever reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import PeakMessageError

MAX_POWDER_EDGE = 512
"""Most bins of the virtual powder along an axis; a 4M detector has 5 x 5 pixels in each."""

MAX_EDGE = 1 << 16
"""Largest frame, along an axis [pixels]."""

FRACTION = 1024
"""Intensities are rounded to this part of a count."""

RECENT_IDS, ID_BLOCK = 1000, 50
"""The hit rate of late is that of so many frames; they are counted in blocks of so many ids."""

RECENT_S = 60
"""And that of so many seconds, counted second by second [s]."""

N_COUNTS = 257
"""Bins of peaks per frame: 0 to 255, and more."""

DECADES, PER_DECADE = 8, 10
"""Bins of intensity: from 1 to 10**8 counts, ten for each power of ten; the last one has more, the first one less."""

N_SPACINGS, SPACING_STEP = 126, 0.01
"""Bins of 1/d: from 0 in steps of 0.01 1/Å to 1.25 1/Å, and more; d is the resolution."""

Counts = npt.NDArray[np.int64]


class PeakStatistics:
    """Sums over the frames of a stream."""

    def __init__(self) -> None:
        self.n_frames = self.n_hits = self.n_peaks = self.n_saturated = self.n_frames_saturated = 0
        self.shape: tuple[int, int] | None = None
        self.peaks_per_frame: Counts = np.zeros(N_COUNTS, np.int64)
        self.intensity: Counts = np.zeros(DECADES * PER_DECADE + 2, np.int64)
        self.spacing: Counts = np.zeros(N_SPACINGS, np.int64)
        self.powder: npt.NDArray[np.float64] = np.zeros((2, 1, 1))
        self._by_id: dict[int, list[int]] = {}
        self._by_second: dict[int, list[int]] = {}

    # --- adding ------------------------------------------------------------------------------------------------

    def add(self, message_id: int, timestamp_ns: int, message: Mapping[str, Any]) -> None:
        """Add a frame.

        Parameters
        ----------
        message_id : int
            Its id.
        timestamp_ns : int
            When it was taken [ns since 1970, UTC].
        message : mapping
            What `PeakProcessor` says of it; peaks are counted of hits only.

        Raises
        ------
        PeakMessageError
            If it says something else; nothing is added then.
        """
        n_peaks, hit, n_saturated, shape = _numbers(message_id, message)
        if self.shape not in (None, shape):
            raise PeakMessageError(message_id, f"its frame is {shape}, those before are {self.shape}")
        peaks = _peaks(message_id, message, shape) if hit else {}
        if self.shape is None:
            self.shape = shape
            self.powder = np.zeros((2, *self._powder_shape))
        self.n_frames += 1
        self.n_hits += hit
        self.n_peaks += n_peaks
        self.n_saturated += n_saturated
        self.n_frames_saturated += n_saturated > 0
        self.peaks_per_frame[min(n_peaks, N_COUNTS - 1)] += 1
        if hit:
            self._add_peaks(peaks)
        _count(self._by_id, message_id // ID_BLOCK, hit, RECENT_IDS // ID_BLOCK)
        _count(self._by_second, timestamp_ns // 1_000_000_000, hit, RECENT_S)

    def _add_peaks(self, peaks: Mapping[str, npt.NDArray[np.float64]]) -> None:
        intensity = peaks["intensity"]
        with np.errstate(divide="ignore"):
            decade = np.floor(np.log10(np.maximum(intensity, 0)) * PER_DECADE)
        np.add.at(self.intensity, np.clip(decade + 1, 0, self.intensity.size - 1).astype(int), 1)
        if "resolution" in peaks:
            resolution = peaks["resolution"]
            known = resolution[resolution > 0]  # not a number where no panel is
            np.add.at(self.spacing, np.minimum(1 / known / SPACING_STEP, N_SPACINGS - 1).astype(int), 1)
        place = tuple(np.rint(peaks[axis]).astype(int) // self.powder_factor for axis in ("ss", "fs"))
        np.add.at(self.powder[0], place, 1)
        np.add.at(self.powder[1], place, np.rint(intensity * FRACTION) / FRACTION)

    # --- asking ------------------------------------------------------------------------------------------------

    @property
    def powder_factor(self) -> int:
        """Edge of a bin of the virtual powder [pixels]."""
        return 1 if self.shape is None else math.ceil(max(*self.shape, 1) / MAX_POWDER_EDGE)

    @property
    def _powder_shape(self) -> tuple[int, int]:
        n_slow, n_fast = self.shape or (1, 1)
        return max(1, -(-n_slow // self.powder_factor)), max(1, -(-n_fast // self.powder_factor))

    def summary(self) -> dict[str, Any]:
        """Return all of it but the virtual powder: numbers, rates and histograms, and from what it can be restored.

        Rates are 0 to 1. A histogram's bin i counts what lies from `first` + i · `step` on; those of logarithms too.
        """
        return {
            "n_frames": self.n_frames,
            "n_hits": self.n_hits,
            "n_peaks": self.n_peaks,
            "n_saturated": self.n_saturated,
            "n_frames_saturated": self.n_frames_saturated,
            "hit_rate": self.n_hits / max(1, self.n_frames),
            "hit_rate_of_late": _rate(self._by_id),
            "hit_rate_of_last_minute": _rate(self._by_second),
            "shape": None if self.shape is None else list(self.shape),
            "powder_factor": self.powder_factor,
            "histograms": {
                "peaks_per_frame": _histogram(self.peaks_per_frame, 0.0, 1.0),
                "log10_intensity": _histogram(self.intensity, -1 / PER_DECADE, 1 / PER_DECADE),
                "one_over_resolution": _histogram(self.spacing, 0.0, SPACING_STEP),
            },
            "recent": {"by_id": _pairs(self._by_id), "by_second": _pairs(self._by_second)},
        }

    @classmethod
    def restored(cls, summary: Mapping[str, Any], powder: npt.NDArray[np.float64]) -> PeakStatistics:
        """Return what `summary` and `powder` were taken from.

        Raises
        ------
        ValueError, KeyError, TypeError
            If they were not.
        """
        statistics = cls()
        for name in ("n_frames", "n_hits", "n_peaks", "n_saturated", "n_frames_saturated"):
            setattr(statistics, name, int(summary[name]))
        if summary["shape"] is not None:
            n_slow, n_fast = summary["shape"]
            statistics.shape = int(n_slow), int(n_fast)
        histograms = summary["histograms"]
        statistics.peaks_per_frame[:] = histograms["peaks_per_frame"]["counts"]
        statistics.intensity[:] = histograms["log10_intensity"]["counts"]
        statistics.spacing[:] = histograms["one_over_resolution"]["counts"]
        statistics.powder = np.zeros((2, *statistics._powder_shape))
        statistics.powder[:] = powder
        for own, told in ((statistics._by_id, "by_id"), (statistics._by_second, "by_second")):
            own.update({int(key): [int(n), int(n_hits)] for key, n, n_hits in summary["recent"][told]})
        return statistics


# --- messages --------------------------------------------------------------------------------------------------


def _numbers(message_id: int, message: Mapping[str, Any]) -> tuple[int, bool, int, tuple[int, int]]:
    """Return peaks, whether it is a hit, saturated pixels and shape; raises where they are not there."""
    try:
        n_peaks, n_saturated = int(message["n_peaks"]), int(message["n_saturated"])
        n_slow, n_fast = (int(n) for n in message["shape"])
        hit = bool(message["hit"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PeakMessageError(message_id, f"{type(error).__name__}: {error}") from error
    if min(n_peaks, n_saturated, n_slow, n_fast) < 0 or max(n_slow, n_fast) > MAX_EDGE:
        raise PeakMessageError(message_id, f"{n_peaks} peaks on a frame of {n_slow} x {n_fast} pixels")
    return n_peaks, hit, n_saturated, (n_slow, n_fast)


def _peaks(message_id: int, message: Mapping[str, Any], shape: tuple[int, int]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the lists of peaks that are needed; raises where they are not there, or no peaks of the frame."""
    try:
        told = message["peaks"]
        names = [name for name in ("fs", "ss", "intensity", "resolution") if name != "resolution" or name in told]
        lists = {name: np.asarray(told[name], dtype=np.float64) for name in names}
    except (KeyError, TypeError, ValueError) as error:
        raise PeakMessageError(message_id, f"{type(error).__name__}: {error}") from error
    if any(values.ndim != 1 or len(values) != len(lists["fs"]) for values in lists.values()):
        raise PeakMessageError(message_id, "its lists are of different lengths")
    for axis, size in (("ss", shape[0]), ("fs", shape[1])):
        if not ((lists[axis] >= 0) & (lists[axis] <= size - 1)).all():
            raise PeakMessageError(message_id, f"a peak's {axis} is outside the frame, {shape}")
    if not np.isfinite(lists["intensity"]).all():
        raise PeakMessageError(message_id, "an intensity is no number")
    return lists


# --- counting of late ------------------------------------------------------------------------------------------


def _count(buckets: dict[int, list[int]], key: int, hit: bool, n_kept: int) -> None:
    """Count a frame; only the newest `n_kept` keys are kept, whatever the order in which they come."""
    newest = max(buckets, default=key)
    if key <= newest - n_kept:
        return
    for old in [old for old in buckets if old <= key - n_kept]:
        del buckets[old]
    bucket = buckets.setdefault(key, [0, 0])
    bucket[0] += 1
    bucket[1] += hit


def _rate(buckets: Mapping[int, list[int]]) -> float:
    return sum(n_hits for _, n_hits in buckets.values()) / max(1, sum(n for n, _ in buckets.values()))


def _pairs(buckets: Mapping[int, list[int]]) -> list[list[int]]:
    return [[key, *buckets[key]] for key in sorted(buckets)]


def _histogram(counts: Counts, first: float, step: float) -> dict[str, Any]:
    return {"first": first, "step": step, "counts": counts.tolist()}
