"""What the monitor's page costs: its server per viewer, and the writer and the peak finder beside it; in one run.

    python benchmarks/monitor.py [--shape 2167 2070] [--rate 10] [--seconds 10] [--frames 200] [--repeats 2] [--json]

| figure   | what is measured                                                                                          |
|----------|-----------------------------------------------------------------------------------------------------------|
| viewers  | CPU of `stream consume monitor` at a steady rate of frames, with 0, 1, 2, 4, 8 viewers that see all of it |
| full     | the same with all pixels instead of what a screen of 1000 × 1000 needs                                    |
| pipeline | how fast `stream consume write` and `stream consume peaks` go through a run, with 0 and with 8 viewers    |

Viewers are one process of Python clients, that acknowledge each picture when it comes and do not unpack it; all look at
the same view, as people do who leave the page as it opens. The server's CPU is that of the whole process: it reads and
unpacks the newest frames, measures and packs them, and sends. Ages are from the time in the message to its arrival.
Runs of the pipeline with and without viewers take turns, and the page is served all the time. With `--pipeline-rate 0`
frames come as fast as the server takes them; then viewers take from the others what they need where processors are few.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from beamstream import Producer, SourceAddress
from beamstream.codecs import encode
from beamstream.groups import list_groups
from beamstream.protocol.client import Server
from beamstream.streams import delete_stream
from beamstream_broker.bench.processor_time import used_by_s
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.testing import N_DIFFERENT, SyntheticDetector
from broker_process import running_broker
from pipeline_processes import BenchmarkError, hear, process, stream, tell

SOURCE = SourceAddress("benchmark", "eiger")
N_VIEWERS = (0, 1, 2, 4, 8)
SETTLE_S = 2.0
"""How long a change is given before it is measured [s]."""

POLL_S = 0.02
TIMEOUT_S = 300.0
GROUPS = ("write", "peaks")
STEADY = "steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The page's server with so many viewers.

    Attributes
    ----------
    view : str
        ``screen`` or ``full``.
    n_viewers : int
        How many look.
    cpu_percent : float
        Of one core.
    pictures_per_s, mb_per_s : float
        Per viewer.
    age_s : float
        Median age of a picture at its arrival [s].
    """

    view: str
    n_viewers: int
    cpu_percent: float
    pictures_per_s: float
    mb_per_s: float
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """One run through the pipeline.

    Attributes
    ----------
    n_viewers : int
        How many looked.
    write_hz, peaks_hz : float
        Frames a second, from the first that was sent to the last that was acknowledged.
    pictures_per_s : float
        Per viewer.
    """

    n_viewers: int
    write_hz: float
    peaks_hz: float
    pictures_per_s: float


# --- frames ------------------------------------------------------------------------------------------------------


class Source:
    """Frames that look like a detector's, packed once, and sent as streams of their own."""

    def __init__(self, broker: str, shape: tuple[int, int]) -> None:
        self._broker = broker
        detector = SyntheticDetector(Board(), shape=shape)
        detector.send(N_DIFFERENT, kinds=())
        images = [detector.picture(detector.source, "frame", detector.stream, 1 + n).image for n in range(N_DIFFERENT)]
        self._payloads = [bytes(encode(np.ascontiguousarray(image), "bslz4")) for image in images]
        self._shape = shape
        n_slow, n_fast = shape
        self._metadata = {
            "beam_center_x": n_fast / 2,
            "beam_center_y": n_slow / 2,
            "detector_distance": 0.15,
            "x_pixel_size": 75e-6,
            "y_pixel_size": 75e-6,
            "wavelength": 1.0,
        }

    def send(self, name: str, n_frames: int | None, rate_hz: float, stop: threading.Event) -> None:
        """Send a stream, at a rate or (0) as fast as it goes; None: until `stop` is set."""
        address = SOURCE.stream(name)
        with Producer(address, broker=self._broker, n_expected=n_frames, metadata=self._metadata) as producer:
            begin_s, n = time.monotonic(), 0
            while (n_frames is None or n < n_frames) and not stop.is_set():
                if rate_hz:
                    time.sleep(max(0.0, begin_s + n / rate_hz - time.monotonic()))
                n += 1
                payload = self._payloads[n % N_DIFFERENT]
                producer.send(n, payload, shape=self._shape, dtype="<u2", codec="bslz4", timestamp_ns=time.time_ns())
            producer.finish(n)


# --- viewers, a process of their own -----------------------------------------------------------------------------


class Viewers:
    """Clients that acknowledge at once; sizes and ages of what came are kept from `begin` to `end`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._came: list[tuple[int, float]] = []
        self._ready = asyncio.Semaphore(0)

    async def run(self) -> None:
        """Look until standard input says so."""
        n = self._options.viewers
        tasks = [asyncio.create_task(self._view()) for _ in range(n)]
        for _ in range(n):
            await self._ready.acquire()
        await self._hear("begin")
        self._came.clear()
        begin_s = time.monotonic()
        await self._hear("end")
        came, shared_s = list(self._came), max(1, n) * (time.monotonic() - begin_s)
        said = {
            "pictures_per_s": len(came) / shared_s,
            "mb_per_s": sum(size for size, _ in came) / 1e6 / shared_s,
            "age_s": statistics.median(age for _, age in came) if came else 0.0,
        }
        print(json.dumps(said), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, word: str) -> None:
        print(json.dumps({"waits_for": word}), flush=True)
        heard = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if heard.strip() != word:
            raise BenchmarkError(f"{heard!r} is not {word}")

    async def _view(self) -> None:
        n_slow, n_fast = self._options.shape
        wish = {"t": "pane", "pane": 0, "source": str(SOURCE), "kind": "frame", "rect": [0, 0, n_fast, n_slow],
                "canvas": [1000, 1000], "masked": True, "pool": "max", "full": self._options.full, "roi": None,
                "at": None}  # fmt: skip
        async with connect(self._options.look, max_size=None, compression=None, proxy=None) as socket:
            await socket.send(json.dumps(wish))
            self._ready.release()
            while True:
                message = await socket.recv()
                if isinstance(message, bytes):
                    (length,) = struct.unpack_from("<I", message)
                    header = json.loads(message[4 : 4 + length])
                    await socket.send(json.dumps({"t": "ack", "pane": 0, "seq": header["seq"]}))
                    self._came.append((len(message), time.time() - header["taken_s"]))


@contextlib.contextmanager
def viewers(url: str, n: int, shape: Sequence[int], *, full: bool) -> Iterator[Callable[[], dict[str, float]]]:
    """Let so many look while the block lasts; gives what ends the measurement and returns what they saw."""
    options = ["--look", url, "--viewers", str(n), "--shape", *map(str, shape), *(["--full"] if full else [])]
    with process(__file__, *options) as running:
        hear(running)
        time.sleep(SETTLE_S)
        tell(running, "begin")
        hear(running)

        def end() -> dict[str, float]:
            tell(running, "end")
            return hear(running)

        yield end


# --- what is measured --------------------------------------------------------------------------------------------


def measure_loads(page: Any, url: str, options: argparse.Namespace) -> Iterator[Load]:
    """Yield the server's load with more and more viewers, while frames come at a steady rate."""
    for full in (False, True):
        for n in N_VIEWERS:
            with viewers(url, n, options.shape, full=full) as end:
                before, begin_s = used_by_s(page.pid), time.monotonic()
                time.sleep(options.seconds)
                percent = 100 * (used_by_s(page.pid) - before) / (time.monotonic() - begin_s)
                seen = end()
            yield Load(view="full" if full else "screen", n_viewers=n, cpu_percent=percent, **seen)


def measure_rates(source: Source, broker: str, url: str, options: argparse.Namespace) -> Iterator[Rates]:
    """Yield the pipeline's rates, without and with viewers in turn."""
    with contextlib.closing(Server(broker)) as server:
        _run(source, server, "warming_up", options)
        for repeat in range(options.repeats):
            for n_viewers in (0, 8):
                with viewers(url, n_viewers, options.shape, full=False) as end:
                    rates = _run(source, server, f"run_{repeat}_{n_viewers}", options)
                    seen = end()
                yield Rates(n_viewers=n_viewers, **rates, pictures_per_s=seen["pictures_per_s"])


def _run(source: Source, server: Server, name: str, options: argparse.Namespace) -> dict[str, float]:
    address = SOURCE.stream(name)
    sender = threading.Thread(
        target=source.send, args=(name, options.frames, options.pipeline_rate, threading.Event()), daemon=True
    )
    begin_s = time.monotonic()
    sender.start()
    ended_s: dict[str, float] = {}
    while len(ended_s) < len(GROUPS):
        if time.monotonic() - begin_s > TIMEOUT_S:
            raise BenchmarkError(f"{name}: {set(GROUPS) - ended_s.keys()} did not come to the end")
        time.sleep(POLL_S)
        for group in list_groups(server, address):
            if group.name in GROUPS and group.position >= options.frames and not group.n_pending:
                ended_s.setdefault(group.name, time.monotonic())
    sender.join()
    return {f"{group}_hz": options.frames / (at - begin_s) for group, at in ended_s.items()}


def measure(options: argparse.Namespace) -> tuple[list[Load], list[Rates]]:
    """Run it all."""
    with tempfile.TemporaryDirectory() as folder, running_broker("2GiB") as broker, contextlib.ExitStack() as stack:
        source = Source(broker.url, tuple(options.shape))
        monitor = ("consume", "monitor", str(SOURCE), "--broker", broker.url, "--port", "0", "--json", "--auth", "none")
        page = stack.enter_context(stream(*monitor))
        url = hear(page)["urls"]["viewer"].replace("http", "ws", 1) + "ws"
        stop = threading.Event()
        sender = threading.Thread(target=source.send, args=(STEADY, None, options.rate, stop), daemon=True)
        sender.start()
        try:
            loads = _shown(measure_loads(page, url, options), options)
        finally:
            stop.set()
            sender.join()
        with contextlib.closing(Server(broker.url)) as server:
            delete_stream(server, SOURCE.stream(STEADY))
        for command in (("write", "--directory", folder), ("peaks",)):
            name, *more = command
            stack.enter_context(
                stream("consume", name, str(SOURCE), "--follow", "--from", "start", "--broker", broker.url, *more)
            )
        rates = _shown(measure_rates(source, broker.url, url, options), options)
    return loads, rates


def _shown(results: Iterator[Any], options: argparse.Namespace) -> list[Any]:
    """Print results as they come, for people; return them all."""
    kept: list[Any] = []
    for result in results:
        if not options.json:
            if not kept:
                print("  ".join(f"{name:>14}" for name in asdict(result)))
            print("  ".join(f"{_text(value):>14}" for value in asdict(result).values()), flush=True)
        kept.append(result)
    return kept


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=2, default=(2167, 2070), metavar=("N_SLOW", "N_FAST"))
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second for the viewers")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each number of viewers is measured")
    parser.add_argument("--frames", type=int, default=200, help="frames of each run through the pipeline")
    parser.add_argument("--pipeline-rate", type=float, default=10.0, help="frames per second there; 0: all that go")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--look", help=argparse.SUPPRESS)
    parser.add_argument("--viewers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        asyncio.run(Viewers(options).run())
        return
    loads, rates = measure(options)
    summary = {
        f"{name}_change_percent": 100 * (_median(rates, 8, name) / _median(rates, 0, name) - 1)
        for name in ("write_hz", "peaks_hz")
    }
    if options.json:
        json.dump({"loads": list(map(asdict, loads)), "rates": list(map(asdict, rates)), **summary}, sys.stdout)
        print()
    else:
        print("  ".join(f"{name} {value:+.2f}" for name, value in summary.items()))


def _median(rates: Sequence[Rates], n_viewers: int, name: str) -> float:
    return statistics.median(getattr(one, name) for one in rates if one.n_viewers == n_viewers)


if __name__ == "__main__":
    main()
