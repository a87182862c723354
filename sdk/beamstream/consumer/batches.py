"""Batches: several frames in one contiguous array, for code that works on many at a time (GPUs, machine learning).

Frames are unpacked straight into their place in the array. The memory of an array is used again only when nobody holds
it any more, neither the array, nor a view of it, nor a tensor that was made of it by DLPack: what a loop keeps stays as
it is. A loop that keeps nothing goes on two buffers in turn, and touches no new memory.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import (
    BatchTooLargeError,
    BeamstreamError,
    NotAnImageError,
    NothingNewError,
    ShapeError,
    StreamFinishedError,
    UsageError,
)
from beamstream.frame import Frame

if TYPE_CHECKING:
    from .consumer import Consumer

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

END_S = 0.2
"""How long a batch waits for more once the stream has ended [s]: members of a group that wait for one another's last
messages, each with half a batch in its hands, would wait for ever."""

MAX_REJECTED = 1000
"""Rejected messages that a batch names; all are counted."""

ALIGNMENT = 64
"""Where an array begins [bytes]: a cache line, and what vector units like best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some frames, unpacked; can be given to ``from_dlpack`` of NumPy, PyTorch, CuPy or JAX as it is.

    Attributes
    ----------
    array : (n, n_slow, n_fast) array of the frames' dtype
        The pixels, contiguous and writable, in the machine's byte order. It belongs to whoever has it.
    frames : tuple of Frame
        The frames themselves, in the same order: metadata, times, the bytes as they were sent.
    rejected : mapping of int to str
        Messages that came meanwhile and are not in it, and why: damaged, or of another shape; the first thousand.
    """

    array: Array
    frames: tuple[Frame, ...]
    rejected: Mapping[int, str] = field(default_factory=dict)

    @property
    def message_ids(self) -> tuple[int, ...]:
        """The message ids, in the order of the array's first axis."""
        return tuple(frame.message_id for frame in self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __dlpack__(self, **options: Any) -> Any:
        """Give the array to another library without copying it."""
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        """Say where the array lies: in main memory."""
        return self.array.__dlpack_device__()


class Buffers:
    """Memory for arrays of one shape and dtype that is used again when nobody holds it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape = shape
        self._dtype = dtype
        self._lent: list[tuple[weakref.ref[Array], Array]] = []

    def take(self) -> Array:
        """Return an array whose elements are anything."""
        memory = next((memory for holder, memory in self._lent if holder() is None), None)
        self._lent = [(holder, kept) for holder, kept in self._lent if holder() is not None]
        if memory is None:
            memory = np.empty(math.prod(self._shape) * self._dtype.itemsize + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        n_bytes = memory.nbytes - ALIGNMENT
        # Views of an array hold on to the array at the bottom: here this one, made anew for each loan, not the memory.
        array: Array = np.frombuffer(memory.data[start : start + n_bytes], self._dtype).reshape(self._shape)
        holder = array if array.base is None or not isinstance(array.base, np.ndarray) else array.base
        self._lent.append((weakref.ref(holder), memory))
        return array


class Batches:
    """Puts the frames of a consumer into batches; see `Consumer.batches`."""

    def __init__(self, consumer: Consumer, n: int, *, timeout_s: float | None, limit_bytes: int) -> None:
        if n < 1:
            raise UsageError(f"a batch of {n} frames cannot be; it has at least one")
        if timeout_s is not None and not timeout_s >= 0:
            raise UsageError(f"timeout_s {timeout_s} is no time to wait for a full batch")
        self._consumer = consumer
        self._n = n
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        self._layout: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._buffers: Buffers | None = None

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self._next()) is not None:
            yield batch

    def _next(self) -> Batch | None:
        """Return the next batch; None where nothing comes any more."""
        frames: list[Frame] = []
        rejected: dict[int, str] = {}
        array: Array | None = None
        ends_at: float | None = None
        while len(frames) < self._n:
            frame = self._next_frame(ends_at) if frames else self._first_frame()
            if frame is None:
                break
            try:
                array = self._room_for(frame) if array is None else array
                self._unpack(frame, array[len(frames)])
            except BatchTooLargeError:
                self._leave(frame)
                raise
            except BeamstreamError as error:
                if len(rejected) < MAX_REJECTED:
                    rejected[frame.message_id] = str(error)
                self._reject(frame, error)
            else:
                frames.append(frame)
                if ends_at is None and self._timeout_s is not None:
                    ends_at = time.monotonic() + self._timeout_s
        if array is None or not frames:
            return None
        return Batch(array=_native(array[: len(frames)]), frames=tuple(frames), rejected=rejected)

    def _first_frame(self) -> Frame | None:
        """Return a frame to begin with; None at the end."""
        try:
            return self._consumer.next(self._consumer.timeout_s)
        except StreamFinishedError:
            return None

    def _next_frame(self, ends_at: float | None) -> Frame | None:
        """Return a further frame; None at the end, or where the batch has waited long enough."""
        while True:
            left_s = END_S if ends_at is None else min(END_S, _left_s(ends_at))
            try:
                return self._consumer.next(left_s)
            except StreamFinishedError:
                return None
            except NothingNewError:
                if (ends_at is not None and not _left_s(ends_at)) or self._consumer.state.finished:
                    return None

    def _room_for(self, frame: Frame) -> Array:
        """Return an array for a batch; the first good frame says what all of them are like.

        Raises
        ------
        BatchTooLargeError
            If it would be over the limit.
        BeamstreamError
            If this is no frame that can be unpacked.
        """
        if self._buffers is None:
            layout = layout_of(frame)
            if layout is None:
                raise NotAnImageError(frame.message_id)
            shape, dtype = layout
            n_bytes = math.prod(shape) * dtype.itemsize
            if self._n * n_bytes > self._limit_bytes:
                raise BatchTooLargeError(str(frame.address), self._n, n_bytes, self._limit_bytes)
            frame.array()  # a damaged one is not to say what the others are like
            self._layout, self._buffers = layout, Buffers((self._n, *shape), dtype)
        return self._buffers.take()

    def _unpack(self, frame: Frame, place: Array) -> None:
        if layout_of(frame) != self._layout:
            shape, dtype = self._layout or ((), None)
            raise ShapeError(
                f"message {frame.message_id} is {frame.shape} of {frame.header.dtype}, the batch is of {shape} {dtype}"
            )
        frame.array(out=place)

    def _reject(self, frame: Frame, error: BeamstreamError) -> None:
        counts = self._consumer.counts
        log.log(logging.DEBUG if counts.n_rejected else logging.WARNING, "%s: not in a batch: %s", frame.address, error)
        counts.n_rejected += 1
        if self._consumer.group is not None:
            self._consumer.negative_acknowledge(frame, why=str(error))

    def _leave(self, frame: Frame) -> None:
        if self._consumer.group is not None:
            self._consumer.hand_back(frame)


def _left_s(ends_at: float) -> float:
    return max(0.0, ends_at - time.monotonic())


def layout_of(frame: Frame) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and dtype of the array that a frame unpacks to; None where its header does not say."""
    header = frame.header.parts[0] if frame.header.parts else frame.header
    if header.shape is None or header.dtype is None:
        return None
    shape = tuple(header.shape)
    return ((frame.n_parts, *shape) if frame.header.parts else shape), np.dtype(header.dtype)


def _native(array: Array) -> Array:
    """Return an array in the machine's byte order, in the same memory: other libraries know no other."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
