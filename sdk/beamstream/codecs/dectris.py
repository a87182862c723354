"""DECTRIS's own decoder, where somebody has built it: `dectris-compression` comes as source only (extra `fast`).

Policy: it gets only what has passed the checks of `blocks`, and only where it is faster than our own way. It cannot
unpack into a given array, so its bytes are copied there: that pays for `out=`, up to a size where malloc recycles
memory, and for pixels that pack badly; otherwise we are as fast or faster without it (decision 0002).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import numpy as np

from beamstream.errors import CorruptPayloadError, PayloadSizeError

from .arrays import Array, Bytes

MAX_BYTES = 32 * 2**20 - 4096
"""Largest array it is used for [bytes]: from 32 MiB on glibc takes every result freshly from the kernel
(DEFAULT_MMAP_THRESHOLD_MAX), and touching that costs more than unpacking; a page is left for the object's header."""


@functools.cache
def decompressor() -> Callable[..., bytes] | None:
    """Return the library's one function; None where it is not installed."""
    try:
        module = importlib.import_module("dectris.compression")
    except ImportError:
        return None
    function: Callable[..., bytes] = module.decompress
    return function


def pays(payload_bytes: int, n_bytes: int, out: Array | None, below_ratio: int) -> bool:
    """Say whether it is there and the faster way.

    Parameters
    ----------
    payload_bytes, n_bytes : int
        Size of the payload and of the array [bytes].
    out : array or None
        Where the array goes; None: to new memory.
    below_ratio : int
        The codec's ratio of the two from which on our own way is faster.
    """
    fits = out is not None and n_bytes <= MAX_BYTES and n_bytes < below_ratio * payload_bytes
    return fits and decompressor() is not None


def unpack(payload: Bytes, algorithm: str, out: Array) -> None:
    """Unpack a chunk that was found whole.

    Parameters
    ----------
    payload : (n,) uint8
        The chunk.
    algorithm : {"bslz4", "lz4"}
        What packed it.
    out : C-contiguous array
        Where its bytes go.

    Raises
    ------
    CorruptPayloadError
        If the library finds it damaged, or is not installed.
    PayloadSizeError
        If it makes another number of bytes of it.
    """
    decompress = decompressor()
    if decompress is None:
        raise CorruptPayloadError(algorithm, "dectris-compression is not installed")
    try:
        unpacked = decompress(payload, algorithm, elem_size=out.dtype.itemsize)
    except (RuntimeError, MemoryError, ValueError, OverflowError) as error:
        raise CorruptPayloadError(algorithm, str(error) or type(error).__name__) from error
    if len(unpacked) != out.nbytes:
        raise PayloadSizeError(f"unpacked {algorithm}", len(unpacked), out.nbytes)
    np.copyto(out.reshape(-1).view(np.uint8), np.frombuffer(unpacked, np.uint8))
