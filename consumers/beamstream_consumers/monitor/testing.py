"""A detector made of nothing, for whoever builds or tests the page: pictures, numbers and an archive without a broker.

`python -m beamstream_consumers.monitor.testing` serves the page over it; see its --help. Nothing here is random but by
its seed: message n always looks the same.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import PayloadGoneError
from beamstream.stop import stop_on_signals

from .board import Board
from .pictures.picture import About, Kind, Picture
from .requests import ExactPixel
from .web.access import Access
from .web.application import make_application
from .web.hub import Facts, Hub
from .web.limits import Limits
from .web.server import WebServer, listen_on_port

__all__ = ["SyntheticControl", "SyntheticDetector"]

N_DIFFERENT = 12
"""Images that are made; message n shows image n % 12."""

PIXEL_M = 75e-6
DISTANCE_M = 0.15
WAVELENGTH_A = 1.0

GROUPS = ("write", "peaks", "index")


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
        self.mask = _gaps(shape)
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
        self.board.put(self._run(now_s))
        self.board.put(
            {
                "t": "history",
                "source": self.source,
                "time_s": [now_s - 600 + 10 * n for n in range(60)],
                "rate_hz": [10 + math.sin(n / 9) for n in range(60)],
                "age_s": [0.1 + 0.05 * math.sin(n / 5) for n in range(60)],
                "hit_rate": [0.3 + 0.1 * math.sin(n / 7) for n in range(60)],
            }
        )
        self.count()

    def count(self) -> None:
        """Put the numbers on the board."""
        self.board.put(self._counts(time.time()))
        self.board.put(
            {
                "t": "histograms",
                "source": self.source,
                "stream": self.stream,
                "peaks_per_frame": {"first": 0, "step": 10, "counts": [40, 12, 7, 3, 1]},
                "log10_intensity": {
                    "first": 1.0,
                    "step": 0.1,
                    "counts": [int(50 / (n + 1)) for n in range(30)],
                },
                "one_over_resolution": {"first": 0.0, "step": 0.02, "counts": [n % 7 for n in range(30)]},
            }
        )

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
            ids = [one for one in range(1, self.n_sent + 1) if _is_hit(one)]
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
                image = _image(self.shape, self._dtype, self.mask, n, self._flag)
                self._made[n] = image, self._about(image, n)
            return self._made[n]

    def _about(self, image: npt.NDArray[Any], n: int) -> About:
        good = image[(image != self._flag) & ~self.mask]
        marks = np.percentile(good, [1, 50, 95, 99.5, 99.95])
        counts, _ = np.histogram(np.log10(1.0 + good), bins=64, range=(0, 6.4))
        rows, columns = np.indices(image.shape)
        radius = np.hypot(columns - image.shape[1] / 2, rows - image.shape[0] / 2).astype(int)
        ok = (image != self._flag) & ~self.mask
        total = np.bincount(radius[ok], weights=image[ok])
        n_pixels = np.bincount(radius[ok])
        radial = np.stack([np.arange(total.size) + 0.5, total / np.maximum(1, n_pixels)]).astype(np.float32)
        peaks = _peaks(self.shape, n)[: None if _is_hit(n) else 3]
        return About(
            percentiles=dict(zip(("1", "50", "95", "99.5", "99.95"), map(float, marks), strict=True)),
            histogram={"first": 0.0, "step": 0.1, "counts": counts.tolist()},
            numbers={
                "maximum": int(good.max()),
                "mean": float(good.mean()),
                "total": int(good.sum(dtype=np.uint64)),
                "n_good": int(good.size),
                "n_flagged": int((image == self._flag).sum()),
                "n_masked": int(self.mask.sum()),
            },
            hit=_is_hit(n),
            n_peaks=len(peaks),
            peaks=peaks,
            radial=radial,
        )

    def _run(self, now_s: float) -> Mapping[str, Any]:
        n_slow, n_fast = self.shape
        return {
            "t": "run",
            "source": self.source,
            "stream": self.stream,
            "streams": [self.stream],
            "shape": [n_slow, n_fast],
            "dtype": str(self._dtype),
            "n_expected": None,
            "created_s": now_s,
            "kinds": ["frame", "hit", "sum", "max"],
            "assembled": False,
            "geometry": {
                "name": "synthetic",
                "beam": [n_fast / 2, n_slow / 2],
                "pixel_m": [PIXEL_M, PIXEL_M],
                "distance_m": DISTANCE_M,
                "wavelength_a": WAVELENGTH_A,
            },
            "n_masked": int(self.mask.sum()),
            "peaks": f"{self.source}-peaks",
            "first_id": 1,
            "last_id": self.n_sent or None,
        }

    def _counts(self, now_s: float) -> Mapping[str, Any]:
        n_hits = sum(map(_is_hit, range(1, self.n_sent + 1)))
        newest_ns = self._taken.get(self.n_sent)
        numbers = {
            "stream": self.stream,
            "life": "live" if self.n_sent else "waiting",
            "state": "open",
            "n_received": self.n_sent,
            "n_expected": None,
            "n_missing": 0,
            "n_dropped": 0,
            "n_expired": 0,
            "n_late": 0,
            "n_duplicate": 0,
            "newest_id": self.n_sent or None,
            "rate_hz": 10.0,
            "rate_mb_s": 14.1,
            "age_s": None if newest_ns is None else now_s - newest_ns / 1e9,
            "detector_dropped": 0,
            "hits": {
                "n_frames": self.n_sent,
                "n_hits": n_hits,
                "n_peaks": 17 * n_hits,
                "hit_rate": n_hits / max(1, self.n_sent),
                "hit_rate_of_late": n_hits / max(1, self.n_sent),
                "n_frames_saturated": 0,
                "lag": 2,
            },
        }
        groups = [
            {
                "source": self.source,
                "stream": self.stream,
                "name": name,
                "members": 1 + n,
                "rate_hz": 10.0,
                "lag_messages": 3 * n,
                "lag_s": 0.3 * n,
                "redelivered": 0,
                "dead": 0,
                "skipped": 0,
                "required": name == "write",
            }
            for n, name in enumerate(GROUPS)
        ]
        buffer = {
            "reachable": True,
            "flaw": None,
            "used_bytes": int(4e9 + 1e9 * math.sin(now_s / 40)),
            "limit_bytes": 16 << 30,
            "n_spilled": 0,
            "spilling": False,
            "folder": "/scratch/beamstream",
            "disk_free_bytes": 2 << 40,
        }
        return {
            "t": "numbers",
            "time_s": now_s,
            "sources": {self.source: numbers},
            "groups": groups,
            "buffer": buffer,
            "viewers": self.n_viewers(),
        }


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


def _is_hit(message_id: int) -> bool:
    return message_id % N_DIFFERENT % 3 == 1


def _gaps(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return bars between modules, and two bad pixels."""
    mask = np.zeros(shape, bool)
    for n in (1, 2, 3):
        at = n * shape[0] // 4
        mask[at - 6 : at + 6] = True
    mask[:, shape[1] // 2 - 3 : shape[1] // 2 + 3] = True
    mask[5, 7] = mask[shape[0] // 3, shape[1] // 3] = True
    return mask


def _peaks(shape: tuple[int, int], n: int) -> npt.NDArray[np.float32]:
    dice = np.random.default_rng(1000 + n)
    n_peaks = 40
    x, y = dice.uniform(4, shape[1] - 4, n_peaks), dice.uniform(4, shape[0] - 4, n_peaks)
    return np.stack([x, y, dice.uniform(50, 2000, n_peaks)], axis=1).astype(np.float32)


def _image(
    shape: tuple[int, int], dtype: np.dtype[Any], mask: npt.NDArray[np.bool_], n: int, flag: int
) -> npt.NDArray[Any]:
    """Return rings on a background, Bragg peaks on the hits, and the flag in the gaps."""
    dice = np.random.default_rng(n)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    radius = np.hypot(columns - shape[1] / 2, rows - shape[0] / 2) / (0.5 * min(shape))
    mean = 1.5 * np.exp(-2 * radius) + 2.0 * np.exp(-(((radius - 0.6) / 0.05) ** 2)) + 0.2
    image = dice.poisson(mean).astype(dtype)
    if _is_hit(n):
        for x, y, intensity in _peaks(shape, n):
            image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] += dtype.type(intensity / 9)
    image[mask & (rows > 8)] = flag
    return image


def main() -> None:
    """Serve the page over such a detector until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8800, help="0 for a free one")
    parser.add_argument("--shape", type=int, nargs=2, default=(2167, 2070), metavar=("N_SLOW", "N_FAST"))
    parser.add_argument("--dtype", choices=("uint16", "uint32"), default="uint16")
    parser.add_argument("--rate", type=float, default=10.0, help="pictures per second")
    parser.add_argument("--frames-per-run", type=int, default=600)
    parser.add_argument("--control", action="store_true", help="routes of an operator")
    parser.add_argument("--sources", type=int, default=1)
    options = parser.parse_args()
    board = Board()
    names = ["11012345/eiger", "11012345/jungfrau", "11012345/pilatus", "11012345/lambda"][: options.sources]
    detectors = [SyntheticDetector(board, name, tuple(options.shape), options.dtype) for name in names]
    listener = listen_on_port("127.0.0.1", options.port)
    hub = Hub(board, _Archives(detectors), Facts(sources=names), Limits(pictures_per_s=max(10.0, options.rate)))
    for detector in detectors:
        detector.n_viewers = lambda: len(hub.viewers)
    control = SyntheticControl(detectors[0]) if options.control else None
    access = Access(mode="none", has_operators=options.control)
    server = WebServer(make_application(hub, access, control=control), listener, max_connections=200)
    server.start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    with stop_on_signals() as stop:
        _run(detectors, options.rate, options.frames_per_run, stop)
    server.close()


def _run(detectors: Sequence[SyntheticDetector], rate_hz: float, n_per_run: int, stop: Any) -> None:
    for detector in detectors:
        detector.describe()
        detector.board.note("info", f"{detector.source} is watched")
    next_s, runs, n = time.monotonic(), 1, 0
    while not stop.wait(max(0.0, next_s - time.monotonic())):
        next_s = max(next_s, time.monotonic() - 1) + 1 / rate_hz
        n += 1
        for detector in detectors:
            detector.send()
            if n % max(1, round(rate_hz / 2)) == 0:
                detector.count()
        if n % n_per_run == 0:
            runs += 1
            for detector in detectors:
                detector.begin(f"run_{runs:03}")


class _Archives:
    """The archives of several detectors as one."""

    def __init__(self, detectors: Sequence[SyntheticDetector]) -> None:
        self._of = {detector.source: detector for detector in detectors}

    def picture(self, source: str, kind: Kind, stream: str, message_id: int) -> Picture:
        return self._of[source].picture(source, kind, stream, message_id)

    def neighbour(self, source: str, kind: Kind, stream: str, message_id: int, by: int) -> int:
        return self._of[source].neighbour(source, kind, stream, message_id, by)

    def pixel(self, picture: Picture, x: int, y: int) -> ExactPixel:
        return self._of[picture.source].pixel(picture, x, y)


if __name__ == "__main__":
    main()
