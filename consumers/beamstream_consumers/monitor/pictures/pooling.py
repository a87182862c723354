"""Half the edge: each pixel says the largest, or the mean, of the up to four below it that have a value."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt


def halve(image: npt.NDArray[Any], flag: int, pool: Literal["max", "mean"]) -> npt.NDArray[Any]:
    """Return an image of half the edge.

    Parameters
    ----------
    image : (n_slow, n_fast) unsigned integer
        Pixels; `flag` where there is no value.
    flag : int
        The largest number of the dtype.
    pool : "max" or "mean"
        What a pixel says of those below it; a mean is rounded down.

    Returns
    -------
    (ceil(n_slow / 2), ceil(n_fast / 2)) of the same dtype
        `flag` where none of the pixels below has a value.
    """
    n_slow, n_fast = image.shape
    below = np.full((2 * -(-n_slow // 2), 2 * -(-n_fast // 2)), flag, image.dtype)
    below[:n_slow, :n_fast] = image
    four = np.stack([below[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    good = four != flag
    if pool == "max":
        pooled = np.where(good, four, 0).max(axis=0)
    else:
        pooled = np.where(good, four, 0).sum(axis=0, dtype=np.uint64) // np.maximum(
            1, good.sum(axis=0, dtype=np.uint64)
        )
    return np.where(good.any(axis=0), pooled, flag).astype(image.dtype)
