"""The images of a file: one dataset of chunks, each the very bytes that were received.

A chunk is one image; spectra and stacks of images that are too large to be written many at a time are kept alike.
Nothing is compressed or decompressed here: what detectors send as bslz4 or lz4 is what HDF5's filters 32008 and
32004 store, and every reader with these filters unpacks it. The exception are the byte offsets of CBF files, which no
filter reads: they are packed anew as bslz4, the attribute ``codec`` tells what they were, and their bytes can be made
again from the pixels. Where that is not so, because their sender packed wastefully, ``bytes_lost`` counts it.

Images that never came have no chunk. They read as the fill value, which says «no data» in each dtype: the largest
unsigned value (what DECTRIS writes into masked pixels), -1, or NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - makes HDF5 know the filters 32004 and 32008
import numpy as np

from beamstream import Frame, codecs
from beamstream.errors import NotAnImageError, ShapeError
from beamstream.frame import Payload

LZ4_BLOCK_HEADER_BYTES = 16
"""What stands before a ``lz4-block`` payload in its chunk [bytes]: sizes of array, block and packed block."""

BYTES_LOST = "bytes_lost"
"""Attribute: how many payloads cannot be made again from the file; their pixels are there."""

GROW_AT_LEAST = 1024
"""Smallest step by which the dataset grows [images]; without chunks an image costs nothing."""

GROW_FACTOR = 1.5
"""Steps grow with the dataset, so that the number of resizes stays logarithmic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKind:
    """What all images of a dataset are.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array, (n_slow, n_fast) of an image.
    dtype : dtype
        Its pixels.
    codec : str
        How payloads are packed.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype} {self.codec}"


def image_kind(frame: Frame) -> ImageKind:
    """Return what image a message is.

    Raises
    ------
    NotAnImageError
        If the message carries no shape and dtype.
    ShapeError
        If its elements are no numbers.
    """
    header = frame.header
    if header.shape is None or header.dtype is None:
        raise NotAnImageError(frame.message_id)
    dtype = element_dtype(frame.message_id, header.dtype)
    return ImageKind(shape=tuple(header.shape), dtype=dtype, codec=header.codec)


Chunk = tuple[Payload, bool]
"""The bytes of a chunk, and whether the payload can be made again from them."""


class ImageStack:
    """The dataset ``data`` of an NXdata group.

    Parameters
    ----------
    dataset : h5py.Dataset
        (n_images, n_slow, n_fast), chunks of one image; its attribute ``codec`` says how payloads were packed.

    Attributes
    ----------
    shape : tuple of int
        Shape of every image.
    """

    is_batched = False

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        # h5py asks the library for each of these each time, which costs more than writing a small chunk
        self._n_images = int(dataset.shape[0])
        self.shape: tuple[int, ...] = tuple(int(length) for length in dataset.shape[1:])
        self._kind = ImageKind(shape=self.shape, dtype=dataset.dtype, codec=str(dataset.attrs["codec"]))
        self._chunks = codecs.ChunkMaker(self._kind.codec, self.shape, self._kind.dtype)
        self._said = self.shape, self._kind.dtype.str, self._kind.codec
        self._id = dataset.id
        self._corner = (0,) * len(self.shape)

    @classmethod
    def create(cls, group: h5py.Group, frame: Frame, n_images: int | None) -> ImageStack:
        """Make the dataset for images like that of `frame`, with room for `n_images` if it is known how many come."""
        kind = image_kind(frame)
        chunks = codecs.ChunkMaker(kind.codec, kind.shape, kind.dtype)
        chunks.make(frame.payload)  # a first image that is none must not decide what the others are
        filters = {"compression": chunks.filter_id, "compression_opts": chunks.filter_options}
        dataset = group.create_dataset(
            "data",
            shape=(n_images or GROW_AT_LEAST, *kind.shape),
            dtype=kind.dtype,
            chunks=(1, *kind.shape),
            maxshape=(None, *kind.shape),
            fillvalue=fill_value(kind.dtype),
            **(filters if chunks.filter_id is not None else {}),
        )
        dataset.attrs["codec"] = kind.codec
        return cls(dataset)

    def prepare(self, frame: Frame) -> Chunk:
        """Return what is to be written of a message.

        Raises
        ------
        NotAnImageError, ShapeError
            If it is no image like those before.
        CodecError
            If HDF5 has no filter for its codec, or its bytes cannot be such an image: a reader would fail on them.
        """
        header = frame.header
        said = header.shape, header.dtype, header.codec
        if said != self._said:
            self._compare(frame)
            self._said = self.shape, header.dtype or "", header.codec  # the same, in other words
        return self._chunks.make(frame.payload)

    def _compare(self, frame: Frame) -> None:
        kind = image_kind(frame)
        codecs.ChunkMaker(kind.codec, kind.shape, kind.dtype).make(frame.payload)  # says what is wrong with it
        if kind != self._kind:
            raise ShapeError(f"message {frame.message_id} is {kind}; the images in the file are {self._kind}")

    @property
    def stored_bytes(self) -> int:
        """Size of all images as they are stored."""
        return int(self._dataset.id.get_storage_size())

    def write(self, row: int, chunk: Chunk) -> None:
        """Store one image as the chunk at `row`."""
        if row >= self._n_images:
            self._resize(max(int(row * GROW_FACTOR), row + GROW_AT_LEAST))
        data, comes_back = chunk
        if not comes_back:
            self._dataset.attrs[BYTES_LOST] = int(self._dataset.attrs.get(BYTES_LOST, 0)) + 1
        self._id.write_direct_chunk((row, *self._corner), data)

    def payload(self, row: int) -> Payload | None:
        """Read back the payload of the image at `row`; None where the chunk does not tell it.

        A ``lz4-block`` that is as long as its pixels is stored unpacked (`codecs.to_hdf5_chunk` says why), and packing
        it again need not give the same bytes; likewise byte offsets of a wasteful sender.
        """
        if self._dataset.attrs.get(BYTES_LOST):
            return None
        _, data = self._id.read_direct_chunk((row, *self._corner))
        codec, dtype = self._kind.codec, self._kind.dtype
        image_bytes = math.prod(self.shape) * dtype.itemsize
        if codec == "lz4-block" and len(data) - LZ4_BLOCK_HEADER_BYTES == image_bytes:
            return None
        return codecs.from_hdf5_chunk(data, codec, dtype)

    def flush(self) -> None:
        """Do nothing: chunks are written at once."""

    def cut(self, n_images: int) -> None:
        """Let the dataset end with its image `n_images`."""
        self._resize(n_images)

    def number(self, first_id: int) -> None:
        """Say which images these are: their numbers, counted from 1, as the file writers of detectors say it."""
        self._dataset.attrs["image_nr_low"] = np.uint64(first_id)
        self._dataset.attrs["image_nr_high"] = np.uint64(first_id + self._n_images - 1)

    def _resize(self, n_images: int) -> None:
        """Give the dataset room for so many images."""
        self._dataset.resize(n_images, axis=0)
        self._n_images = n_images


def element_dtype(message_id: int, name: str) -> np.dtype[Any]:
    """Return the dtype of elements called `name`; raises `ShapeError` where they are no numbers."""
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ShapeError(f"message {message_id} is of {name!r}, which is no dtype") from error
    if dtype.kind not in "iuf":
        raise ShapeError(f"message {message_id} is of {dtype}; arrays are of integers or floats")
    return dtype


def fill_value(dtype: np.dtype[Any]) -> int | float:
    """Return what stands for «no data» in images of `dtype`."""
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return -1 if dtype.kind == "i" else float("nan")
