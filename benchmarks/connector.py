"""How many frames a second the connector brings into the buffer, beside a bare PULL loop that throws them away.

    python benchmarks/connector.py [--size 500k] [--version 1 --version 2] [--frames N] [--repeats N] [--json]

| figure    | what is timed                                                                                          |
|-----------|--------------------------------------------------------------------------------------------------------|
| connector | a PUSH socket that sends ready-made messages as fast as they are taken → `stream produce eiger` →      |
|           | embedded server: from the arrival of the first image to the moment at which all are in the stream       |
| pull      | the same messages from the same process to a bare PULL loop, in a process of its own                    |

All in one run, in turn, with one connector that stays up and has had one series before. Each figure is a median, the
ratio the median of the ratios within each repetition. Nothing may be missing: every image is in the stream, which is
checked. The sender waits for room and never drops.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import zmq

from beamstream import Consumer, SourceAddress
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import read_state
from beamstream.streams import delete_stream, list_streams
from beamstream_broker.bench.processor_time import used_by_s
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES, EmbeddedServer
from beamstream_producers.formats.simplon import End, Image, Pixels, Start, Ticks, v1, v2
from beamstream_producers.sim.images.detectors import MODELS, find_model
from beamstream_producers.sim.images.frames import Recipe
from beamstream_producers.sim.images.pool import FramePool
from pipeline_processes import TIMEOUT_S, BenchmarkError, stream

SOURCE = SourceAddress("benchmark", "eiger")
N_DISTINCT = 64
BIT_DEPTH = 16
POLL_S = 0.002
ENCODERS = {1: v1.encode, 2: v2.encode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a series went through: images, payload bytes, time [s], CPU time by process [s]."""

    n_images: int
    n_bytes: int
    duration_s: float
    cpu_s: dict[str, float]

    @property
    def images_per_s(self) -> float:
        """Images per second."""
        return self.n_images / self.duration_s


# --- the processes on both ends of the wire --------------------------------------------------------------------------


def send(commands: Connection, size: str, version: int, n_images: int) -> None:
    """Make the messages of a series once, then send them as often as they are asked for: a process of its own."""
    recipe = Recipe(
        model=find_model(size), seed=0, n_frames=N_DISTINCT, hit_fraction=0.2, bit_depth=BIT_DEPTH, mask_applied=True
    )
    pool = FramePool(recipe, "bslz4")
    encode = ENCODERS[version]
    dtype = f"<u{BIT_DEPTH // 8}"

    def image(series_id: int, image_id: int) -> Image:
        pixels = Pixels(
            shape=recipe.model.shape, dtype=dtype, codec="bslz4", payload=pool.payloads[image_id % N_DISTINCT]
        )
        start, stop = Ticks(count=1000 * image_id), Ticks(count=1000 * image_id + 999)
        return Image(
            version=version,
            series_id=series_id,
            image_id=image_id,
            channels={"threshold_1": pixels},
            start=start,
            stop=stop,
            real=Ticks(count=999),
        )

    images = [encode(image(1, image_id)) for image_id in range(n_images)]
    n_bytes = sum(len(pool.payloads[image_id % N_DISTINCT]) for image_id in range(n_images))
    config = {"nimages": n_images, "ntrigger": 1} if version == 1 else {}
    start = Start(version=version, series_id=1, n_images=n_images, shape=recipe.model.shape, config=config)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = 200
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        commands.send({"endpoint": f"tcp://127.0.0.1:{port}", "n_bytes": n_bytes})
        while commands.recv():
            for parts in [encode(start), *images, encode(End(version=version, series_id=1))]:
                socket.send_multipart(parts, copy=False)
            commands.send({"done": True})


def pull(commands: Connection, endpoint: str, n_images: int) -> None:
    """Receive series and throw them away: a process of its own."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(endpoint)
        commands.send({"ready": True})
        while commands.recv():
            socket.recv_multipart(copy=False)
            socket.recv_multipart(copy=False)
            started_s = time.perf_counter()
            for _ in range(n_images - 1):
                socket.recv_multipart(copy=False)
            commands.send({"duration_s": time.perf_counter() - started_s})
            socket.recv_multipart(copy=False)


class Child:
    """A process that answers commands."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._commands, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid or 0

    def tell(self, go_on: bool = True) -> None:
        """Let it do it once more, or end."""
        self._commands.send(go_on)

    def hear(self) -> dict[str, Any]:
        """Return what it says next."""
        if not self._commands.poll(TIMEOUT_S):
            raise BenchmarkError(f"process {self.pid} said nothing for {TIMEOUT_S:g} s")
        answer: dict[str, Any] = self._commands.recv()
        return answer

    def end(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self.tell(False)
        self.process.join(5)
        self.process.kill()


@contextlib.contextmanager
def child(target: Any, *arguments: Any) -> Iterator[Child]:
    """Run a process for as long as the block lasts."""
    running = Child(target, *arguments)
    try:
        yield running
    finally:
        running.end()


# --- what is measured ------------------------------------------------------------------------------------------------


def measure_pull(sender: Child, endpoint: str, n_images: int, n_bytes: int) -> Rate:
    """Let a series go to a bare loop."""
    with child(pull, endpoint, n_images) as receiver:
        receiver.hear()
        receiver.tell()
        used_s = {"sender": used_by_s(sender.pid), "receiver": used_by_s(receiver.pid)}
        sender.tell()
        duration_s = receiver.hear()["duration_s"]
        used_s = {
            "sender": used_by_s(sender.pid) - used_s["sender"],
            "receiver": used_by_s(receiver.pid) - used_s["receiver"],
        }
        sender.hear()
    return Rate(n_images=n_images - 1, n_bytes=n_bytes, duration_s=duration_s, cpu_s=used_s)


class Connector:
    """A running connector; `measure` sends one series through it."""

    def __init__(self, running: subprocess.Popen[str], sender: Child, server: EmbeddedServer) -> None:
        self._sender = sender
        self._server = Server(server.url)
        self._url = server.url
        self._pids = {"sender": sender.pid, "connector": running.pid, "server": server.pid}

    def measure(self, n_images: int, n_bytes: int) -> Rate:
        """Send a series, and wait until all of it is in its stream, which is deleted then."""
        self._sender.tell()
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (addresses := list_streams(self._server, SOURCE)):
            if time.monotonic() > deadline_s:
                raise BenchmarkError("the connector opens no stream")
        (address,) = addresses
        keys = StreamKeys(address)
        used_s = {name: used_by_s(pid) for name, pid in self._pids.items()}
        while int(self._server.call("HGET", keys.state, "n_received") or 0) < n_images:
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"images are missing: {read_state(self._server, keys)}")
            time.sleep(POLL_S)
        last_ns = time.time_ns()
        used_s = {name: used_by_s(pid) - used_s[name] for name, pid in self._pids.items()}
        self._sender.hear()
        with Consumer(address, broker=self._url) as reader:
            first_ns = reader.read(1).header.timestamp_ns
        self._check(keys, n_images)
        delete_stream(self._server, address)
        return Rate(n_images=n_images, n_bytes=n_bytes, duration_s=(last_ns - first_ns) / 1e9, cpu_s=used_s)

    def _check(self, keys: StreamKeys, n_images: int) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while (state := read_state(self._server, keys)) is None or not state.finished:
            if time.monotonic() > deadline_s:
                raise BenchmarkError(f"the series does not end: {state}")
            time.sleep(POLL_S)
        if (state.n_received, state.n_missing, state.n_dropped) != (n_images, 0, 0):
            raise BenchmarkError(f"not every image is there: {state}")


@contextlib.contextmanager
def connected(sender: Child, endpoint: str, server: EmbeddedServer) -> Iterator[Connector]:
    """Run a connector for as long as the block lasts."""
    with stream("produce", "eiger", endpoint, "--to", str(SOURCE), "--broker", server.url) as running:
        yield Connector(running, sender, server)


def measure(size: str, version: int, n_images: int, n_repeats: int) -> list[dict[str, Rate]]:
    """Return the rates of every repetition; one before them warms up what a connector that stays up has warm."""
    n_slow, n_fast = MODELS[size].shape
    memory_bytes = MINIMUM_MEMORY_BYTES + n_images * n_slow * n_fast * BIT_DEPTH // 8
    rounds = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(memory_bytes=memory_bytes))
        through = stack.enter_context(child(send, size, version, n_images))
        ready = through.hear()
        connector = stack.enter_context(connected(through, ready["endpoint"], server))
        aside = stack.enter_context(child(send, size, version, n_images))
        endpoint = aside.hear()["endpoint"]
        for _ in range(1 + n_repeats):
            rates = {"connector": connector.measure(n_images, ready["n_bytes"])}
            rates["pull"] = measure_pull(aside, endpoint, n_images, ready["n_bytes"])
            rounds.append(rates)
    return rounds[1:]


def summary(size: str, version: int, rounds: list[dict[str, Rate]]) -> dict[str, Any]:
    """Return medians."""

    def median(name: str, figure: str) -> float:
        return statistics.median(getattr(rates[name], figure) for rates in rounds)

    whole = rounds[0]["connector"]
    return {
        "size": size,
        "version": version,
        "n_images": whole.n_images,
        "mean_payload_bytes": whole.n_bytes / whole.n_images,
        "images_per_s": {name: median(name, "images_per_s") for name in rounds[0]},
        "cpu_s_per_1000": {
            name: {
                who: statistics.median(1000 * rates[name].cpu_s[who] / rates[name].n_images for rates in rounds)
                for who in rounds[0][name].cpu_s
            }
            for name in rounds[0]
        },
        "ratio": statistics.median(rates["connector"].images_per_s / rates["pull"].images_per_s for rates in rounds),
        "rounds": [{name: asdict(rate) for name, rate in rates.items()} for rates in rounds],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=list(MODELS), default="500k", help="detector (default: 500k)")
    parser.add_argument("--version", type=int, action="append", choices=list(ENCODERS), help="default: both")
    parser.add_argument("--frames", type=int, metavar="N", default=3000, help="images of a series (default: 3000)")
    parser.add_argument("--repeats", type=int, metavar="N", default=5, help="series per figure (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single measurement")
    options = parser.parse_args()
    found = []
    for version in options.version or ENCODERS:
        one = summary(options.size, version, measure(options.size, version, options.frames, options.repeats))
        found.append(one)
        if options.json:
            continue
        print(f"\nEIGER2 {one['size']}, stream v{version}, {one['n_images']} images of ", end="")
        print(f"{one['mean_payload_bytes'] / 1e6:.3f} MB, median of {options.repeats}; every image is in the stream")
        for name, rate in one["images_per_s"].items():
            cpu = "  ".join(f"{who} {1e3 * s:.0f}" for who, s in one["cpu_s_per_1000"][name].items())
            rate_mb = rate * one["mean_payload_bytes"] / 1e6
            print(f"{name:<10}{rate:>8.0f} images/s {rate_mb:>6.0f} MB/s   CPU µs per image: {cpu}")
        print(f"connector / pull: {one['ratio']:.2f}")
    if options.json:
        print(json.dumps({"n_cpus": os.cpu_count(), "found": found}))


if __name__ == "__main__":
    main()
