"""What a payload may unpack to: shapes and dtypes, their size in bytes, and the array that the pixels go into.

Policy: a shape and a dtype that came with a payload are as little to be trusted as the payload itself (`CodecError`);
an array that the caller brings is the caller's to mend (`ShapeError`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import CorruptPayloadError, ShapeError

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Shape = tuple[int, ...]

MAX_ARRAY_BYTES = 4 * 2**30 - 1
"""Largest array that is packed or unpacked [bytes]: HDF5 keeps the size of a chunk in 32 bits, and every frame must
fit one; the largest detectors make 0.3 GB (16 Mpixel, four thresholds, 32 bit)."""

MAX_DIMENSIONS = 32
"""Most axes of an array; what HDF5 (H5S_MAX_RANK) and NumPy 1 can hold."""

ITEM_BYTES = (1, 2, 4, 8)
"""Sizes of an element [bytes]: those that bit shuffling is done for here."""

KINDS = "biufc"
"""NumPy's kinds of numbers; everything else (objects, text, records) is no pixel."""


def why_not(shape: Shape, dtype: np.dtype[Any]) -> str | None:
    """Say why an array of this shape and dtype cannot be packed or unpacked; None if it can."""
    if dtype.kind not in KINDS or dtype.itemsize not in ITEM_BYTES:
        return f"dtype {dtype} is none of the numbers of {', '.join(map(str, ITEM_BYTES))} bytes"
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        return f"shape {shape} has {len(shape)} axes where 1 to {MAX_DIMENSIONS} can be; a single value is (1,)"
    if not all(isinstance(n, int) and n > 0 for n in shape):
        return f"shape {shape} is not made of positive integers"
    n_bytes = math.prod(shape) * dtype.itemsize  # Python's integers: no product is too large to be compared
    if n_bytes > MAX_ARRAY_BYTES:
        return f"shape {shape} of {dtype} needs {n_bytes} bytes, the limit is {MAX_ARRAY_BYTES}"
    return None


def size_bytes(shape: Shape, dtype: np.dtype[Any], codec: str) -> int:
    """Return the size of the array that a payload says it holds [bytes].

    Raises
    ------
    CorruptPayloadError
        If there can be no such array.
    """
    reason = why_not(shape, dtype)
    if reason is not None:
        raise CorruptPayloadError(codec, reason)
    return math.prod(shape) * dtype.itemsize


def payload_view(payload: bytes | bytearray | memoryview) -> Bytes:
    """Look at a payload as (n,) uint8, read-only, without copying it.

    Raises
    ------
    ShapeError
        If it is a memoryview with gaps between its elements.
    """
    if isinstance(payload, memoryview) and not payload.c_contiguous:
        raise ShapeError("the payload is a memoryview with gaps; copy it with bytes() first")
    view = np.frombuffer(payload, dtype=np.uint8)
    view.flags.writeable = False
    return view


def check_target(out: Array, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Make sure that `out` can take an array of this shape and dtype.

    Raises
    ------
    ShapeError
        If it has another shape or dtype, is not C-contiguous, or is read-only.
    """
    if out.shape != tuple(shape) or out.dtype != dtype:
        raise ShapeError(f"out is {out.shape} {out.dtype}, the frame is {tuple(shape)} {dtype}")
    if not out.flags.c_contiguous:
        raise ShapeError(f"out has strides {out.strides}; it must be C-contiguous")
    if not out.flags.writeable:
        raise ShapeError("out is read-only")


def target(shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Return `out`, or a new array where none was given."""
    return np.empty(shape, dtype) if out is None else out


def elements(array: Array) -> Array:
    """Look at a C-contiguous array as (n,) unsigned integers of the same size: codecs move bytes, not numbers."""
    return array.reshape(-1).view(f"u{array.dtype.itemsize}")


def check_source(array: Array) -> None:
    """Make sure that an array can be packed.

    Raises
    ------
    ShapeError
        If it is empty, too large, not C-contiguous, or not made of numbers of 1, 2, 4 or 8 bytes.
    """
    reason = why_not(array.shape, array.dtype)
    if reason is not None:
        raise ShapeError(f"cannot be packed: {reason}")
    if not array.flags.c_contiguous:
        raise ShapeError(f"cannot be packed: strides {array.strides} are not C-contiguous; use np.ascontiguousarray")
