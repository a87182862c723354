"""Payloads as HDF5 chunks and back, so that a frame goes into a file, and out again, as the detector packed it.

Pure: bytes in, bytes out; writing and reading the chunk is the caller's (`write_direct_chunk`, `read_direct_chunk`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import lz4.block
import numpy as np

from beamstream.errors import CorruptPayloadError, PayloadSizeError, UnknownCodecError

from .arrays import payload_view, size_bytes
from .blocks import HEADER, MAX_LZ4_RATIO, read_header
from .bslz4 import decode as decode_bslz4
from .bslz4 import encode as encode_bslz4
from .byte_offset import NAME as BYTE_OFFSET
from .byte_offset import decode_and_judge
from .byte_offset import encode as encode_byte_offset
from .lz4 import MAX_BLOCK_BYTES, decode_block

LZ4_FILTER_ID = 32004
BITSHUFFLE_FILTER_ID = 32008
FILTERS: dict[str, tuple[int | None, tuple[int, ...]]] = {
    "none": (None, ()),
    "lz4": (LZ4_FILTER_ID, (0,)),  # block size: the default; every chunk states its own
    "lz4-block": (LZ4_FILTER_ID, (0,)),
    "bslz4": (BITSHUFFLE_FILTER_ID, (0, 2)),  # block size as above; 2 is LZ4 behind the shuffling
    BYTE_OFFSET: (BITSHUFFLE_FILTER_ID, (0, 2)),  # HDF5 has no filter for it: packed anew
}

CBF_DTYPE = np.dtype("<i4")
"""What a PILATUS counts in."""

ONE_BLOCK = struct.Struct(">QII")
"""Header of an LZ4 chunk of one block: size of the array, size of a block, length of the packed block [bytes]."""

TOTAL = struct.Struct(">Q")
"""What every chunk but one without a filter begins with: size of the array [bytes]."""

Payload = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdf5Chunk:
    """A payload as HDF5 stores it.

    Attributes
    ----------
    filter_id : int or None
        HDF5's number of the filter that reads it; None: no filter.
    filter_options : tuple of int
        What the filter is created with (h5py's `compression_opts`).
    data : bytes-like
        The bytes of the chunk.
    comes_back : bool
        Whether `from_hdf5_chunk` gives the payload's own bytes; else only its pixels are in the chunk.
    """

    filter_id: int | None
    filter_options: tuple[int, ...]
    data: Payload
    comes_back: bool = True


class ChunkMaker:
    """Makes payloads of one codec, shape and dtype chunks; what is the same for all of them is checked once.

    Parameters
    ----------
    codec : str
        How the payloads are packed.
    shape : tuple of int
        Shape of the array; a chunk holds exactly this.
    dtype : dtype
        Its element, which must be the dataset's.

    Attributes
    ----------
    filter_id, filter_options
        As of a `Hdf5Chunk`.

    Raises
    ------
    UnknownCodecError
        If HDF5 has no filter for it.
    CorruptPayloadError
        If there can be no such array.
    """

    def __init__(self, codec: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if codec not in FILTERS:
            raise UnknownCodecError(codec, tuple(FILTERS))
        self.filter_id, self.filter_options = FILTERS[codec]
        self._codec, self._shape, self._dtype = codec, shape, dtype
        self._n_bytes = size_bytes(shape, dtype, codec)
        self._begins_with = TOTAL.pack(self._n_bytes) if codec in {"lz4", "bslz4"} else None
        self._at_least_bytes = max(HEADER.size, -(-self._n_bytes // MAX_LZ4_RATIO))

    def make(self, payload: Payload) -> tuple[Payload, bool]:
        """Return a chunk's bytes, and whether they come back; see `to_hdf5_chunk`."""
        if self._begins_with is not None and self._is_whole(payload):
            return payload, True
        codec, n_bytes = self._codec, self._n_bytes
        view = payload_view(payload)
        if codec in {"lz4", "bslz4"}:
            read_header(view, codec, n_bytes)
        elif codec == BYTE_OFFSET:
            pixels, is_shortest = decode_and_judge(view, self._shape, self._dtype)
            return encode_bslz4(pixels), is_shortest
        elif codec == "none" and view.size != n_bytes:
            raise PayloadSizeError("payload without compression", view.size, n_bytes)
        elif codec == "lz4-block":
            if n_bytes > MAX_BLOCK_BYTES:
                raise CorruptPayloadError(codec, f"{n_bytes} bytes are more than one block holds ({MAX_BLOCK_BYTES})")
            block = view if view.size != n_bytes else decode_block(view, (n_bytes,), np.dtype("u1"), None)
            return b"".join((ONE_BLOCK.pack(n_bytes, n_bytes, block.size), block.data)), True
        return payload, True

    def _is_whole(self, payload: Payload) -> bool:
        """Whether `read_header` would find nothing, in a tenth of its time; it says what it is."""
        if isinstance(payload, memoryview) and not (payload.c_contiguous and payload.format == "B"):
            return False
        return len(payload) >= self._at_least_bytes and payload[: TOTAL.size] == self._begins_with


def to_hdf5_chunk(payload: Payload, codec: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Hdf5Chunk:
    """Make a payload a chunk that HDF5's filters can read.

    Parameters
    ----------
    payload : bytes-like
        The payload of one frame.
    codec : str
        How it is packed.
    shape : tuple of int
        Shape of the array; the chunk holds exactly this.
    dtype : dtype
        Its element, which must be the dataset's.

    Returns
    -------
    Hdf5Chunk
        Its filter and its bytes: the payload itself; a copy behind 16 bytes of header for `lz4-block`; for
        `byte-offset`, which no filter reads, its pixels packed anew as `bslz4`.

    Raises
    ------
    UnknownCodecError
        If HDF5 has no filter for it.
    CodecError
        If its size, or the size it claims to unpack to, is not that of the array: HDF5 could not read it.

    Notes
    -----
    The filter takes a block as long as its content for one that is not packed. A `lz4-block` payload of exactly that
    length is therefore unpacked here: its pixels are right, its bytes come back packed anew.

    Byte offsets are made again from the pixels, which gives the payload's own bytes wherever its sender packed each
    difference as short as can be; every one that we know does.
    """
    maker = ChunkMaker(codec, shape, dtype)
    data, comes_back = maker.make(payload)
    return Hdf5Chunk(filter_id=maker.filter_id, filter_options=maker.filter_options, data=data, comes_back=comes_back)


def from_hdf5_chunk(data: Payload, codec: str, dtype: np.dtype[Any] = CBF_DTYPE) -> Payload:
    """Make the bytes of a chunk the payload they came from, so that its checksum can be computed again.

    Parameters
    ----------
    data : bytes-like
        What `to_hdf5_chunk` made.
    codec : str
        How the payload was packed.
    dtype : dtype
        Its element; asked for `byte-offset` only.

    Returns
    -------
    bytes-like
        The payload, not copied; made again for `byte-offset`.

    Raises
    ------
    UnknownCodecError
        If there is no such codec.
    CodecError
        If a chunk for `lz4-block` is not one block from its first to its last byte, or one for `byte-offset` cannot be
        unpacked.
    """
    if codec not in FILTERS:
        raise UnknownCodecError(codec, tuple(FILTERS))
    if codec == BYTE_OFFSET:
        chunk = payload_view(data)
        n_bytes = TOTAL.unpack_from(chunk.data)[0] if chunk.size >= TOTAL.size else 0
        return encode_byte_offset(decode_bslz4(chunk, (n_bytes // dtype.itemsize,), dtype, None))
    if codec != "lz4-block":
        return data
    view = payload_view(data)
    if view.size < ONE_BLOCK.size:
        raise CorruptPayloadError(codec, f"{view.size} bytes are less than the chunk's header of {ONE_BLOCK.size}")
    total_bytes, block_bytes, length = ONE_BLOCK.unpack_from(view.data)
    block = view[ONE_BLOCK.size :]
    if block_bytes < total_bytes or length != block.size:
        raise CorruptPayloadError(codec, f"a chunk of {view.size} bytes is not one block of {length} bytes")
    if length == total_bytes:
        packed: bytes = lz4.block.compress(block, store_size=False)
        return packed
    return block.data
