"""What a file keeps of the payloads: images or other large arrays chunk by chunk, small arrays in blocks, or none.

The first message of a stream decides. A stream whose messages have no payload becomes columns alone.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import h5py

from beamstream import Frame
from beamstream.errors import NotAnImageError, ShapeError
from beamstream.frame import Payload

from .images import ImageStack, element_dtype
from .readings import MESSAGE_SHAPE, SMALL_BYTES, Readings

NOTHING = "no_payload"
"""Attribute of the group of notes: the messages of this file have no payload."""


class Arrays(Protocol):
    """The arrays of a file."""

    is_batched: bool
    """Whether arrays are unpacked, many to a chunk."""

    shape: tuple[int, ...]
    """Shape of each."""

    @property
    def stored_bytes(self) -> int:
        """Size of all arrays as they are stored [bytes]."""
        ...

    def prepare(self, frame: Frame) -> Any:
        """Return what is to be written of a message, or raise what is wrong with it."""
        ...

    def write(self, row: int, prepared: Any) -> None:
        """Write it."""
        ...

    def flush(self) -> None:
        """Hand what waits to HDF5."""
        ...

    def payload(self, row: int) -> Payload | None:
        """Read a payload back; None where the file does not tell its bytes."""
        ...

    def cut(self, n_rows: int) -> None:
        """Let the dataset end with row `n_rows`."""
        ...

    def number(self, first_id: int) -> None:
        """Say which messages these are."""
        ...


class NoArrays:
    """Messages without payload."""

    is_batched = True
    shape: tuple[int, ...] = ()
    stored_bytes = 0

    def prepare(self, frame: Frame) -> None:
        """Refuse what has a payload."""
        if frame.header.shape is not None or frame.header.payload_bytes:
            raise ShapeError(f"message {frame.message_id} has a payload; those before it had none")

    def write(self, row: int, prepared: None) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def payload(self, row: int) -> Payload | None:
        """Return the payload that each message had: none."""
        return b""

    def cut(self, n_rows: int) -> None:
        """Do nothing."""

    def number(self, first_id: int) -> None:
        """Do nothing."""


def begin_arrays(entry: h5py.Group, frame: Frame, room: int | None) -> Arrays:
    """Make what the payloads of messages like `frame` need, with room for so many if it is known.

    Raises
    ------
    NotAnImageError
        If the payload is bytes that only its sender understands.
    ShapeError, CodecError
        If it can be no array.
    """
    header = frame.header
    if header.shape is None and header.payload_bytes == 0:
        entry["beamstream"].attrs[NOTHING] = True
        return NoArrays()
    if header.shape is None or header.dtype is None:
        raise NotAnImageError(frame.message_id)
    size = math.prod(header.shape) * element_dtype(frame.message_id, header.dtype).itemsize
    if len(header.shape) != 2 and size < SMALL_BYTES:
        return Readings.create(entry["data"], frame)
    return ImageStack.create(entry["data"], frame, room)


def arrays_like(entry: h5py.Group, other: h5py.Dataset) -> Arrays | None:
    """Make an empty dataset that is like another one: its type, chunks, filters and fill value."""
    space = h5py.h5s.create_simple((0, *other.shape[1:]), (h5py.h5s.UNLIMITED, *other.shape[1:]))
    h5py.h5d.create(entry["data"].id, b"data", other.id.get_type(), space, other.id.get_create_plist())
    for name, value in other.attrs.items():
        entry["data/data"].attrs[name] = value
    return open_arrays(entry)


def open_arrays(entry: h5py.Group) -> Arrays | None:
    """Return what a file that was begun before has; None where nothing was written yet."""
    if NOTHING in entry["beamstream"].attrs:
        return NoArrays()
    dataset = entry["data"].get("data")
    if dataset is None:
        return None
    return Readings(dataset) if MESSAGE_SHAPE in dataset.attrs else ImageStack(dataset)
