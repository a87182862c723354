"""Stream metadata of a binned stream: the detector's, with everything that speaks of pixels speaking of blocks.

Beam centres are counted from the corner of the first pixel, so they divide exactly. A block is bad where no good pixel
is left in it. What cannot be said of blocks is left out rather than passed on: flat field, bit depths of the
image, and the detector's own configuration, which stays with the stream it describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTHS = frozenset({"x_pixel_size", "y_pixel_size", "fast_pixel_direction", "slow_pixel_direction"})
"""Times the factor: a block is so many pixels long."""

_POSITIONS = frozenset({"beam_center_x", "beam_center_y"})
"""Through the factor: counted in blocks."""

_COUNTS = frozenset({"saturation_value", "underload_value"})
"""Times the factor squared: a block holds so many pixels."""

_LEFT_OUT = frozenset({"flatfield", "flatfield_applied", "bit_depth_image"})

_CLASSES = frozenset({"NXdetector", "NXdetector_module"})
"""Groups whose fields speak of pixels."""


def binned_metadata(metadata: Mapping[str, Any], factor: int, source: str, *, scaled: bool = False) -> dict[str, Any]:
    """Return the metadata of the stream of blocks made from a stream of pixels.

    Parameters
    ----------
    metadata : mapping
        Metadata of the stream that is binned; not changed.
    factor : int
        Edge of a block [pixels].
    source : str
        Address of the stream that is binned.
    scaled : bool
        Whether blocks make up for the pixels that they leave out.

    Returns
    -------
    dict
        ``entry``, the same tree in blocks, where there was one; ``binning``: ``factor``, ``source`` and ``scaled``.
    """
    binned: dict[str, Any] = {"binning": {"factor": factor, "source": source, "scaled": scaled}}
    if isinstance(entry := metadata.get("entry"), Mapping):
        binned["entry"] = _binned_group(entry, factor)
    return binned


def binned_mask(mask: npt.NDArray[Any], factor: int) -> npt.NDArray[np.uint32]:
    """Return 1 for blocks without a good pixel, else 0.

    Parameters
    ----------
    mask : (n_slow, n_fast) integer or bool
        Not 0 where a pixel is bad.
    factor : int
        Edge of a block [pixels].

    Returns
    -------
    (ceil(n_slow / factor), ceil(n_fast / factor)) uint32
    """
    bad = mask != 0
    slow = np.minimum.reduceat(bad, np.arange(0, mask.shape[0], factor), axis=0)
    both = np.minimum.reduceat(slow, np.arange(0, mask.shape[1], factor), axis=1)
    return both.astype(np.uint32)


def _binned_group(group: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """Return a group and the groups in it, in blocks."""
    speaks_of_pixels = group.get("@NX_class") in _CLASSES
    binned: dict[str, Any] = {}
    for name, value in group.items():
        field = name.partition("@")[0]
        if isinstance(value, Mapping):
            binned[name] = _binned_group(value, factor)
        elif not speaks_of_pixels or "@" in name:
            if not (speaks_of_pixels and field in _LEFT_OUT):
                binned[name] = value
        elif name not in _LEFT_OUT:
            binned[name] = _binned_field(name, value, factor)
    return binned


def _binned_field(name: str, value: Any, factor: int) -> Any:
    """Return one field in blocks; what is no number where one is expected stays as it is."""
    if name == "pixel_mask" and isinstance(value, np.ndarray) and value.ndim == 2 and value.size:
        return binned_mask(value, factor)
    scale = {**dict.fromkeys(_LENGTHS, factor), **dict.fromkeys(_COUNTS, factor**2)}.get(name)
    if name in {"data_origin", "data_size"}:
        pixels = np.asarray(value)
        return pixels if pixels.dtype.kind not in "iu" else _in_blocks(pixels, factor, whole=name == "data_size")
    if not isinstance(value, int | float | np.number | np.ndarray) or isinstance(value, bool):
        return value
    if name in _POSITIONS:
        return value / factor
    return value if scale is None else value * scale


def _in_blocks(pixels: npt.NDArray[Any], factor: int, *, whole: bool) -> npt.NDArray[Any]:
    """Return numbers of pixels as numbers of blocks; `whole` counts a block that is only begun."""
    return -(-pixels // factor) if whole else pixels // factor
