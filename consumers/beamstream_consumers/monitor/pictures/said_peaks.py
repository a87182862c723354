"""What the peak finder says of a frame, read from the metadata of its message; whatever is wrong with it is one error.

It is the message of `stream consume peaks` for each frame, or that of a hit, which say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.peaks.errors import PeakMessageError

MAX_PEAKS = 8192
"""Most peaks of a frame that are shown; the peak finder lists 2048 by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidPeaks:
    """What the peak finder says of one frame.

    Attributes
    ----------
    n_peaks : int
        How many it has found.
    hit : bool
        Whether the frame is a hit.
    fs, ss, intensity : (n,) float64
        Those that it lists: where [pixels of the frame, the middle of the first one is 0], and how strong.
    """

    n_peaks: int
    hit: bool
    fs: npt.NDArray[np.float64]
    ss: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float64]


def has_peaks(metadata: Mapping[str, Any]) -> bool:
    """Whether a frame's own metadata say its peaks, as those of hits do."""
    peaks = metadata.get("peaks")
    return isinstance(peaks, Mapping) and all(name in peaks for name in ("fs", "ss", "intensity"))


def read_peaks(message_id: int, metadata: Mapping[str, Any], shape: tuple[int, int]) -> SaidPeaks:
    """Read what is said of a frame.

    Parameters
    ----------
    message_id : int
        Of the message that says it.
    metadata : mapping
        What it says; without ``hit`` it is one, and without ``n_peaks`` those that it lists are all.
    shape : (n_slow, n_fast)
        Shape of the frame; no peak is outside.

    Raises
    ------
    PeakMessageError
        If it says something else.
    """
    try:
        hit, lists = bool(metadata.get("hit", True)), metadata["peaks"]
        n_peaks = int(metadata.get("n_peaks", len(lists["fs"])))
        fs, ss, intensity = (np.array(lists[name], dtype=np.float64)[:MAX_PEAKS] for name in ("fs", "ss", "intensity"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PeakMessageError(message_id, f"{type(error).__name__}: {error}") from error
    if not (fs.ndim == ss.ndim == intensity.ndim == 1 and fs.size == ss.size == intensity.size):
        raise PeakMessageError(message_id, "its lists are of different lengths")
    if n_peaks < fs.size or not all(np.isfinite(values).all() for values in (fs, ss, intensity)):
        raise PeakMessageError(message_id, f"{n_peaks} peaks, {fs.size} listed, not all of them numbers")
    for axis, values, size in (("ss", ss, shape[0]), ("fs", fs, shape[1])):
        if not ((values >= -0.5) & (values <= size - 0.5)).all():
            raise PeakMessageError(message_id, f"a peak's {axis} is outside the frame, {shape}")
    return SaidPeaks(n_peaks=n_peaks, hit=hit, fs=fs, ss=ss, intensity=intensity)
