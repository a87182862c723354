"""How fast frames go the whole way, beside what the parts could do: all in one run, interleaved, medians.

    python benchmarks/pipeline.py [--size 500k --size 1M …] [--frames N] [--repeats N] [--json]

| figure   | what is timed                                                                                       |
|----------|-----------------------------------------------------------------------------------------------------|
| pipeline | `stream simulate eiger` → `stream produce eiger` → embedded server → `read_frames.py`, one consumer |
|          | group: each a process of its own; every frame read, checksum verified, not unpacked                 |
| bare     | the same payloads, each SET and then GET by redis-py, in one loop against the same server           |
| pull     | a second simulated detector, and a bare PULL loop that throws its messages away                     |
| memcpy   | the same payloads copied into one buffer                                                            |

Start-up is left out: the processes are started once for each size, and the detector is triggered over its REST
interface once everybody is attached. The pipeline's clock runs from the arrival of the first frame at the connector to
the hand-over of the last one in the consumer. CPU seconds are those of whole processes within that time. The server
may hold all frames of a series uncompressed, and nobody releases any: nothing is dropped, which is checked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
import zmq

from beamstream import Address, Consumer, SourceAddress
from beamstream.protocol.client import Server
from beamstream.streams import delete_stream, stream_state
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES, EmbeddedServer
from beamstream_producers.sim.images.detectors import MODELS
from pipeline_processes import BenchmarkError, Detector, cpu_s, detector, hear, process, stream, tell

SOURCE = SourceAddress("benchmark", "eiger")
N_FRAMES = {"500k": 2000, "1M": 1000, "4M": 300}
"""Frames of a series by default: about half a second's worth on an idle machine of two cores."""

MIN_FRAMES = 2
"""Fewest frames of a series: from a first to a last one."""

BYTES_PER_PIXEL = 2

COPY_BYTES = 256 << 20
"""Memory that is copied into [bytes]: beyond any cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast frames went through something.

    Attributes
    ----------
    n_frames, n_bytes : int
        What went through.
    duration_s : float
        In which time [s].
    cpu_s : dict
        CPU time by process [s].
    """

    n_frames: int
    n_bytes: int
    duration_s: float
    cpu_s: dict[str, float]


# --- what is measured ----------------------------------------------------------------------------------------------


class Pipeline:
    """The whole path, standing ready; `measure` sends one series through it."""

    def __init__(self, sender: Detector, pids: dict[str, int], consumer: subprocess.Popen[str], broker: str) -> None:
        self._sender = sender
        self._pids = {"sender": sender.pid, **pids, "consumer": consumer.pid}
        self._consumer = consumer
        self._server = Server(broker)
        self.payloads: list[bytes] = []

    def measure(self, n_frames: int) -> Rate:
        """Send a series through; its payloads are kept the first time, for the loops they are compared with."""
        address = SOURCE.stream(f"series_{self._sender.arm():05d}")
        tell(self._consumer, str(address))
        hear(self._consumer)
        used_s = {name: cpu_s(pid) for name, pid in self._pids.items()}
        with self._sender.triggered():
            read = hear(self._consumer)
        used_s = {name: cpu_s(pid) - used_s[name] for name, pid in self._pids.items()}
        hear(self._consumer)
        self._check(address, n_frames, read)
        self.payloads = self.payloads or self._fetch(address, n_frames)
        delete_stream(self._server, address)
        duration_s = (read["last_ns"] - read["first_ns"]) / 1e9
        return Rate(n_frames=n_frames, n_bytes=read["n_bytes"], duration_s=duration_s, cpu_s=used_s)

    def _check(self, address: Address, n_frames: int, read: dict[str, Any]) -> None:
        state = stream_state(self._server, address)
        lost = {
            "dropped by the detector": self._sender.n_dropped,
            "missing": state.n_missing,
            "dropped": state.n_dropped,
        }
        if read["n_frames"] != n_frames or any(lost.values()):
            raise BenchmarkError(f"{read['n_frames']} of {n_frames} frames were read; {lost}")

    def _fetch(self, address: Address, n_frames: int) -> list[bytes]:
        """Return a series' payloads; what comes again is kept in memory once."""
        distinct: dict[int, bytes] = {}
        with Consumer(address, broker=self._server.url) as reader:
            frames = reader.read_range(1, n_frames)
            return [distinct.setdefault(frame.header.checksum, bytes(frame.payload)) for frame in frames]


@contextlib.contextmanager
def pipeline(size: str, n_frames: int, server: EmbeddedServer) -> Iterator[Pipeline]:
    """Start the processes of the whole path, each attached to the one before it."""
    reading = (str(Path(__file__).with_name("read_frames.py")), server.url, "read")
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(detector(size, n_frames))
        to = ("--to", str(SOURCE), "--broker", server.url)
        connector = stack.enter_context(stream("produce", "eiger", sender.endpoint, *to))
        consumer = stack.enter_context(process(*reading))
        yield Pipeline(sender, {"connector": connector.pid, "server": server.pid}, consumer, server.url)


def measure_bare(client: redis.Redis, server_pid: int, payloads: Sequence[bytes]) -> dict[str, Rate]:
    """SET and GET every payload; returns the loop's rate, and those of its two halves."""
    set_s = get_s = 0.0
    client_s, server_s = time.process_time(), cpu_s(server_pid)
    start_s = time.perf_counter()
    for number, payload in enumerate(payloads):
        before_s = time.perf_counter()
        client.set(f"bare:{number}", payload)
        between_s = time.perf_counter()
        client.get(f"bare:{number}")
        set_s += between_s - before_s
        get_s += time.perf_counter() - between_s
    duration_s = time.perf_counter() - start_s
    used_s = {"client": time.process_time() - client_s, "server": cpu_s(server_pid) - server_s}
    client.flushall()
    n_bytes = sum(map(len, payloads))
    durations = {"bare": duration_s, "bare SET": set_s, "bare GET": get_s}
    return {
        name: Rate(n_frames=len(payloads), n_bytes=n_bytes, duration_s=lasted_s, cpu_s=used_s if name == "bare" else {})
        for name, lasted_s in durations.items()
    }


def measure_pull(sender: Detector, socket: zmq.Socket[bytes], n_frames: int) -> Rate:
    """Receive a series and throw it away; counted is what came after the first frame."""
    sender.arm()
    socket.recv_multipart(copy=False)
    with sender.triggered():
        socket.recv_multipart(copy=False)
        sender_s, client_s = cpu_s(sender.pid), time.process_time()
        n_bytes = 0
        start_s = time.perf_counter()
        for _ in range(n_frames - 1):
            n_bytes += sum(len(part) for part in socket.recv_multipart(copy=False))
        duration_s = time.perf_counter() - start_s
        used_s = {"sender": cpu_s(sender.pid) - sender_s, "client": time.process_time() - client_s}
    socket.recv_multipart(copy=False)
    return Rate(n_frames=n_frames - 1, n_bytes=n_bytes, duration_s=duration_s, cpu_s=used_s)


def measure_memcpy(payloads: Sequence[bytes]) -> Rate:
    """Copy every payload into memory that was touched before and is larger than any cache, round and round."""
    target = memoryview(bytearray(b"\1") * max(COPY_BYTES, *map(len, payloads)))
    start_s = time.perf_counter()
    at = 0
    for payload in payloads:
        at = 0 if at + len(payload) > len(target) else at
        target[at : at + len(payload)] = payload
        at += len(payload)
    duration_s = time.perf_counter() - start_s
    n_bytes = sum(map(len, payloads))
    return Rate(n_frames=len(payloads), n_bytes=n_bytes, duration_s=duration_s, cpu_s={})


def measure_size(size: str, n_frames: int, n_repeats: int) -> list[dict[str, Rate]]:
    """Return the rates of every repetition."""
    rounds = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(memory_bytes=memory_bytes(size, n_frames)))
        whole = stack.enter_context(pipeline(size, n_frames, server))
        sender = stack.enter_context(detector(size, n_frames))
        socket = stack.enter_context(zmq.Context()).socket(zmq.PULL)
        stack.enter_context(socket).connect(sender.endpoint)
        client = stack.enter_context(redis.Redis.from_url(server.url))
        for _ in range(n_repeats):
            rates = {"pipeline": whole.measure(n_frames)}
            rates |= measure_bare(client, server.pid, whole.payloads)
            rates["pull"] = measure_pull(sender, socket, n_frames)
            rates["memcpy"] = measure_memcpy(whole.payloads)
            rounds.append(rates)
    return rounds


def memory_bytes(size: str, n_frames: int) -> int:
    """Return the memory in which all frames of a series fit even if they do not compress at all [bytes]."""
    n_slow, n_fast = MODELS[size].shape
    return MINIMUM_MEMORY_BYTES + n_frames * n_slow * n_fast * BYTES_PER_PIXEL


# --- what is printed -----------------------------------------------------------------------------------------------


def summary(size: str, rounds: Sequence[dict[str, Rate]]) -> dict[str, Any]:
    """Return the medians over the repetitions; ratios are medians of the ratios within each repetition."""

    def median(figure: Callable[[dict[str, Rate]], float]) -> float:
        return statistics.median(figure(rates) for rates in rounds)

    def cpu(name: str, who: str) -> float:
        return median(lambda rates: rates[name].cpu_s[who])

    def figures(name: str) -> dict[str, Any]:
        return {
            "frames_per_s": median(lambda rates: rates[name].n_frames / rates[name].duration_s),
            "mb_per_s": median(lambda rates: rates[name].n_bytes / rates[name].duration_s / 1e6),
            "duration_s": median(lambda rates: rates[name].duration_s),
            "cpu_s": {who: cpu(name, who) for who in rounds[0][name].cpu_s},
        }

    whole = rounds[0]["pipeline"]
    return {
        "size": size,
        "n_frames": whole.n_frames,
        "n_repeats": len(rounds),
        "mean_payload_bytes": whole.n_bytes / whole.n_frames,
        "server_memory_bytes": memory_bytes(size, whole.n_frames),
        "ratio_to_bare": median(lambda rates: rates["bare"].duration_s / rates["pipeline"].duration_s),
        "rates": {name: figures(name) for name in rounds[0]},
        "rounds": [{name: asdict(rate) for name, rate in rates.items()} for rates in rounds],
    }


def print_table(found: dict[str, Any]) -> None:
    """Print one size for people."""
    print(
        f"\nEIGER2 {found['size']}, {found['n_frames']} frames of {found['mean_payload_bytes'] / 1e6:.3f} MB, "
        f"median of {found['n_repeats']}; server memory {found['server_memory_bytes'] / 2**30:.1f} GiB, nothing dropped"
    )
    print(f"{'':<12}{'frames/s':>10}{'MB/s':>8}  CPU s of each process, and as a share of the time")
    for name, rate in found["rates"].items():
        shares = "  ".join(f"{who} {s:.2f} ({s / rate['duration_s']:.0%})" for who, s in rate["cpu_s"].items())
        print(f"{name:<12}{rate['frames_per_s']:>10.0f}{rate['mb_per_s']:>8.0f}  {shares}")
    print(f"pipeline / bare: {found['ratio_to_bare']:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", action="append", choices=list(N_FRAMES), help="detector; default: each")
    parser.add_argument("--frames", type=int, metavar="N", help="frames of a series; default: by size")
    parser.add_argument("--repeats", type=int, metavar="N", default=5, help="series per figure (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single measurement")
    options = parser.parse_args()
    if options.repeats < 1 or (options.frames is not None and options.frames < MIN_FRAMES):
        parser.error(f"at least 1 repetition and {MIN_FRAMES} frames are needed")
    found = []
    for size in options.size or N_FRAMES:
        found.append(summary(size, measure_size(size, options.frames or N_FRAMES[size], options.repeats)))
        if not options.json:
            print_table(found[-1])
    if options.json:
        print(json.dumps({"n_cpus": os.cpu_count(), "sizes": found}))


if __name__ == "__main__":
    main()
