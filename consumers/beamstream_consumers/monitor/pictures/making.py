"""Pictures of frames and powders: pixels put where they are seen, as unsigned integers, and measured.

Integers stay what they are. Floats become numbers of 32 bits with a scale: whole ones exactly, others in steps of a
power of two that is below 1/512 of what they are on average, or what their range needs.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.azimuthal_average import azimuthal_average
from beamstream_consumers.kernels.picture_pixels import float_range, place_floats, place_integers

from .measuring import measure
from .picture import About, Kind, Picture
from .said_peaks import SaidPeaks
from .scene import Scene

_numbers = itertools.count(1)

LARGEST = 2**32 - 2
"""The largest number of a picture that is a value."""

STEPS = 512
"""How many steps of a float picture its mean absolute value has, at least."""

SMALLEST_STEP = 2.0**-126
"""Smallest step of a float picture: below it single precision ends."""


def make_picture(
    array: npt.NDArray[Any],
    scene: Scene,
    *,
    source: str,
    kind: Kind,
    stream: str,
    message_id: int,
    taken_ns: int,
    n_frames: int = 1,
    said: SaidPeaks | None = None,
) -> Picture:
    """Make a picture.

    Parameters
    ----------
    array : (n_slow, n_fast) integer or float
        A frame as it lies in memory, or a powder; not written to, and not kept unless it is the picture as it is.
    scene : Scene
        Of its run.
    source, kind, stream, message_id, taken_ns, n_frames
        See `Picture`.
    said : SaidPeaks, optional
        What the peak finder says of it.

    Raises
    ------
    ShapeError
        If the array is no image of this scene.
    """
    if array.shape != scene.frame_shape or array.dtype.kind not in "uifb":
        raise ShapeError(
            f"message {message_id} of {stream} is {array.shape} {array.dtype}; "
            f"a picture is made of numbers of shape {scene.frame_shape}"
        )
    pixels = native_pixels(array)
    image, scale, offset = _placed(pixels, scene)
    measured = measure(image, scene.mask, n_empty=scene.n_empty, n_masked=scene.n_masked, scale=scale, offset=offset)
    return Picture(
        number=next(_numbers),
        source=source,
        kind=kind,
        stream=stream,
        message_id=message_id,
        n_frames=n_frames,
        taken_ns=taken_ns,
        image=image,
        mask=scene.mask,
        flag=int(np.iinfo(image.dtype).max),
        scale=scale,
        offset=offset,
        about=About(
            percentiles=measured.percentiles,
            histogram=measured.histogram,
            numbers=measured.numbers,
            hit=None if said is None else said.hit,
            n_peaks=None if said is None else said.n_peaks,
            peaks=None if said is None else peaks_seen(said, scene),
            radial=_radial(pixels, scene),
        ),
    )


def peaks_seen(said: SaidPeaks, scene: Scene) -> npt.NDArray[np.float32]:
    """Return x, y and intensity of peaks as they are seen, (n, 3) float32."""
    return np.column_stack([scene.place_peaks(said.fs, said.ss), said.intensity]).astype(np.float32)


def native_pixels(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return pixels that kernels take: this machine's byte order, integers of 32 bits at most, floats."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind in "ui" and array.dtype.itemsize == 8:
        none = array == np.iinfo(array.dtype).max if array.dtype.kind == "u" else array < 0
        return np.where(none, np.nan, array.astype(np.float64))
    if array.dtype.kind == "f" and array.dtype.itemsize == 2:
        return array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _placed(pixels: npt.NDArray[Any], scene: Scene) -> tuple[npt.NDArray[Any], float, float]:
    """Return the picture's image, scale and offset."""
    index = None if scene.assembly is None else scene.assembly.index.reshape(-1)
    kind, n_bytes = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "u" and n_bytes >= 2 and index is None:
        return pixels, 1.0, 0.0
    image = np.empty(scene.shape, np.uint16 if n_bytes <= 2 else np.uint32)
    if kind != "f":
        flag = int(np.iinfo(pixels.dtype).max) if kind == "u" else -1
        place_integers(pixels.reshape(-1), index, 0, flag, image.reshape(-1))
        return image, 1.0, 0.0
    scale, offset = _scale(pixels)
    place_floats(pixels.reshape(-1), index, scale, offset, image.reshape(-1))
    return image, scale, offset


def _scale(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Return scale and offset of a float image."""
    low, high, absolute, _, whole = float_range(pixels.reshape(-1))
    if whole and high - min(low, 0.0) <= LARGEST:
        return 1.0, min(low, 0.0)
    # One step less than there are, because the offset is a whole number of steps below the smallest value.
    wide = high / (LARGEST - 1) - min(low, 0.0) / (LARGEST - 1)
    step = max(wide, min(absolute, max(-low, high)) / STEPS / 2, SMALLEST_STEP)
    scale = 2.0 ** math.ceil(math.log2(step))
    return scale, min(0.0, math.floor(low / scale) * scale)


def _radial(pixels: npt.NDArray[Any], scene: Scene) -> npt.NDArray[np.float32] | None:
    """Return radius and mean of the good pixels there, (2, n) float32; None where the centre is not known."""
    bins = scene.radial_bins
    if bins is None:
        return None
    mean = azimuthal_average(pixels, bins, error_model="none").intensity
    known = np.isfinite(mean)
    return np.stack([bins.centers[known], mean[known]]).astype(np.float32)
