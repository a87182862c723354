"""Correct an image in one pass: mask, dark, gain, flat field; what is left out is counted by its reason.

Each pixel is computed in float64 and stored as float32: 32-bit counts lose nothing before the dark is taken off.
A pixel is left out for the first of these reasons: the mask, its flag value (or NaN), below or above what is valid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.compiling import compiled

REASONS = ("masked", "flagged", "below", "above")
"""Why pixels are left out, in the order of the counts."""

_NOTHING = np.zeros((1, 1), dtype=np.float32)


def correct(
    image: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    dark: npt.NDArray[np.float32] | None,
    scale: npt.NDArray[np.float32] | None,
    valid: tuple[float, float],
    flag: float,
    masked_value: float,
    out: npt.NDArray[np.float32],
) -> tuple[int, int, int, int]:
    """Fill `out` with (image - dark)·scale.

    Shapes are the caller's to check; see `beamstream_consumers.corrections`.

    Parameters
    ----------
    image : (n_slow, n_fast) integer or float
        Counts [ADU or photons per pixel], in the machine's byte order.
    bad : (n_slow, n_fast) bool
        True where a pixel is left out whatever its value.
    dark : (n_slow, n_fast) float32 or None
        Taken off [ADU].
    scale : (n_slow, n_fast) float32 or None
        What the rest is multiplied by [photons per ADU].
    valid : (float, float)
        Smallest and largest valid value of `image`, both included.
    flag : float
        A value that says that a pixel is bad; NaN: none does.
    masked_value : float
        What stands in `out` for pixels that are left out.
    out : (n_slow, n_fast) float32
        Where the result goes [photons per pixel].

    Returns
    -------
    (int, int, int, int)
        Pixels left out for each of `REASONS`.
    """
    limits = (float(valid[0]), float(valid[1]), float(flag), np.float32(masked_value))
    if dark is None and scale is None:
        return _mask(image, bad, *limits, out)
    ones = scale is None
    return _correct(
        image,
        bad,
        dark is not None,
        _NOTHING if dark is None else dark,
        not ones,
        _NOTHING if scale is None else scale,
        *limits,
        out,
    )


@compiled
def _mask(
    image: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    low: float,
    high: float,
    flag: float,
    masked_value: np.float32,
    out: npt.NDArray[np.float32],
) -> tuple[int, int, int, int]:
    """Copy the pixels that are good; without a branch, so that the compiler does several at once."""
    n_slow, n_fast = image.shape
    n_masked = n_flagged = n_below = n_above = 0
    for slow in range(n_slow):
        for fast in range(n_fast):
            value = np.float64(image[slow, fast])
            masked = bad[slow, fast]
            flagged = (value == flag) | (value != value)
            below = value < low
            above = value > high
            n_masked += masked
            n_flagged += flagged & ~masked
            n_below += below & ~(masked | flagged)
            n_above += above & ~(masked | flagged | below)
            left_out = masked | flagged | below | above
            out[slow, fast] = masked_value if left_out else np.float32(value)
    return n_masked, n_flagged, n_below, n_above


@compiled
def _correct(
    image: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    has_dark: bool,
    dark: npt.NDArray[np.float32],
    has_scale: bool,
    scale: npt.NDArray[np.float32],
    low: float,
    high: float,
    flag: float,
    masked_value: np.float32,
    out: npt.NDArray[np.float32],
) -> tuple[int, int, int, int]:
    """Do it all; what is the same for all pixels is decided once."""
    n_slow, n_fast = image.shape
    n_masked = n_flagged = n_below = n_above = 0
    for slow in range(n_slow):
        for fast in range(n_fast):
            value = np.float64(image[slow, fast])
            masked = bad[slow, fast]
            flagged = (value == flag) | (value != value)
            below = value < low
            above = value > high
            n_masked += masked
            n_flagged += flagged & ~masked
            n_below += below & ~(masked | flagged)
            n_above += above & ~(masked | flagged | below)
            left_out = masked | flagged | below | above
            corrected = value - np.float64(dark[slow, fast]) if has_dark else value
            if has_scale:
                corrected = corrected * np.float64(scale[slow, fast])
            out[slow, fast] = masked_value if left_out else np.float32(corrected)
    return n_masked, n_flagged, n_below, n_above
