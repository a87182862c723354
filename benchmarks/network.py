"""How fast the memory tier is beside a bare redis-py loop: one producer, one group, in one run, interleaved, medians.

    python benchmarks/network.py [--size 1MiB …] [--bytes 512MiB] [--repeats N] [--over unix] [--json]

| figure | what is timed                                                                                             |
|--------|-----------------------------------------------------------------------------------------------------------|
| ours   | a process with a `Producer`, another with a `Consumer` and a group; the consumer verifies the XXH3 of     |
|        | every payload, as it always does                                                                          |
| bare   | a process that SETs the same payloads under rotating keys by redis-py with hiredis, another that GETs and |
|        | UNLINKs them in one round trip and takes the XXH3 of each; two semaphores outside of the server tell them |
|        | which keys are there and which are free                                                                   |

Both against the same embedded server with the same settings, over the same kind of socket, and both read every byte
once in the reading process. The clock runs from the first send to the last payload in the reader's hands. Of ours
nothing is released before the end: a round's bytes lie in the server all at once, while the bare loop goes round in
`--keys` of them. A first round of each is not counted: after it, server and clients have the memory that they reuse.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import redis
import xxhash

from beamstream import Address, Consumer, Producer
from beamstream.protocol.client import Server
from beamstream.sizes import parse_bytes
from beamstream.streams import delete_stream
from beamstream_broker.bench.processor_time import used_by_s
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES, EmbeddedServer
from pipeline_processes import BenchmarkError

ADDRESS = Address("benchmark", "network", "run")
N_DISTINCT = 8
"""Different payloads that are sent by turns: more than a cache of a core holds, and made once."""

N_KEYS = 16
"""Keys that the bare loop goes round in: more than two processes are ever apart."""

SPARE_MEMORY = 1.25
"""What the server may take for each byte of a round."""

PROCESSES = ("sender", "server", "reader")
SIZES = ("1MiB",)


# --- the processes -------------------------------------------------------------------------------------------------


def payloads_of(payload_bytes: int) -> list[bytes]:
    """Return the payloads that are sent by turns."""
    rng = random.Random(payload_bytes)
    return [rng.randbytes(payload_bytes) for _ in range(N_DISTINCT)]


def produce(url: str, orders: Connection) -> None:
    """Send what is ordered: (payload bytes, how many); tell when the first was sent, and the CPU time of all."""
    while order := orders.recv():
        payload_bytes, n_messages, address = order
        payloads = payloads_of(payload_bytes)
        with Producer(address, broker=url, n_expected=n_messages, tier="memory") as producer:
            orders.send("ready")
            orders.recv()
            used_s, began_ns = time.process_time(), time.monotonic_ns()
            for message_id in range(1, n_messages + 1):
                producer.send(message_id, payloads[message_id % N_DISTINCT])
            producer.flush()
            used_s = time.process_time() - used_s
            producer.finish()
        orders.send((began_ns, used_s))


def consume(url: str, orders: Connection) -> None:
    """Read what is ordered; tell when the last payload was there, and the CPU time of all."""
    while order := orders.recv():
        payload_bytes, n_messages, address = order
        with Consumer(address, broker=url, group="all", wait_for_stream=True) as consumer:
            orders.send("ready")
            orders.recv()
            used_s, n_bytes, ended_ns = time.process_time(), 0, 0
            for n_read, frame in enumerate(consumer, start=1):
                n_bytes += len(frame.payload)
                if n_read == n_messages:
                    ended_ns, used_s = time.monotonic_ns(), time.process_time() - used_s
            if n_bytes != payload_bytes * n_messages or consumer.counts.n_corrupt:
                raise BenchmarkError(f"{n_bytes} bytes came, {consumer.counts}")
        orders.send((ended_ns, used_s))


def put(url: str, orders: Connection, there: Semaphore, free: Semaphore) -> None:
    """SET what is ordered."""
    client = redis.Redis.from_url(url)
    while order := orders.recv():
        payload_bytes, n_messages, n_keys = order
        payloads = payloads_of(payload_bytes)
        orders.send("ready")
        orders.recv()
        used_s, began_ns = time.process_time(), time.monotonic_ns()
        for number in range(n_messages):
            free.acquire()
            client.set(f"bare:{number % n_keys}", payloads[number % N_DISTINCT])
            there.release()
        orders.send((began_ns, time.process_time() - used_s))


def get(url: str, orders: Connection, there: Semaphore, free: Semaphore) -> None:
    """GET and UNLINK what was SET."""
    client = redis.Redis.from_url(url)
    while order := orders.recv():
        payload_bytes, n_messages, n_keys = order
        sums = {xxhash.xxh3_64_intdigest(payload) for payload in payloads_of(payload_bytes)}
        orders.send("ready")
        orders.recv()
        used_s = time.process_time()
        for number in range(n_messages):
            there.acquire()
            pipeline = client.pipeline(transaction=False)
            pipeline.get(f"bare:{number % n_keys}")
            pipeline.unlink(f"bare:{number % n_keys}")
            payload = pipeline.execute()[0]
            free.release()
            if xxhash.xxh3_64_intdigest(payload) not in sums:
                raise BenchmarkError("the bare loop has read other bytes than were set")
        orders.send((time.monotonic_ns(), time.process_time() - used_s))


def page_faults(pid: int | None) -> int:
    """Return how often the kernel had to give a process a page of memory."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


class Worker:
    """A process that does what it is ordered to."""

    def __init__(self, work: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.orders, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(arguments[0], theirs, *arguments[1:]), daemon=True)
        self.process.start()
        theirs.close()

    def prepare(self, order: Sequence[Any]) -> None:
        """Have it stand ready."""
        self.orders.send(order)
        self.orders.recv()


class Pair:
    """A process that sends and one that reads."""

    def __init__(self, url: str, server_pid: int, sends: Any, reads: Any, *arguments: Any) -> None:
        self._server_pid = server_pid
        self.sender, self.reader = Worker(sends, url, *arguments), Worker(reads, url, *arguments)

    def measure(self, payload_bytes: int, n_messages: int, what: Any) -> dict[str, float]:
        """Let so many through; returns GB/s, and CPU seconds for each GB."""
        order = (payload_bytes, n_messages, what)
        self.sender.prepare(order)
        self.reader.prepare(order)
        pids = {"sender": self.sender.process.pid, "server": self._server_pid, "reader": self.reader.process.pid}
        faults = {who: page_faults(pid) for who, pid in pids.items()}
        server_s = used_by_s(self._server_pid)
        self.reader.orders.send("go")
        self.sender.orders.send("go")
        began_ns, sender_s = self.sender.orders.recv()
        ended_ns, reader_s = self.reader.orders.recv()
        server_s = used_by_s(self._server_pid) - server_s
        faults = {who: page_faults(pid) - faults[who] for who, pid in pids.items()}
        gb = payload_bytes * n_messages / 1e9
        return {
            **{f"{who}_faults_per_mib": n * 2**20 / 1e9 / gb for who, n in faults.items()},
            "gb_per_s": gb / ((ended_ns - began_ns) / 1e9),
            "sender_cpu_s_per_gb": sender_s / gb,
            "reader_cpu_s_per_gb": reader_s / gb,
            "server_cpu_s_per_gb": server_s / gb,
        }

    def end(self) -> None:
        """Send both home."""
        for worker in (self.sender, self.reader):
            worker.orders.send(None)
            worker.process.join()


@contextmanager
def pair(*arguments: Any) -> Iterator[Pair]:
    """Run two processes for as long as the block lasts."""
    both = Pair(*arguments)
    try:
        yield both
        both.end()
    finally:
        for worker in (both.sender, both.reader):
            worker.process.terminate()


# --- what is measured ----------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of every size."""
    memory_bytes = MINIMUM_MEMORY_BYTES + int(SPARE_MEMORY * parse_bytes(options.bytes))
    sizes = [parse_bytes(size) for size in options.size or SIZES]
    rounds: dict[int, list[dict[str, dict[str, float]]]] = {size: [] for size in sizes}
    context = multiprocessing.get_context("spawn")
    there, free = context.Semaphore(0), context.Semaphore(options.keys)
    with EmbeddedServer(memory_bytes=memory_bytes, port=0 if options.over == "tcp" else None) as server:
        url = (server.tcp_url if options.over == "tcp" else server.url) or ""
        with (
            pair(url, server.pid, produce, consume) as ours,
            pair(url, server.pid, put, get, there, free) as bare,
        ):
            for repetition in range(options.repeats + 1):
                for size in sizes:
                    n_messages = max(2, parse_bytes(options.bytes) // size)
                    address = ADDRESS
                    found = {"ours": ours.measure(size, n_messages, address)}
                    delete_stream(Server(url), address)
                    found["bare"] = bare.measure(size, n_messages, options.keys)
                    if repetition:
                        rounds[size].append(found)
    return [summary(size, options, rounds[size]) for size in sizes]


def summary(size: int, options: argparse.Namespace, rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the medians; the ratio is that of the ratios within each round."""
    return {
        "payload_bytes": size,
        "over": options.over,
        "n_repeats": len(rounds),
        "ratio_to_bare": statistics.median(one["ours"]["gb_per_s"] / one["bare"]["gb_per_s"] for one in rounds),
        **{
            who: {name: statistics.median(one[who][name] for one in rounds) for name in rounds[0][who]}
            for who in rounds[0]
        },
        "rounds": list(rounds),
    }


def print_table(found: dict[str, Any]) -> None:
    """Print one size for people."""
    print(
        f"\n{found['payload_bytes'] / 2**20:g} MiB over {found['over']}, median of {found['n_repeats']}: "
        f"ours / bare {found['ratio_to_bare']:.2f}"
    )
    print(f"{'':<6}{'GB/s':>7}{'CPU s/GB: sender, server, reader':>36}{'page faults/MiB: the same':>29}")
    for who in ("ours", "bare"):
        rate = found[who]
        used = "".join(f"{rate[f'{one}_cpu_s_per_gb']:8.2f}" for one in PROCESSES)
        faults = "".join(f"{rate[f'{one}_faults_per_mib']:8.0f}" for one in PROCESSES)
        print(f"{who:<6}{rate['gb_per_s']:7.2f}{used:>36}{faults:>29}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="of a payload; may be given again (default: 1MiB)")
    parser.add_argument("--bytes", default="512MiB", help="payload of a round (default: 512MiB)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--keys", type=int, default=N_KEYS, help=f"of the bare loop (default: {N_KEYS})")
    parser.add_argument("--over", choices=("unix", "tcp"), default="unix", help="socket (default: unix)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, with every single measurement")
    options = parser.parse_args()
    try:
        found = measure(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"n_cpus": os.cpu_count(), "sizes": found}))
    else:
        for one in found:
            print_table(one)
    return 0


if __name__ == "__main__":
    sys.exit(main())
