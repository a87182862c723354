"""Powders: sum and maximum of the frames of a run that the monitor has seen, and of its hits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.kernels.powder_sums import add_to_powder, empty_powder

from .making import native_pixels


class Powder:
    """Sum and maximum of frames of one shape and dtype, as they lie in memory; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pixels: npt.NDArray[Any] | None = None
        self._like: tuple[tuple[int, ...], str] | None = None
        self.n_frames = 0
        self.newest_id = 0
        self.newest_ns = 0

    def add(self, message_id: int, taken_ns: int, array: npt.NDArray[Any]) -> None:
        """Add a frame; one of another shape or kind begins anew."""
        pixels = native_pixels(array)
        like = (array.shape, pixels.dtype.kind)
        with self._lock:
            if self._pixels is None or self._like != like:
                self._pixels, self._like, self.n_frames = empty_powder(array.size, pixels.dtype), like, 0
            add_to_powder(self._pixels, pixels.reshape(-1))
            self.n_frames += 1
            self.newest_id, self.newest_ns = message_id, taken_ns

    def image(self, which: int) -> npt.NDArray[Any] | None:
        """Return a copy of the sum (0) or the maximum (1), (n_slow, n_fast); None while there is none."""
        with self._lock:
            if self._pixels is None or self._like is None:
                return None
            return np.array(self._pixels[which]).reshape(self._like[0])

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self._pixels, self._like, self.n_frames = None, None, 0
