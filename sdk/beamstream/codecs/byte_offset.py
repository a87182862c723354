"""`byte-offset`: differences between neighbours, most of them in one byte; what a PILATUS writes into its CBF files.

Integers are packed as their numbers, everything else as the unsigned integers of its bits. Elements of 8 bytes are
taken as signed, and their sums modulo 2^64, so that every array comes back. In smaller elements a sum that does not fit
is refused: nothing wraps around in silence.

References
----------
CBFlib manual, section 3.3.3, «Byte_offset compression».
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beamstream.errors import CorruptPayloadError, PayloadSizeError

from .arrays import Array, Bytes, Shape, check_source, size_bytes, target
from .blocks import raise_for

NAME = "byte-offset"

MOST_BYTES = 15
"""What one element takes at the most [bytes]: 1 + 2 + 4 that announce, and 8."""


def decode(payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Unpack byte offsets; see `beamstream.codecs.decode`."""
    return decode_and_judge(payload, shape, dtype, out)[0]


def decode_and_judge(
    payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None = None
) -> tuple[Array, bool]:
    """Unpack byte offsets, and say whether `encode` makes the same bytes of the array: each was as short as can be."""
    from . import kernels  # imports numba, which takes longer than all of beamstream

    n = size_bytes(shape, dtype, NAME) // dtype.itemsize
    if payload.size < n:
        raise PayloadSizeError(f"{NAME} payload for {n} elements", payload.size, n)
    if payload.size > n * MOST_BYTES:
        raise CorruptPayloadError(NAME, f"{payload.size} bytes are more than {n} elements can take")
    result = target(shape, dtype, out)
    numbers = _numbers(result)
    limits = np.iinfo(numbers.dtype)
    status, element, is_shortest = kernels.unpack_byte_offset(payload, numbers, int(limits.min), int(limits.max))
    raise_for((status, element), NAME)
    if not dtype.isnative:
        numbers.byteswap(inplace=True)
    return result, is_shortest


def encode(array: Array) -> memoryview:
    """Pack an array as byte offsets, each as short as can be; see `beamstream.codecs.encode`."""
    from . import kernels  # as above

    check_source(array)
    numbers = _numbers(array)
    if not array.dtype.isnative:
        numbers = numbers.byteswap()
    packed = np.empty(kernels.byte_offset_bytes(numbers), np.uint8)
    kernels.pack_byte_offset(numbers, packed)
    return packed.data


def _numbers(array: Array) -> Array:
    """Look at a C-contiguous array as the (n,) integers that differences are taken of, in this machine's byte order."""
    size, kind = array.dtype.itemsize, array.dtype.kind
    return array.reshape(-1).view(f"i{size}" if kind == "i" or size == 8 else f"u{size}")
