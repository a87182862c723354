"""Images unpacked some rows at a time, into a buffer that stays in the processor's cache and is used again.

For whatever looks at each pixel once: unpacked pixels then never go out to memory and back. With binning that is a
fifth of the time (decision 0023). What is unpacked from other codecs than `bslz4`, or by DECTRIS's library where that
pays, is unpacked as a whole and given in the same slabs.

Contract: that of the codecs. Sizes and block lengths are checked before the first slab; a block that is damaged raises
`CodecError` when it is reached, after slabs that were good. Whoever uses them throws away what it has made by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

from . import decode, dectris
from .arrays import payload_view, size_bytes
from .blocks import HEADER, raise_for
from .bslz4 import DECTRIS_BELOW_RATIO, GROUP, checked_block_bytes

SLAB_BYTES = 256 * 1024
"""What a slab may hold [bytes], rounded to rows. Measured from 64 KiB to 1 MiB: smaller ones cost calls (a third more
time at 64 KiB), larger ones gain nothing and would not fit the second-level cache of every machine."""

Array = npt.NDArray[Any]
Slab = tuple[int, Array]
"""Number of the first row, and the rows, (n, n_fast)."""


class SlabReader:
    """Unpacks images slab by slab; one for each thread.

    Examples
    --------
    >>> from beamstream import codecs
    >>> image = np.arange(12, dtype="<u2").reshape(4, 3)
    >>> reader = SlabReader()
    >>> payload = codecs.encode(image, "bslz4")
    >>> [(row, int(slab.sum())) for row, slab in reader.slabs(payload, "bslz4", (4, 3), image.dtype)]
    [(0, 66)]
    """

    def __init__(self, slab_bytes: int = SLAB_BYTES) -> None:
        self._slab_bytes = slab_bytes
        self._buffer: Array = np.empty(0, np.uint8)
        self._image: Array | None = None

    def slabs(
        self,
        payload: bytes | bytearray | memoryview,
        codec: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        multiple: int = 1,
    ) -> Iterator[Slab]:
        """Unpack an image.

        Parameters
        ----------
        payload : bytes-like
            The bytes as they were sent.
        codec : str
            How they are packed: a name of `beamstream.codecs`.
        shape : (n_slow, n_fast)
            Shape of the image.
        dtype : dtype
            Its element.
        multiple : int
            Every slab but the last has a multiple of so many rows.

        Yields
        ------
        (int, (n, n_fast) array of this dtype)
            The first row's number, and the rows; valid until the next slab is asked for.

        Raises
        ------
        CodecError
            If the payload is damaged, or contradicts shape and dtype.
        ShapeError
            If it is no image.
        """
        n_bytes = size_bytes(tuple(shape), dtype, codec)
        if len(shape) != 2:
            raise ShapeError(f"slabs are rows of an image (n_slow, n_fast), this array has shape {tuple(shape)}")
        n_rows = max(1, self._slab_bytes // (shape[1] * dtype.itemsize) // multiple) * multiple
        source = payload_view(payload)
        if codec == "bslz4" and not dectris.pays(source.size, n_bytes, self._buffer, DECTRIS_BELOW_RATIO):
            yield from self._bslz4(source, (shape[0], shape[1]), dtype, n_rows)
        else:
            image = self._whole(payload, codec, (shape[0], shape[1]), dtype)
            for row in range(0, shape[0], n_rows):
                yield row, image[row : row + n_rows]

    def _whole(self, payload: Any, codec: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
        last = self._image
        fits = last is not None and last.shape == shape and last.dtype == dtype
        image = decode(payload, codec, shape, dtype, last if fits else None)
        self._image = image if image.flags.writeable else None
        return image

    def _bslz4(
        self, payload: npt.NDArray[np.uint8], shape: tuple[int, int], dtype: np.dtype[Any], n_rows: int
    ) -> Iterator[Slab]:
        from . import kernels  # imports numba, which takes longer than all of beamstream

        n_fast, n_pixels = shape[1], shape[0] * shape[1]
        n_block = min(checked_block_bytes(payload, shape, dtype) // dtype.itemsize, n_pixels)
        n_raw = n_pixels % GROUP
        n_slab = n_rows * n_fast
        buffer = self._sized(min(n_slab + n_block, n_pixels) + GROUP, dtype)
        words = buffer.view(f"u{dtype.itemsize}")
        at, n_done, n_have, row, n_blocks = HEADER.size, 0, 0, 0, 0
        while row < shape[0]:
            n_wanted = -(-(n_slab - n_have) // n_block) * n_block
            n = min(n_wanted, n_pixels - n_raw - n_done)
            if n:
                status, block, at = kernels.unpack_bslz4_blocks(payload, at, words[n_have : n_have + n], n_block)
                raise_for((status, n_blocks + block), "bslz4")
            n_done, n_have, n_blocks = n_done + n, n_have + n, n_blocks + -(-n // n_block)
            if n_raw and n_done + n_raw == n_pixels:
                words[n_have : n_have + n_raw].view(np.uint8)[:] = payload[payload.size - n_raw * dtype.itemsize :]
                n_have, n_done = n_have + n_raw, n_pixels
            first = 0
            while n_have - first >= n_slab or (n_done == n_pixels and n_have > first):
                n_given = min(n_slab, n_have - first)
                yield row, buffer[first : first + n_given].reshape(-1, n_fast)
                row, first = row + n_given // n_fast, first + n_given
            words[: n_have - first] = words[first:n_have]
            n_have -= first

    def _sized(self, n: int, dtype: np.dtype[Any]) -> Array:
        """Return the buffer for `n` elements, a larger one if need be."""
        if self._buffer.nbytes < n * dtype.itemsize:
            self._buffer = np.empty(n * dtype.itemsize, np.uint8)
        return self._buffer[: n * dtype.itemsize].view(dtype)
