"""Small arrays, many to a chunk: readings of counters, short spectra.

At 10 kHz a chunk for each message would cost more than it holds. So rows are collected until the next commit and
written as one block, unpacked. Their payload comes back as it was where packing the same numbers in the same way
gives the same bytes, which it does for what beamstream's own producers packed; the checksum tells.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from beamstream import Frame, codecs
from beamstream.errors import NotAnImageError, ShapeError

from .images import element_dtype, fill_value
from .rows import runs

SMALL_BYTES = 64 << 10
"""Arrays below this are batched [bytes]: at this size a chunk of its own costs a hundredth of its writing."""

CHUNK_BYTES = 256 << 10
"""Size of a chunk of many rows [bytes]; the chunk cache holds four of them."""

MAX_CHUNK_ROWS = 8192

MAX_WAITING_BYTES = 16 << 20
"""How much is collected before it is written, commit or not [bytes]."""

MESSAGE_SHAPE = "message_shape"
"""Attribute: the shape that each message said; single readings are a dataset of one axis."""


class Readings:
    """The dataset ``data`` of an NXdata group, with one row per message.

    Parameters
    ----------
    dataset : h5py.Dataset
        (n_rows, …); its attribute ``codec`` says how payloads were packed.
    """

    is_batched = True

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._codec = str(dataset.attrs["codec"])
        self._dtype: np.dtype[Any] = dataset.dtype
        self.shape: tuple[int, ...] = tuple(int(length) for length in np.atleast_1d(dataset.attrs[MESSAGE_SHAPE]))
        self._row_shape = dataset.shape[1:]
        self._n_rows = int(dataset.shape[0])
        self._rows: dict[int, npt.NDArray[Any]] = {}
        self._max_waiting = max(1, MAX_WAITING_BYTES // max(1, math.prod(self.shape) * self._dtype.itemsize))

    @classmethod
    def create(cls, group: h5py.Group, frame: Frame) -> Readings:
        """Make the dataset for arrays like that of `frame`."""
        shape, dtype = _kind(frame)
        row_shape = () if math.prod(shape) == 1 else shape
        row_bytes = max(1, math.prod(shape) * dtype.itemsize)
        dataset = group.create_dataset(
            "data",
            shape=(0, *row_shape),
            dtype=dtype,
            chunks=(max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES // row_bytes)), *row_shape),
            maxshape=(None, *row_shape),
            fillvalue=fill_value(dtype),
        )
        dataset.attrs["codec"] = frame.header.codec
        dataset.attrs[MESSAGE_SHAPE] = np.array(shape, dtype="i8")
        return cls(dataset)

    @property
    def stored_bytes(self) -> int:
        """Size of the dataset as it is stored."""
        return int(self._dataset.id.get_storage_size())

    def prepare(self, frame: Frame) -> npt.NDArray[Any]:
        """Return what is to be written of a message.

        Raises
        ------
        NotAnImageError, ShapeError, CodecError
            If it is no array like those before.
        """
        shape, dtype = _kind(frame)
        if (shape, dtype, frame.header.codec) != (self.shape, self._dtype, self._codec):
            raise ShapeError(
                f"message {frame.message_id} is {shape} {dtype} {frame.header.codec}; "
                f"the arrays in the file are {self.shape} {self._dtype} {self._codec}"
            )
        return frame.array().reshape(self._row_shape).copy()  # the payload's memory is soon another's

    def write(self, row: int, values: npt.NDArray[Any]) -> None:
        """Take one array as `row`."""
        self._rows[row] = values
        if len(self._rows) >= self._max_waiting:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if not self._rows:
            return
        if (n_rows := max(self._rows) + 1) > self._n_rows:
            self.cut(n_rows)
        order = sorted(self._rows)
        block = np.stack([self._rows[row] for row in order])
        done = 0
        for first, members in runs(dict(zip(order, order, strict=True)), np.dtype(np.int64)):
            self._dataset[first : first + len(members)] = block[done : done + len(members)]
            done += len(members)
        self._rows.clear()

    def payload(self, row: int) -> bytes | None:
        """Make the payload of a row again; None where that cannot be told to be its own bytes."""
        values = np.ascontiguousarray(self._dataset[row]).reshape(self.shape)
        return values.tobytes() if self._codec == "none" else None

    def cut(self, n_rows: int) -> None:
        """Let the dataset end with row `n_rows`."""
        self._dataset.resize(n_rows, axis=0)
        self._n_rows = n_rows

    def number(self, first_id: int) -> None:
        """Say which messages these are: their ids."""
        self._dataset.attrs["image_nr_low"] = np.uint64(first_id)
        self._dataset.attrs["image_nr_high"] = np.uint64(first_id + self._n_rows - 1)


def _kind(frame: Frame) -> tuple[tuple[int, ...], np.dtype[Any]]:
    header = frame.header
    if header.shape is None or header.dtype is None:
        raise NotAnImageError(frame.message_id)
    return tuple(header.shape), element_dtype(frame.message_id, header.dtype)


def payload_again(values: npt.NDArray[Any], codec: str, checksum: int) -> bytes | None:
    """Pack an array as it had been packed; None where that gives other bytes than those that came."""
    payload = bytes(codecs.encode(values, codec))
    return payload if xxhash.xxh3_64_intdigest(payload) == checksum else None
