"""Pixel codecs: how payload bytes become arrays and back.

Contract (every codec keeps it): sizes are checked before anything is allocated, and no input, however damaged, does
anything else than return the right array or raise a `CodecError`.

| name        | bytes                                                                                              |
|-------------|----------------------------------------------------------------------------------------------------|
| `none`      | the array, C order                                                                                 |
| `lz4`       | HDF5 filter 32004 chunk: 8-byte BE total, 4-byte BE block size, then per block 4-byte BE length + LZ4 |
| `lz4-block` | one raw LZ4 block with no header at all (SIMPLON stream v1 `lz4<`)                                 |
| `bslz4`     | HDF5 filter 32008 chunk: same 12-byte header, blocks of bit-shuffled data                          |
| `byte-offset` | CBF's x-CBF_BYTE_OFFSET: differences of 1, 2, 4 or 8 bytes, without the MIME header around them  |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UnknownCodecError

from . import bslz4, byte_offset, lz4, none
from .arrays import MAX_ARRAY_BYTES, check_target, payload_view, size_bytes
from .hdf5 import ChunkMaker, Hdf5Chunk, from_hdf5_chunk, to_hdf5_chunk

__all__ = [
    "CODECS",
    "MAX_ARRAY_BYTES",
    "ChunkMaker",
    "Codec",
    "Hdf5Chunk",
    "decode",
    "encode",
    "from_hdf5_chunk",
    "to_hdf5_chunk",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One way to pack an array.

    Attributes
    ----------
    decode : function of (payload as (n,) uint8, shape, dtype, out)
        Unpacks; is given a checked `out`, checks everything else.
    encode : function of (array)
        Packs; checks the array.
    """

    decode: Callable[[npt.NDArray[np.uint8], tuple[int, ...], np.dtype[Any], npt.NDArray[Any] | None], npt.NDArray[Any]]
    encode: Callable[[npt.NDArray[Any]], bytes | memoryview]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "none": Codec(decode=none.decode, encode=none.encode),
        "lz4": Codec(decode=lz4.decode, encode=lz4.encode),
        "lz4-block": Codec(decode=lz4.decode_block, encode=lz4.encode_block),
        "bslz4": Codec(decode=bslz4.decode, encode=bslz4.encode),
        "byte-offset": Codec(decode=byte_offset.decode, encode=byte_offset.encode),
    }
)
"""Every codec by the name that a header carries."""


def decode(
    payload: bytes | bytearray | memoryview,
    codec: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Unpack a payload into an array.

    Parameters
    ----------
    payload : bytes-like
        The bytes as they were sent; not copied.
    codec : {"none", "lz4", "lz4-block", "bslz4", "byte-offset"}
        How they are packed.
    shape : tuple of int
        Shape of the array, slowest axis first; 1 to 32 axes, none of them empty.
    dtype : dtype
        Its element: a number of 1, 2, 4 or 8 bytes in any byte order.
    out : array of this shape and dtype, C-contiguous and writable, optional
        Where the pixels go; reusing one array saves the kernel's first touch of new memory. After a `CodecError` it
        holds anything.

    Returns
    -------
    array of this shape and dtype
        `out` if it was given; otherwise a read-only view of the payload for `none`, a new array for the rest.

    Raises
    ------
    CodecError
        If the codec is unknown, or payload, shape and dtype contradict one another or themselves.
    ShapeError
        If `out` does not fit, or the payload is a memoryview with gaps.

    Examples
    --------
    >>> image = np.arange(6, dtype="<u2").reshape(2, 3)
    >>> decode(encode(image, "bslz4"), "bslz4", (2, 3), np.dtype("<u2"))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint16)
    """
    way = _way(codec)
    if out is not None:
        size_bytes(shape, dtype, codec)  # a shape that cannot be is the payload's fault, not that of `out`
        check_target(out, shape, dtype)
    return way.decode(payload_view(payload), shape, dtype, out)


def encode(array: npt.NDArray[Any], codec: str) -> bytes | memoryview:
    """Pack an array.

    Parameters
    ----------
    array : C-contiguous array, any shape with 1 to 32 axes
        Numbers of 1, 2, 4 or 8 bytes; its byte order is kept.
    codec : {"none", "lz4", "lz4-block", "bslz4", "byte-offset"}
        How to pack it.

    Returns
    -------
    bytes-like
        The payload. For `none` a view of the array itself: do not change the array before the payload is sent.

    Raises
    ------
    UnknownCodecError
        If there is no such codec.
    ShapeError
        If the array is empty, too large for the codec, not C-contiguous, or not made of such numbers.
    """
    return _way(codec).encode(array)


def _way(codec: str) -> Codec:
    if codec not in CODECS:
        raise UnknownCodecError(codec, tuple(CODECS))
    return CODECS[codec]
