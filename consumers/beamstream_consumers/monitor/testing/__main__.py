"""`python -m beamstream_consumers.monitor.testing`: the page over detectors made of nothing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from beamstream.stop import stop_on_signals
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.pictures.picture import Kind, Picture
from beamstream_consumers.monitor.requests import ExactPixel
from beamstream_consumers.monitor.web.access import Access
from beamstream_consumers.monitor.web.application import make_application
from beamstream_consumers.monitor.web.hub import Facts, Hub
from beamstream_consumers.monitor.web.limits import Limits
from beamstream_consumers.monitor.web.server import WebServer, listen_on_port

from .detector import SyntheticControl, SyntheticDetector


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
