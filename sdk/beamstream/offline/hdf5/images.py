"""The images of one dataset, each as a payload: the stored chunk untouched where a codec of ours reads it.

Such a chunk holds one image, and its filters are none, 32008 (bitshuffle with LZ4) or 32004 (LZ4). Everything else
(several images in a chunk, tiles, gzip, Zstandard, no chunks at all) is unpacked by HDF5 and packed anew as bslz4.
Sizes are compared with what the file has before anything is read.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - makes HDF5 know the filters 32004 and 32008
import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream.codecs.arrays import why_not
from beamstream.codecs.byte_offset import NAME as BYTE_OFFSET
from beamstream.codecs.hdf5 import BITSHUFFLE_FILTER_ID, LZ4_FILTER_ID, ONE_BLOCK
from beamstream.errors import CorruptPayloadError
from beamstream.frame import Payload

REPACKED = "bslz4"
"""Codec of what had to be unpacked."""

BYTES_LOST = "bytes_lost"
"""Attribute of our own files: how many payloads cannot be made again; their pixels are there."""

MAX_BLOCK_BYTES = 1 << 30
"""Largest chunk that is unpacked [bytes]: of several images, all of them at once."""

BITSHUFFLE_LZ4 = 2
"""Compression behind the shuffling as filter 32008 numbers it; 0 is none, 3 Zstandard."""


class LayoutError(Exception):
    """A dataset that cannot be images; becomes a `RecordingFormatError` that names its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One image.

    Attributes
    ----------
    payload : bytes-like
        Its bytes as `codec` packs them.
    is_original : bool
        Whether these are known to be the bytes that came, and not packed anew.
    """

    payload: Payload
    codec: str
    is_original: bool


class ImageDataset:
    """A dataset of images.

    Parameters
    ----------
    dataset : h5py.Dataset
        (n_images, n_slow, n_fast), (n_images, n_channels, n_slow, n_fast), or one image.
    channel : int, optional
        Which channel of four axes.
    codec : str, optional
        How payloads were packed where the file says it: chunks for ``lz4-block`` look like ``lz4``, those for
        ``byte-offset`` like ``bslz4``.

    Attributes
    ----------
    n_images : int
        Its length, whether or not all of it is stored.
    image_shape : (n_slow, n_fast)
        Shape of an image.
    codec : str or None
        What the stored chunks are passed on as; None: they are packed anew.
    packing : str
        How it is stored, for the log.

    Raises
    ------
    LayoutError
        If these cannot be images.
    """

    def __init__(self, dataset: h5py.Dataset, channel: int | None = None, codec: str | None = None) -> None:
        self._dataset = dataset
        shape = tuple(int(length) for length in dataset.shape or ())
        if len(shape) not in (2, 3, 4) or (len(shape) == 4 and channel is None):
            raise LayoutError(f"{dataset.name} has shape {shape}; images are (n_images, n_slow, n_fast)")
        self._lead: tuple[int, ...] = () if channel is None or len(shape) < 4 else (channel,)
        if self._lead and not 0 <= self._lead[0] < shape[1]:
            raise LayoutError(f"{dataset.name} has {shape[1]} channel(s)")
        self.n_images = shape[0] if len(shape) > 2 else 1
        self.image_shape = (shape[-2], shape[-1])
        self._is_single = len(shape) == 2
        self.dtype: np.dtype[Any] = dataset.dtype
        if (reason := why_not(self.image_shape, self.dtype)) is not None:
            raise LayoutError(f"{dataset.name}: {reason}")
        if self.dtype.kind not in "iuf":
            raise LayoutError(f"{dataset.name} is of {self.dtype}; pixels are integers or floats")
        self.image_bytes = math.prod(self.image_shape) * self.dtype.itemsize
        self._filters = _filters(dataset)
        self._has_image_chunks = dataset.chunks == (*(1 for _ in shape[:-2]), *self.image_shape)
        self.codec = self._stored_codec(codec) if self._has_image_chunks else None
        self.packing = ", ".join(name for _, _, name in self._filters) or "no compression"
        if not self._has_image_chunks:
            self.packing += f", chunks of {dataset.chunks}" if dataset.chunks else ", without chunks"
        self._is_lossless = not dataset.attrs.get(BYTES_LOST)
        self._block: tuple[int, npt.NDArray[Any]] | None = None

    def _stored_codec(self, said: str | None) -> str | None:
        match self._filters:
            case []:
                return "none"
            case [(number, options, _)] if number == BITSHUFFLE_FILTER_ID and options[4:5] == (BITSHUFFLE_LZ4,):
                return BYTE_OFFSET if said == BYTE_OFFSET else "bslz4"
            case [(number, _, _)] if number == LZ4_FILTER_ID:
                return "lz4-block" if said == "lz4-block" else "lz4"
        return None

    @property
    def stored_bytes(self) -> int | None:
        """Size of all payloads as they are passed on [bytes]; None where they are packed anew."""
        if self.codec in (None, BYTE_OFFSET) or self._lead:
            return None
        size = int(self._dataset.id.get_storage_size())
        return size - self._dataset.id.get_num_chunks() * ONE_BLOCK.size if self.codec == "lz4-block" else size

    def present(self) -> list[tuple[int, int]]:
        """Return which images are stored, as ranges of positions with both ends included; the others were never there.

        What is not stored reads as a fill value, which is no image.
        """
        dataset = self._dataset
        everything = [(0, self.n_images - 1)] if self.n_images else []
        if dataset.is_virtual or dataset.external:
            return everything
        if dataset.chunks is None:
            layout = dataset.id.get_create_plist().get_layout()
            return everything if layout == h5py.h5d.COMPACT or dataset.id.get_offset() is not None else []
        n_chunks = math.prod(-(-length // step) for length, step in zip(dataset.shape, dataset.chunks, strict=True))
        if dataset.id.get_num_chunks() == n_chunks:
            return everything
        return merge_ranges(self._stored_chunks())

    def _stored_chunks(self) -> list[tuple[int, int]]:
        """Return the positions that each stored chunk covers."""
        found: list[tuple[int, int]] = []
        step = self._dataset.chunks[0] if not self._is_single else 1
        channel_step = self._dataset.chunks[1] if self._lead else 1

        def take(info: Any) -> None:
            offset = info.chunk_offset
            if self._lead and not offset[1] <= self._lead[0] < offset[1] + channel_step:
                return
            first = 0 if self._is_single else offset[0]
            if first < self.n_images:
                found.append((first, min(first + step, self.n_images) - 1))

        self._dataset.id.chunk_iter(take)
        return found

    @cached_property
    def _oversized(self) -> set[tuple[int, ...]]:
        """Chunks that claim more bytes than their file has; looked at once, as asking for one costs a pass over all."""
        found: set[tuple[int, ...]] = set()
        file_bytes = self._dataset.file.id.get_filesize()

        def look(info: Any) -> None:
            if info.size > file_bytes:
                found.add(tuple(info.chunk_offset))

        self._dataset.id.chunk_iter(look)
        return found

    def read(self, position: int) -> StoredImage:
        """Return the image at a position.

        Raises
        ------
        CodecError
            If what is stored cannot be such an image.
        OSError, RuntimeError, ValueError, KeyError
            From h5py, where the file is damaged.
        """
        if self.codec is None:
            array = self._unpacked(position)
            return StoredImage(payload=bytes(codecs.encode(array, REPACKED)), codec=REPACKED, is_original=False)
        where = (position, *self._lead, 0, 0) if not self._is_single else (0, 0)
        if where in self._oversized:
            raise CorruptPayloadError(self.codec, f"the chunk of image {position} claims to be larger than its file")
        skipped, data = self._dataset.id.read_direct_chunk(where)
        if skipped & 1:  # HDF5 leaves a filter out that would not have made it smaller
            codecs.to_hdf5_chunk(data, "none", self.image_shape, self.dtype)
            return StoredImage(payload=data, codec="none", is_original=True)
        if self.codec != "lz4-block":
            stored_as = "bslz4" if self.codec == BYTE_OFFSET else self.codec
            codecs.to_hdf5_chunk(data, stored_as, self.image_shape, self.dtype)  # its sizes are checked there
            payload = codecs.from_hdf5_chunk(data, self.codec, self.dtype)
            return StoredImage(payload=payload, codec=self.codec, is_original=self._is_lossless)
        # Stored unpacked where it was as long as its pixels; packed anew it need not be the same bytes.
        is_original = len(data) - ONE_BLOCK.size != self.image_bytes
        return StoredImage(payload=codecs.from_hdf5_chunk(data, self.codec), codec=self.codec, is_original=is_original)

    def _unpacked(self, position: int) -> npt.NDArray[Any]:
        """Unpack one image; of chunks with several, all of them are kept for the next calls."""
        dataset = self._dataset
        chunks = dataset.chunks
        if chunks is not None and math.prod(chunks) * self.dtype.itemsize > MAX_BLOCK_BYTES:
            raise CorruptPayloadError(self.packing, f"a chunk is over the limit of {MAX_BLOCK_BYTES} bytes")
        if self._is_single:
            return np.ascontiguousarray(dataset[()])
        n_together = chunks[0] if chunks is not None else 1
        if n_together * self.image_bytes > MAX_BLOCK_BYTES:
            n_together = 1
        first = position - position % n_together
        if self._block is None or self._block[0] != first:
            self._block = None
            selection = (slice(first, min(first + n_together, self.n_images)), *self._lead)
            self._block = first, dataset[selection]
        return np.ascontiguousarray(self._block[1][position - first])


def _filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...], str]]:
    """Return number, options and name of each filter of a dataset."""
    properties = dataset.id.get_create_plist()
    found = (properties.get_filter(number) for number in range(properties.get_nfilters()))
    return [(int(code), tuple(options), name.decode("utf-8", "replace")) for code, _, options, name in found]


def merge_ranges(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put ranges in order and join those that touch.

    Examples
    --------
    >>> merge_ranges([(4, 4), (0, 1), (2, 2), (1, 1)])
    [(0, 2), (4, 4)]
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def without(ranges: Iterable[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what of ranges is in none of the others; both in order, both ends included.

    Examples
    --------
    >>> list(without([(1, 5), (7, 9)], [(2, 3), (9, 9)]))
    [(1, 1), (4, 5), (7, 8)]
    """
    for first, last in ranges:
        begin = first
        for other_first, other_last in others[bisect.bisect_left(others, first, key=lambda one: one[1]) :]:
            if other_first > last:
                break
            if other_first > begin:
                yield begin, other_first - 1
            begin = other_last + 1
        if begin <= last:
            yield begin, last
