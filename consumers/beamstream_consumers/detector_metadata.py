"""What handlers need of the stream metadata: the detector's group in the NeXus-like tree, and its pixel mask.

Metadata comes from outside; whatever is not as it should be is treated as not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def detector_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first NXdetector of the metadata's instrument; empty where there is none."""
    entry = _group(metadata.get("entry"))
    for instrument in _of_class(entry, "NXinstrument"):
        for detector in _of_class(instrument, "NXdetector"):
            return detector
    return {}


def pixel_mask(metadata: Mapping[str, Any], shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Return which pixels are bad, None where the metadata has no mask of this shape.

    Parameters
    ----------
    metadata : mapping
        Stream metadata.
    shape : (n_slow, n_fast)
        Shape of the images.

    Returns
    -------
    (n_slow, n_fast) bool or None
        True where any bit of the detector's `pixel_mask` is set.
    """
    mask = detector_of(metadata).get("pixel_mask")
    if not isinstance(mask, np.ndarray) or mask.shape != shape or mask.dtype.kind not in "biu":
        return None
    bad: npt.NDArray[np.bool_] = mask != 0
    return bad


def _of_class(group: Mapping[str, Any], nx_class: str) -> list[Mapping[str, Any]]:
    """Return the groups of this class in `group`."""
    return [value for value in group.values() if isinstance(value, Mapping) and value.get("@NX_class") == nx_class]


def _group(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a group, an empty one otherwise."""
    return value if isinstance(value, Mapping) else {}
