"""Half the edge: each pixel says the largest, or the mean, of the up to four below it that have a value."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.halve import halve_by_max, halve_by_mean


def halve(image: npt.NDArray[Any], flag: int, pool: Literal["max", "mean"]) -> npt.NDArray[Any]:
    """Return an image of half the edge.

    Parameters
    ----------
    image : (n_slow, n_fast) uint16 or uint32
        Pixels; `flag` where there is no value.
    flag : int
        The largest number of the dtype.
    pool : "max" or "mean"
        What a pixel says of those below it; a mean is rounded down.

    Returns
    -------
    (ceil(n_slow / 2), ceil(n_fast / 2)) of the same dtype
        `flag` where none of the pixels below has a value.

    Raises
    ------
    ShapeError
        If it is no image of unsigned integers, or another number is to be the flag.
    """
    if image.ndim != 2 or image.dtype.kind != "u" or flag != np.iinfo(image.dtype).max:
        raise ShapeError(
            f"an image {image.shape} of {image.dtype} with {flag} for no value cannot be halved; pixels are unsigned, "
            "and the largest number stands for no value"
        )
    return halve_by_max(image) if pool == "max" else halve_by_mean(image)
