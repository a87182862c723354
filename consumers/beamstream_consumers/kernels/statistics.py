"""Numbers that say at a glance what is in an image: one pass over its pixels, nothing allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.compiling import compiled
from beamstream.errors import ShapeError

_ROW_SUMS = {"u": np.uint64(0), "i": np.int64(0), "f": np.float64(0)}
"""What the pixels of a row are summed up in, by their kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatistics:
    """What is in one image; «good» pixels are neither masked nor flagged.

    Attributes
    ----------
    n_pixels : int
        All pixels of the image.
    n_masked : int
        Pixels that the mask calls bad.
    n_flagged : int
        Pixels outside the mask that carry the flag value (DECTRIS: masked or saturated), or NaN.
    n_zero : int
        Good pixels that counted nothing.
    total : float
        Sum over the good pixels [photons]; exact for integer images up to 2**53.
    maximum : float
        Largest good pixel [photons]; 0 where there is no good pixel.
    """

    n_pixels: int
    n_masked: int
    n_flagged: int
    n_zero: int
    total: float
    maximum: float

    @property
    def n_good(self) -> int:
        """Pixels that are neither masked nor flagged."""
        return self.n_pixels - self.n_masked - self.n_flagged

    @property
    def mean(self) -> float:
        """Mean over the good pixels [photons per pixel]; 0 where there is none."""
        return self.total / self.n_good if self.n_good else 0.0

    @property
    def zero_fraction(self) -> float:
        """Which part of the good pixels counted nothing, 0 to 1."""
        return self.n_zero / self.n_good if self.n_good else 0.0


def image_statistics(
    image: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    masked_value: int | None = None,
) -> ImageStatistics:
    """Measure an image.

    Parameters
    ----------
    image : (n_slow, n_fast) integer or float
        Counts [photons per pixel].
    mask : (n_slow, n_fast) bool, optional
        True where a pixel is bad.
    masked_value : int, optional
        The value of flagged pixels, see `sum_blocks.flag_value`.

    Returns
    -------
    ImageStatistics
        Counts and sums over its pixels.

    Raises
    ------
    ShapeError
        If `image` is no image of real numbers, or `mask` has another shape.
    """
    if image.ndim != 2 or image.dtype.kind not in "uif":
        raise ShapeError(f"statistics need an image of real numbers, this is {image.shape} {image.dtype}")
    if mask is not None and mask.shape != image.shape:
        raise ShapeError(f"the mask is {mask.shape}; needed is {image.shape}")
    native = image.astype(image.dtype.newbyteorder("="), copy=False)
    used = np.zeros((1, 1), dtype=np.bool_) if mask is None else mask
    flagged = masked_value is not None
    zero = _ROW_SUMS[native.dtype.kind]
    n_masked, n_flagged, n_zero, total, maximum = _measure(
        native, mask is not None, used, flagged, masked_value or 0, zero
    )
    return ImageStatistics(
        n_pixels=image.size,
        n_masked=n_masked,
        n_flagged=n_flagged,
        n_zero=n_zero,
        total=float(total),
        maximum=float(maximum),
    )


@compiled
def _measure(
    image: npt.NDArray[Any], masked: bool, mask: npt.NDArray[np.bool_], flagged: bool, flag: int, zero: Any
) -> tuple[int, int, int, float, float]:
    """Walk the pixels once; rows are summed up in the type of `zero`, which 32-bit pixels do not overflow."""
    n_slow, n_fast = image.shape
    n_masked = 0
    n_flagged = 0
    n_zero = 0
    total = 0.0
    maximum = 0.0
    seen = False
    for slow in range(n_slow):
        row = zero
        for fast in range(n_fast):
            value = image[slow, fast]
            if masked and mask[slow, fast]:
                n_masked += 1
            elif (flagged and value == flag) or value != value:
                n_flagged += 1
            else:
                row += value
                if value == 0:
                    n_zero += 1
                if not seen or value > maximum:
                    maximum = float(value)
                    seen = True
        total += row
    return n_masked, n_flagged, n_zero, total, maximum
