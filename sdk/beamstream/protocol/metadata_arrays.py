"""Arrays in stream metadata: msgpack extension 1, a packed list of dtype, shape, codec and bytes.

Large ones are compressed. NumPy's scalars travel as plain numbers.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream.errors import EntryError

ARRAY_EXTENSION = 1
"""msgpack extension type of an array."""

COMPRESS_FROM_BYTES = 4096
"""Arrays from this size on are compressed [bytes]; below, the codec's own header eats the gain."""

_KINDS = "biufc"
"""Kinds of NumPy dtype that may travel: plain numbers. Objects and records never do."""


def encode_leaf(value: object) -> Any:
    """Turn a leaf that msgpack does not know into one that it does.

    Raises
    ------
    TypeError
        If it cannot travel.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(ARRAY_EXTENSION, _encode_array(value))
    raise TypeError(f"a {type(value).__name__} cannot be stream metadata")


def _encode_array(array: npt.NDArray[Any]) -> bytes:
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {array.dtype} cannot be stream metadata")
    array = np.ascontiguousarray(array)
    codec = "bslz4" if array.nbytes >= COMPRESS_FROM_BYTES and array.dtype.kind in "iuf" else "none"
    packed: bytes = msgpack.packb([array.dtype.str, array.shape, codec, bytes(codecs.encode(array, codec))])
    return packed


def decode_extension(code: int, data: bytes) -> Any:
    """Read an array; the inverse of `encode_leaf`.

    Raises
    ------
    EntryError, CodecError
        If it is none.
    """
    if code != ARRAY_EXTENSION:
        raise EntryError("stream metadata", f"unknown extension {code}")
    dtype_name, shape, codec, payload = msgpack.unpackb(data)
    dtype = np.dtype(dtype_name)
    if dtype.kind not in _KINDS:
        raise EntryError("stream metadata", f"an array of {dtype}")
    if not payload:
        return np.empty(tuple(shape), dtype)
    return codecs.decode(payload, codec, tuple(shape), dtype)
