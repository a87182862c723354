"""The images of a file: one dataset of chunks, each the very bytes that were received.

A chunk is one image and its position is its message id - 1, so writing a message again writes the same chunk again.
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
class ImageChunk:
    """One image as HDF5 stores it.

    Attributes
    ----------
    message_id : int
        Which message it came in.
    shape : (n_slow, n_fast)
        Shape of the image.
    dtype : dtype
        Its pixels.
    codec : str
        How the payload was packed.
    chunk : Hdf5Chunk
        Its bytes, and the filter that reads them.
    """

    message_id: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    codec: str
    chunk: codecs.Hdf5Chunk


def image_chunk(frame: Frame) -> ImageChunk:
    """Return a frame as a chunk.

    Raises
    ------
    NotAnImageError
        If the message carries no shape and dtype.
    ShapeError
        If it is no image.
    CodecError
        If HDF5 has no filter for its codec, or its bytes cannot be such an image: a reader would fail on them.
    """
    header = frame.header
    if header.shape is None or header.dtype is None:
        raise NotAnImageError(frame.message_id)
    if len(header.shape) != 2:
        raise ShapeError(f"message {frame.message_id} has shape {header.shape}; an image is (n_slow, n_fast)")
    dtype = _pixel_dtype(frame.message_id, header.dtype)
    return ImageChunk(
        message_id=frame.message_id,
        shape=(header.shape[0], header.shape[1]),
        dtype=dtype,
        codec=header.codec,
        chunk=codecs.to_hdf5_chunk(frame.payload, header.codec, header.shape, dtype),
    )


class ImageStack:
    """The dataset ``data`` of an NXdata group.

    Parameters
    ----------
    dataset : h5py.Dataset
        (n_images, n_slow, n_fast), chunks of one image; its attribute ``codec`` says how payloads were packed.

    Attributes
    ----------
    image_shape : (n_slow, n_fast)
        Shape of every image.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._codec = str(dataset.attrs["codec"])
        # h5py asks the library for each of these each time, which costs more than writing a small chunk
        self._n_images, *image_shape = dataset.shape
        self._dtype = dataset.dtype
        self.image_shape = (image_shape[0], image_shape[1])

    @classmethod
    def create(cls, group: h5py.Group, image: ImageChunk, n_expected: int | None) -> ImageStack:
        """Make the dataset for images like `image`."""
        chunk = image.chunk
        filters = {"compression": chunk.filter_id, "compression_opts": chunk.filter_options}
        dataset = group.create_dataset(
            "data",
            shape=(n_expected or GROW_AT_LEAST, *image.shape),
            dtype=image.dtype,
            chunks=(1, *image.shape),
            maxshape=(None, *image.shape),
            fillvalue=fill_value(image.dtype),
            **(filters if chunk.filter_id is not None else {}),
        )
        dataset.attrs["codec"] = image.codec
        dataset.attrs["image_nr_low"] = 1
        return cls(dataset)

    @property
    def stored_bytes(self) -> int:
        """Size of all images as they are stored."""
        return int(self._dataset.id.get_storage_size())

    def write(self, index: int, image: ImageChunk) -> None:
        """Store one image as the chunk at `index`.

        Raises
        ------
        ShapeError
            If its shape, dtype or codec is not that of the images before.
        """
        if (image.shape, image.dtype, image.codec) != (self.image_shape, self._dtype, self._codec):
            raise ShapeError(
                f"message {image.message_id} is {image.shape} {image.dtype} {image.codec}; "
                f"the images in the file are {self.image_shape} {self._dtype} {self._codec}"
            )
        if index >= self._n_images:
            self._resize(max(int(index * GROW_FACTOR), index + GROW_AT_LEAST))
        if not image.chunk.comes_back:
            self._dataset.attrs[BYTES_LOST] = int(self._dataset.attrs.get(BYTES_LOST, 0)) + 1
        self._dataset.id.write_direct_chunk((index, 0, 0), image.chunk.data)

    def payload(self, index: int) -> Payload | None:
        """Read back the payload of the image at `index`; None where the chunk does not tell it.

        A ``lz4-block`` that is as long as its pixels is stored unpacked (`codecs.to_hdf5_chunk` says why), and packing
        it again need not give the same bytes; likewise byte offsets of a wasteful sender.
        """
        if self._dataset.attrs.get(BYTES_LOST):
            return None
        _, data = self._dataset.id.read_direct_chunk((index, 0, 0))
        image_bytes = math.prod(self.image_shape) * self._dtype.itemsize
        if self._codec == "lz4-block" and len(data) - LZ4_BLOCK_HEADER_BYTES == image_bytes:
            return None
        return codecs.from_hdf5_chunk(data, self._codec, self._dtype)

    def cut(self, n_images: int) -> None:
        """Let the dataset end with image `n_images`."""
        self._resize(n_images)
        self._dataset.attrs["image_nr_high"] = n_images

    def _resize(self, n_images: int) -> None:
        """Give the dataset room for so many images."""
        self._dataset.resize(n_images, axis=0)
        self._n_images = n_images


def _pixel_dtype(message_id: int, name: str) -> np.dtype[Any]:
    """Return the dtype of pixels called `name`."""
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ShapeError(f"message {message_id} is of {name!r}, which is no dtype") from error
    if dtype.kind not in "iuf":
        raise ShapeError(f"message {message_id} is of {dtype}; images are of integers or floats")
    return dtype


def fill_value(dtype: np.dtype[Any]) -> int | float:
    """Return what stands for «no data» in images of `dtype`."""
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return -1 if dtype.kind == "i" else float("nan")
