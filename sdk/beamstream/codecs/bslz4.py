"""`bslz4`: bits shuffled block by block, then LZ4; the chunk of HDF5 filter 32008, and what every EIGER sends.

Unpacking is our own numba (`kernels`), or DECTRIS's library where that pays; packing is seedee. Decision 0002 has the
measurements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import seedee

from beamstream.errors import CorruptPayloadError, ShapeError

from . import dectris
from .arrays import Array, Bytes, Shape, check_source, elements, size_bytes, target
from .blocks import HEADER, check_blocks, raise_for, read_header

DEFAULT_BLOCK_BYTES = 8192
"""What block size 0 means [bytes]: bitshuffle's default (BSHUF_TARGET_BLOCK_SIZE_B) for elements of 1, 2, 4 and 8
bytes; some senders leave the field empty, and HDF5's filter reads it the same way."""

GROUP = 8
"""Bits are shuffled in groups of this many elements; blocks hold whole groups, what is left at the end stays raw."""

DECTRIS_BELOW_RATIO = 4
"""Unpacked to packed size up to which DECTRIS's library unpacks faster; measured, decision 0002."""

MAX_SEEDEE_BYTES = 2**30
"""Largest array given to seedee [bytes]: it counts in C's int, and its documentation says 1 GB."""


def decode(payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Unpack a chunk of bit-shuffled LZ4 blocks; see `beamstream.codecs.decode`."""
    n_bytes = size_bytes(shape, dtype, "bslz4")
    block_bytes = checked_block_bytes(payload, shape, dtype)
    result = target(shape, dtype, out)
    if dectris.pays(payload.size, n_bytes, out, DECTRIS_BELOW_RATIO):
        dectris.unpack(payload, "bslz4", result)
    else:
        unpack_with_kernels(payload, elements(result), block_bytes)
    return result


def checked_block_bytes(payload: Bytes, shape: Shape, dtype: np.dtype[Any]) -> int:
    """Check header and block lengths of a chunk that is to hold such an array; return the size of a block [bytes].

    Raises
    ------
    CorruptPayloadError, PayloadSizeError
        If they contradict the array, one another, or the length of the payload.
    """
    n_bytes = size_bytes(shape, dtype, "bslz4")
    block_bytes = read_header(payload, "bslz4", n_bytes) or DEFAULT_BLOCK_BYTES
    if block_bytes % (GROUP * dtype.itemsize):
        raise CorruptPayloadError("bslz4", f"blocks of {block_bytes} bytes are not whole groups of 8 {dtype}")
    n_raw_bytes = n_bytes % (GROUP * dtype.itemsize)
    check_blocks(payload, "bslz4", n_bytes - n_raw_bytes, block_bytes, n_raw_bytes)
    return block_bytes


def unpack_with_kernels(payload: Bytes, out: Array, block_bytes: int) -> None:
    """Unpack a chunk that `check_blocks` found whole into `out`, (n,) unsigned integers, by our own numba."""
    from . import kernels  # imports numba, which takes longer than all of beamstream

    n_grouped = out.size - out.size % GROUP
    if n_grouped:
        n_block = block_bytes // out.itemsize
        raise_for(kernels.unpack_bslz4_chunk(payload, HEADER.size, out[:n_grouped], n_block), "bslz4")
    raw = out[n_grouped:].view(np.uint8)
    raw[:] = payload[payload.size - raw.size :]


def encode(array: Array) -> memoryview:
    """Pack an array into a chunk of bit-shuffled LZ4 blocks; see `beamstream.codecs.encode`."""
    return pack_with_seedee(array, seedee.COMPRESSION_BITSHUFFLE)


def pack_with_seedee(array: Array, compression: int) -> memoryview:
    """Pack an array into an HDF5 chunk by seedee.

    Raises
    ------
    ShapeError
        If the array cannot be packed, or not by seedee.
    """
    check_source(array)
    if array.nbytes > MAX_SEEDEE_BYTES:
        raise ShapeError(f"cannot be packed: {array.nbytes} bytes, seedee's limit is {MAX_SEEDEE_BYTES}")
    try:
        buffer, _ = seedee.serialize(elements(array), compression)
    except ValueError as error:
        raise ShapeError(f"cannot be packed: {error}") from error
    return memoryview(buffer)
