"""`lz4` (blocks with a header: the chunk of HDF5 filter 32004) and `lz4-block` (one block, no header: SIMPLON v1).

Unpacking is our own numba (`kernels`), or DECTRIS's library where that pays; packing is seedee and the lz4 library.
Decision 0002 has the measurements.
"""

from __future__ import annotations

from typing import Any

import lz4.block
import numpy as np
import seedee

from beamstream.errors import CorruptPayloadError, ShapeError

from . import dectris
from .arrays import Array, Bytes, Shape, check_source, elements, size_bytes, target
from .blocks import HEADER, check_blocks, check_ratio, raise_for, read_header
from .bslz4 import pack_with_seedee

DECTRIS_BELOW_RATIO = 32
"""Unpacked to packed size up to which DECTRIS's library unpacks faster; measured, decision 0002."""

MAX_BLOCK_BYTES = 0x7E000000
"""Largest content of one LZ4 block [bytes]; LZ4_MAX_INPUT_SIZE."""

# --- lz4: blocks with a header -----------------------------------------------------------------------------------


def decode(payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Unpack a chunk of LZ4 blocks; see `beamstream.codecs.decode`."""
    n_bytes = size_bytes(shape, dtype, "lz4")
    block_bytes = min(read_header(payload, "lz4", n_bytes), n_bytes)
    if not 0 < block_bytes <= MAX_BLOCK_BYTES:
        raise CorruptPayloadError("lz4", f"blocks of {block_bytes} bytes, 1 to {MAX_BLOCK_BYTES} can be")
    check_blocks(payload, "lz4", n_bytes, block_bytes)
    result = target(shape, dtype, out)
    if dectris.pays(payload.size, n_bytes, out, DECTRIS_BELOW_RATIO):
        dectris.unpack(payload, "lz4", result)
    else:
        unpack_with_kernels(payload, elements(result).view(np.uint8), block_bytes)
    return result


def unpack_with_kernels(payload: Bytes, out: Bytes, block_bytes: int) -> None:
    """Unpack a chunk that `check_blocks` found whole into `out`, (n,) uint8, by our own numba."""
    from . import kernels  # imports numba, which takes longer than all of beamstream

    raise_for(kernels.unpack_lz4_chunk(payload, HEADER.size, out, block_bytes), "lz4")


def encode(array: Array) -> memoryview:
    """Pack an array into a chunk of one LZ4 block; see `beamstream.codecs.encode`."""
    return pack_with_seedee(array, seedee.COMPRESSION_LZ4)


# --- lz4-block: one block, no header -----------------------------------------------------------------------------


def decode_block(payload: Bytes, shape: Shape, dtype: np.dtype[Any], out: Array | None) -> Array:
    """Unpack one LZ4 block without header; see `beamstream.codecs.decode`."""
    from . import kernels  # imports numba, which takes longer than all of beamstream

    n_bytes = size_bytes(shape, dtype, "lz4-block")
    if n_bytes > MAX_BLOCK_BYTES:
        raise CorruptPayloadError("lz4-block", f"{n_bytes} bytes are more than one block holds ({MAX_BLOCK_BYTES})")
    check_ratio(payload.size, "lz4-block", n_bytes)
    result = target(shape, dtype, out)
    if not kernels.unpack_lz4(payload, elements(result).view(np.uint8)):
        raise CorruptPayloadError("lz4-block", f"it is no valid LZ4 of {n_bytes} bytes")
    return result


def encode_block(array: Array) -> bytes:
    """Pack an array into one LZ4 block without header; see `beamstream.codecs.encode`."""
    check_source(array)
    if array.nbytes > MAX_BLOCK_BYTES:
        raise ShapeError(f"cannot be packed: {array.nbytes} bytes, one LZ4 block holds {MAX_BLOCK_BYTES}")
    packed: bytes = lz4.block.compress(elements(array), store_size=False)
    return packed
