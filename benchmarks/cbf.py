"""How fast a folder of CBF files goes into a broker, beside fabio on the same files: one run, interleaved, medians.

    python benchmarks/cbf.py [--size 6M] [--files N] [--repeats N] [--folder DIR] [--json]

| figure         | what is timed                                                                                   |
|----------------|-------------------------------------------------------------------------------------------------|
| produce cbf    | `stream produce cbf` as a process, a full folder into an embedded server: every file read, its  |
|                | sizes and MD5 checked, its bytes stored and published. From the opening of the stream, when the |
|                | first file has been read, until the last message is in the stream                               |
| fabio.open     | `fabio.open(path).data` in a loop: read, MD5 computed, pixels unpacked                          |
| read and check | our own reading in a loop: read, sizes and MD5 checked; what the source does before it sends    |
| read           | the bytes of the files only                                                                     |
| decode         | `beamstream.codecs.decode` of every payload into one array, in memory                           |
| fabio decode   | `fabio.compression.decByteOffset` of the same payloads                                          |

Files are of our own encoder, with Poisson background, Bragg peaks, gaps and bad pixels; they were read before, and lie
in the page cache for everybody. CPU seconds are those of whole processes within the time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fabio
import fabio.compression
import numpy as np

from beamstream import SourceAddress, codecs
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import read_state
from beamstream.streams import delete_stream
from beamstream_broker.bench.processor_time import used_by_s
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES, EmbeddedServer
from beamstream_producers.cbf.files import read_file
from beamstream_producers.formats import cbf
from beamstream_producers.sim.images.pilatus import MODELS
from beamstream_producers.sim.pilatus import SimulatedPilatus, SimulatedPilatusOptions
from pipeline_processes import BenchmarkError, stream

SOURCE = SourceAddress("benchmark", "pilatus")
POLL_S = 0.002
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast files went through something."""

    n_files: int
    duration_s: float
    cpu_s: dict[str, float]


@contextlib.contextmanager
def files(folder: Path | None, size: str, n_files: int) -> Iterator[list[Path]]:
    """Make the files of a scan."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="cbf-benchmark-") as place:
        options = SimulatedPilatusOptions(size=size, base="scan", n_frames=n_files, rate_hz=0)
        SimulatedPilatus(Path(place), options).run(threading.Event())
        yield sorted(Path(place).glob("*.cbf"))


def measure_produce(server: EmbeddedServer, paths: Sequence[Path]) -> Rate:
    """Let the command bring in the folder; delete the stream afterwards."""
    address, client = SOURCE.stream("scan"), Server(server.url)
    to = ("--to", str(SOURCE), "--broker", server.url, "--timezone", "UTC")
    with stream("produce", "cbf", str(paths[0].parent), *to) as producer:
        deadline_s = time.monotonic() + TIMEOUT_S
        begin: tuple[float, float, float] | None = None
        while time.monotonic() < deadline_s:
            state = read_state(client, StreamKeys(address))
            if state is not None and begin is None:
                begin = time.monotonic(), used_by_s(producer.pid), used_by_s(server.pid)
            if state is not None and state.n_received == len(paths):
                break
            time.sleep(POLL_S)
        if begin is None or state is None or state.n_received != len(paths):
            raise BenchmarkError("the folder was not brought in in time")
        duration_s = time.monotonic() - begin[0]
        used = {"connector": used_by_s(producer.pid) - begin[1], "server": used_by_s(server.pid) - begin[2]}
        producer.wait(TIMEOUT_S)
    delete_stream(client, address)
    client.close()
    return Rate(n_files=len(paths) - 1, duration_s=duration_s, cpu_s=used)


def measure_loop(paths: Sequence[Any], do: Callable[[Any], object]) -> Rate:
    """Do something to each, one after the other."""
    used_s, begin_s = time.process_time(), time.perf_counter()
    for path in paths:
        do(path)
    lasted_s = time.perf_counter() - begin_s
    return Rate(n_files=len(paths), duration_s=lasted_s, cpu_s={"this": time.process_time() - used_s})


def measure(paths: Sequence[Path], server: EmbeddedServer, n_repeats: int) -> list[dict[str, Rate]]:
    """Return the rates of every repetition."""
    images = [cbf.decode(read_file(path)[0]) for path in paths]
    payloads = [bytes(image.payload) for image in images]
    section = images[0].section
    out = np.empty(section.shape, section.dtype)
    n_pixels = out.size

    def decode(payload: bytes) -> object:
        return codecs.decode(payload, "byte-offset", section.shape, section.dtype, out)

    def decode_by_fabio(payload: bytes) -> object:
        return fabio.compression.decByteOffset(payload, size=n_pixels, dtype="int32")

    decode(payloads[0])  # compiled, or taken from the cache, before the clock runs
    return [
        {
            "produce cbf": measure_produce(server, paths),
            "fabio.open": measure_loop(paths, lambda path: fabio.open(str(path)).data),
            "read and check": measure_loop(paths, lambda path: cbf.decode(read_file(path)[0])),
            "read": measure_loop(paths, Path.read_bytes),
            "decode": measure_loop(payloads, decode),
            "fabio decode": measure_loop(payloads, decode_by_fabio),
        }
        for _ in range(n_repeats)
    ]


def summary(rounds: Sequence[dict[str, Rate]]) -> dict[str, Any]:
    """Return the medians over the repetitions; ratios are medians of the ratios within each repetition."""

    def rate(rates: dict[str, Rate], name: str) -> float:
        return rates[name].n_files / rates[name].duration_s

    def figures(name: str) -> dict[str, Any]:
        return {
            "files_per_s": statistics.median(rate(rates, name) for rates in rounds),
            "cpu_s": {who: statistics.median(r[name].cpu_s[who] for r in rounds) for who in rounds[0][name].cpu_s},
            "duration_s": statistics.median(r[name].duration_s for r in rounds),
        }

    return {
        "produce_to_fabio_open": statistics.median(rate(r, "produce cbf") / rate(r, "fabio.open") for r in rounds),
        "decode_to_fabio": statistics.median(rate(r, "decode") / rate(r, "fabio decode") for r in rounds),
        "rates": {name: figures(name) for name in rounds[0]},
        "rounds": [{name: asdict(one) for name, one in rates.items()} for rates in rounds],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=list(MODELS), default="6M", help="detector (default: 6M)")
    parser.add_argument("--files", type=int, metavar="N", default=100, help="files of a scan (default: 100)")
    parser.add_argument("--repeats", type=int, metavar="N", default=5, help="rounds (default: 5)")
    parser.add_argument("--folder", type=Path, help="where files are made (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single measurement")
    options = parser.parse_args()
    with files(options.folder, options.size, options.files) as paths:
        file_bytes = statistics.mean(path.stat().st_size for path in paths)
        memory_bytes = MINIMUM_MEMORY_BYTES + int(len(paths) * file_bytes * 1.3)
        with EmbeddedServer(memory_bytes=memory_bytes) as server:
            found = summary(measure(paths, server, options.repeats))
    found |= {"size": options.size, "file_bytes": file_bytes, "n_cpus": os.cpu_count()}
    if options.json:
        print(json.dumps(found))
        return
    print(f"PILATUS {options.size}, {len(paths)} files of {file_bytes / 1e6:.2f} MB, median of {options.repeats}")
    print(f"{'':<16}{'files/s':>9}{'MB/s':>7}{'ms':>7}  CPU s of each process, and as a share of the time")
    for name, one in found["rates"].items():
        shares = "  ".join(f"{who} {s:.2f} ({s / one['duration_s']:.0%})" for who, s in one["cpu_s"].items())
        rate = one["files_per_s"]
        print(f"{name:<16}{rate:>9.1f}{rate * file_bytes / 1e6:>7.0f}{1e3 / rate:>7.2f}  {shares}")
    print(f"produce cbf / fabio.open: {found['produce_to_fabio_open']:.2f}")
    print(f"decode / fabio decode: {found['decode_to_fabio']:.2f}")


if __name__ == "__main__":
    main()
