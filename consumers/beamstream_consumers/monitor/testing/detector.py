"""A detector made of nothing: it fills a board, is its archive, and changes nothing as its control."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import PayloadGoneError
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.pictures.picture import About, Kind, Picture
from beamstream_consumers.monitor.requests import ExactPixel

from .documents import DISTANCE_M, PIXEL_M, WAVELENGTH_A, histograms_of, history_of, numbers_of, run_of
from .images import N_DIFFERENT, about_of, gaps, is_hit, make_image


class SyntheticDetector:
    """Fills a board, and is its archive.

    Parameters
    ----------
    board : Board
        Is filled.
    source : str
        Address of the data source.
    shape : (int, int)
        Of an image (n_slow, n_fast).
    dtype : dtype
        uint16 or uint32.
    """

    def __init__(
        self,
        board: Board,
        source: str = "11012345/eiger",
        shape: tuple[int, int] = (512, 514),
        dtype: str = "uint16",
    ) -> None:
        self.board = board
        self.source = source
        self.shape = shape
        self.stream = "run_001"
        self.n_sent = 0
        self.n_viewers: Callable[[], int] = lambda: 0
        self._numbers = 0
        self._lock = threading.Lock()
        self._flag = int(np.iinfo(dtype).max)
        self.mask = gaps(shape)
        self._dtype = np.dtype(dtype)
        self._made: dict[int, tuple[npt.NDArray[Any], About]] = {}
        self._sum = np.zeros(shape, np.uint32)
        self._taken: dict[int, int] = {}

    # --- what comes ----------------------------------------------------------------------------------------------

    def send(self, n: int = 1, *, kinds: Sequence[Kind] = ("frame", "hit", "sum", "max")) -> None:
        """Put the next `n` messages on the board."""
        for _ in range(n):
            self.n_sent += 1
            self._taken[self.n_sent] = time.time_ns()
            frame = self.picture(self.source, "frame", self.stream, self.n_sent)
            self._sum += np.where(frame.image == self._flag, 0, frame.image)
            for kind in kinds:
                if kind == "hit" and not frame.about.hit:
                    continue
                picture = frame if kind == "frame" else self._of_kind(kind, frame)
                self.board.put_picture(picture)

    def describe(self) -> None:
        """Put what is known of the run, and the numbers, on the board."""
        now_s = time.time()
        n_masked = int(self.mask.sum())
        self.board.put(run_of(self.source, self.stream, self.shape, str(self._dtype), n_masked, self.n_sent, now_s))
        self.board.put(history_of(self.source, now_s))
        self.count()

    def count(self) -> None:
        """Put the numbers on the board."""
        newest_ns = self._taken.get(self.n_sent)
        n_viewers = self.n_viewers()
        self.board.put(numbers_of(self.source, self.stream, self.n_sent, newest_ns, n_viewers, time.time()))
        self.board.put(histograms_of(self.source, self.stream))

    def begin(self, stream: str) -> None:
        """Begin another run; the one before has ended with its receipt."""
        receipt = {"address": f"{self.source}/{self.stream}", "state": "complete", "n_received": self.n_sent}
        self.board.put({"t": "receipt", "source": self.source, "stream": self.stream, "receipt": receipt})
        self.board.note("info", f"{self.source}/{self.stream} is complete: {self.n_sent} of {self.n_sent} messages")
        self.board.drop_pictures(self.source)
        self.stream, self.n_sent = stream, 0
        self._taken.clear()
        self._sum[:] = 0
        self.describe()

    # --- Archive -------------------------------------------------------------------------------------------------

    def picture(self, source: str, kind: Kind, stream: str, message_id: int) -> Picture:
        """Return the picture of one message."""
        if (source, stream) != (self.source, self.stream) or not 1 <= message_id <= self.n_sent:
            raise PayloadGoneError(f"{source}/{stream}", message_id)
        image, about = self._make(message_id % N_DIFFERENT)
        return Picture(
            number=self._next_number(),
            source=source,
            kind=kind,
            stream=stream,
            message_id=message_id,
            n_frames=1,
            taken_ns=self._taken.get(message_id, time.time_ns()),
            image=image,
            mask=self.mask,
            flag=self._flag,
            about=about,
        )

    def neighbour(self, source: str, kind: Kind, stream: str, message_id: int, by: int) -> int:
        """Return the id `by` messages after one."""
        if (source, stream) != (self.source, self.stream) or not self.n_sent:
            raise PayloadGoneError(f"{source}/{stream}", message_id)
        wanted = min(max(1, message_id + by), self.n_sent)
        if kind == "hit":
            ids = [one for one in range(1, self.n_sent + 1) if is_hit(one)]
            if not ids:
                raise PayloadGoneError(f"{source}/{stream}", message_id)
            here = min(range(len(ids)), key=lambda n: abs(ids[n] - message_id))
            wanted = ids[min(max(0, here + by), len(ids) - 1)]
        return wanted

    def pixel(self, picture: Picture, x: int, y: int) -> ExactPixel:
        """Return what one pixel says."""
        n_slow, n_fast = picture.shape
        if not (0 <= x < n_fast and 0 <= y < n_slow):
            return ExactPixel(value=None, why="outside", raw=None, resolution_a=None)
        value = int(picture.image[y, x])
        why = "masked" if self.mask[y, x] else "no value" if value == picture.flag else None
        radius_m = math.hypot(x + 0.5 - n_fast / 2, y + 0.5 - n_slow / 2) * PIXEL_M
        sine = math.sin(0.5 * math.atan(radius_m / DISTANCE_M))
        return ExactPixel(
            value=None if why else value,
            why=why,
            raw={"fs": x, "ss": y, "panel": "p0"},
            resolution_a=WAVELENGTH_A / (2 * sine) if sine else None,
        )

    # --- how -----------------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _of_kind(self, kind: Kind, frame: Picture) -> Picture:
        sums = kind in ("sum", "hits-sum")
        image = self._sum.copy() if sums else frame.image
        flag = int(np.iinfo(image.dtype).max)
        if sums:
            image[frame.image == self._flag] = flag
        return Picture(
            number=self._next_number(),
            source=frame.source,
            kind=kind,
            stream=frame.stream,
            message_id=frame.message_id,
            n_frames=1 if kind == "hit" else self.n_sent,
            taken_ns=frame.taken_ns,
            image=image,
            mask=self.mask,
            flag=flag,
            about=frame.about,
        )

    def _make(self, n: int) -> tuple[npt.NDArray[Any], About]:
        """Return one of the different images, and what is known of it; made when it first comes."""
        with self._lock:
            if n not in self._made:
                image = make_image(self.shape, self._dtype, self.mask, n, self._flag)
                self._made[n] = image, about_of(image, self.mask, n, self._flag)
            return self._made[n]


class SyntheticControl:
    """Changes nothing, and says what it was asked."""

    def __init__(self, detector: SyntheticDetector) -> None:
        self._detector = detector
        self.calls: list[tuple[Any, ...]] = []
        self._values: dict[str, Any] = {"adc_threshold": 10.0}

    def parameters(self, source: str) -> Mapping[str, Any]:
        """Return one parameter."""
        value = self._values["adc_threshold"]
        parameter = {"name": "adc_threshold", "kind": "float", "value": value, "default": 10.0, "minimum": 0.0,
                     "maximum": None, "unit": "ADU", "help": "Only pixels above this belong to peaks."}  # fmt: skip
        return {"group": "peaks", "version": len(self.calls), "parameters": [parameter]}

    def preview(
        self, source: str, kind: Kind, stream: str, message_id: int, values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return fewer peaks for higher thresholds."""
        about = self._detector.picture(source, kind, stream, message_id).about
        every = max(1, int(values.get("adc_threshold", 10) // 10))
        peaks: list[Any] = [] if about.peaks is None else about.peaks[::every].tolist()
        return {"n_peaks": len(peaks), "hit": len(peaks) > 10, "peaks": peaks}

    def apply(self, source: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Remember values."""
        self._values.update(values)
        self.calls.append(("apply", source, dict(values)))
        return {"version": len(self.calls)}

    def draw_mask(self, source: str, shapes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Remember shapes."""
        self.calls.append(("mask", source, list(shapes)))
        return {"n_masked": int(self._detector.mask.sum()), "version": len(self.calls)}

    def reset_powder(self, source: str) -> None:
        """Remember that."""
        self.calls.append(("reset", source))
