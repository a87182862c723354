"""The frame around packed blocks: the 12-byte header of HDF5's LZ4 and bitshuffle chunks, checked before anything else.

    8 bytes  size of the unpacked array [bytes], big-endian
    4 bytes  size of an unpacked block [bytes], big-endian
    blocks   4 bytes length [bytes], big-endian, then the packed block
    rest     bitshuffle only: the last (n mod 8) elements as they are

Policy: what a payload claims is compared with what its shape and dtype say, with what LZ4 can do, and with its own
length, in this order, before a byte is allocated for it.
"""

from __future__ import annotations

import struct

from beamstream.errors import CorruptPayloadError, PayloadSizeError

from .arrays import Bytes

HEADER = struct.Struct(">QI")

MAX_LZ4_RATIO = 255
"""Bytes that one byte of LZ4 can stand for, at the most: a byte of a match's length."""


def read_header(payload: Bytes, codec: str, n_bytes: int) -> int:
    """Check the header of a chunk.

    Parameters
    ----------
    payload : (n,) uint8
        The chunk.
    codec : str
        Its name, for the error.
    n_bytes : int
        Size of the array by its shape and dtype [bytes].

    Returns
    -------
    int
        Size of an unpacked block as the header states it [bytes].

    Raises
    ------
    CorruptPayloadError
        If the payload is shorter than a header.
    PayloadSizeError
        If the header claims another size than `n_bytes`, or the payload is too short for it whatever it holds.
    """
    if payload.size < HEADER.size:
        raise CorruptPayloadError(codec, f"{payload.size} bytes are less than the header of {HEADER.size} bytes")
    total_bytes, block_bytes = HEADER.unpack_from(payload.data)
    if total_bytes != n_bytes:
        raise PayloadSizeError(f"{codec} header against shape and dtype", total_bytes, n_bytes)
    check_ratio(payload.size, codec, n_bytes)
    return int(block_bytes)


def check_ratio(payload_bytes: int, codec: str, n_bytes: int) -> None:
    """Raise `PayloadSizeError` if no LZ4 of `payload_bytes` can hold `n_bytes`, so that little cannot claim much."""
    if payload_bytes * MAX_LZ4_RATIO < n_bytes:
        raise PayloadSizeError(f"{codec} payload for {n_bytes} bytes", payload_bytes, -(-n_bytes // MAX_LZ4_RATIO))


def check_blocks(payload: Bytes, codec: str, total_bytes: int, block_bytes: int, n_raw_bytes: int = 0) -> None:
    """Follow the lengths of all blocks to the last byte of the payload.

    Parameters
    ----------
    payload : (n,) uint8
        The chunk.
    codec : str
        Its name, for the error.
    total_bytes, block_bytes : int
        Size of all blocks and of each but the last, unpacked [bytes].
    n_raw_bytes : int
        What stands as it is behind the last block [bytes].

    Raises
    ------
    CorruptPayloadError
        If a block reaches over the end, or anything is missing or left over.
    """
    from . import kernels  # imports numba, which takes longer than all of beamstream

    raise_for(kernels.walk(payload, HEADER.size, total_bytes, block_bytes, n_raw_bytes), codec)


def raise_for(outcome: tuple[int, int], codec: str) -> None:
    """Raise `CorruptPayloadError` for a status of the kernels and the block it is about, unless all went well."""
    from . import kernels  # as above

    status, block = outcome
    if status != kernels.OK:
        raise CorruptPayloadError(codec, kernels.STATUS_TEXT[status].format(block=block))
