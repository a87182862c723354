"""`none`: the array as it lies in memory, C order."""

from __future__ import annotations

from typing import Any

import numpy as np

from beamstream.errors import PayloadSizeError

from .arrays import Array, Bytes, Shape, check_source, elements, size_bytes


def decode(payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Look at a payload as an array, read-only, or copy it into `out`; see `beamstream.codecs.decode`."""
    n_bytes = size_bytes(shape, dtype, "none")
    if payload.size != n_bytes:
        raise PayloadSizeError("payload without compression", payload.size, n_bytes)
    view = payload.view(dtype).reshape(shape)
    if out is None:
        return view
    np.copyto(out, view)
    return out


def encode(array: Array) -> memoryview:
    """Look at an array as its bytes, read-only, without copying it; see `beamstream.codecs.encode`."""
    check_source(array)
    return elements(array).view(np.uint8).data.toreadonly()
