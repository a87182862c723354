"""Shared memory against the server's own: one producer, several groups that each read every byte; and a paced run.

    python benchmarks/shared_memory.py [--groups 3] [--size 1MiB] [--gb 40] [--repeats 3] [--memory 2GiB] [--json]
    python benchmarks/shared_memory.py --paced 9000 --seconds 60 [--json]

The first compares the two tiers, taken in turns; medians of the repetitions. The second sends frames of an Eiger 500k
(514 x 1030, uint16, bslz4, about 100 kB) at a rate to one group. `stream broker run`, the producer and each reader are
processes of their own. All groups are required, so nothing may be dropped; every reader computes the XXH3-64 of every
payload. Segments and connections are warm: the clock runs from the moment when twice the memory has gone through.

Ends with status 1 where a message is missing, or with `--paced` where the rate is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from beamstream import Address, Consumer, Producer, codecs
from beamstream.errors import BeamstreamError
from beamstream.producer.storing import Tier
from beamstream.protocol.client import Server
from beamstream.sizes import parse_bytes
from beamstream.streams import delete_stream
from broker_process import Child, ProofError, running_broker

SOURCE = "proof/shared"
N_DIFFERENT = 8
"""Different payloads that are sent in turns."""

EIGER_500K = (514, 1030)
PATIENCE_S = 60.0
KEPT_SHARE = 0.99
"""Share of the wanted rate that counts as kept: the last message may be as late as the scheduler makes it."""


def eiger_payloads() -> list[bytes]:
    """Return compressed frames of an Eiger 500k: some photons on most pixels, a few strong ones."""
    random = np.random.default_rng(7)
    frames = []
    for _ in range(N_DIFFERENT):
        image = random.poisson(0.35, EIGER_500K).astype(np.uint16)
        image[tuple(random.integers(0, edge, 200) for edge in EIGER_500K)] += 1000
        frames.append(bytes(codecs.encode(image, "bslz4")))
    return frames


def produce(
    url: str, stream: str, tier: Tier, payloads: list[bytes], n_warm: int, n: int, rate_hz: float, said: Connection
) -> None:
    """Send, first without a clock; tell how long the rest took until all of it was in the buffer."""
    shape: dict[str, Any] = {"shape": EIGER_500K, "dtype": "<u2", "codec": "bslz4"} if rate_hz else {}
    with Producer(stream, broker=url, tier=tier, block_timeout_s=PATIENCE_S) as producer:
        for i in range(1, n_warm + 1):
            producer.send(i, payloads[i % N_DIFFERENT], **shape)
        producer.flush()
        began_s, used_s, behind_s = time.monotonic(), time.process_time(), 0.0
        for i in range(n):
            if rate_hz:
                left_s = began_s + i / rate_hz - time.monotonic()
                behind_s = max(behind_s, -left_s)
                if left_s > 0:
                    time.sleep(left_s)
            producer.send(n_warm + i + 1, payloads[i % N_DIFFERENT], **shape)
        producer.flush()
        took_s = time.monotonic() - began_s
        producer.finish()
        said.send({"took_s": took_s, "cpu_s": time.process_time() - used_s, "behind_s": behind_s,
                   "held_back": producer.counts.n_held_back})  # fmt: skip


def consume(url: str, stream: str, group: str, n_warm: int, said: Connection) -> None:
    """Read all, and tell how long that took from the first message after the warm ones."""
    n, began_s, used_s = 0, 0.0, 0.0
    delays_s = []
    with Consumer(stream, broker=url, group=group, required=True, wait_for_stream=True) as consumer:
        said.send({"ready": True})
        for frame in consumer:
            n += 1
            if n > n_warm:
                if not began_s:
                    began_s, used_s = time.monotonic(), time.process_time()
                delays_s.append((time.time_ns() - frame.header.timestamp_ns) / 1e9)
        said.send({
            "n": n, "took_s": time.monotonic() - began_s, "cpu_s": time.process_time() - used_s,
            "delays_s": [float(np.percentile(delays_s, q)) for q in (50, 99, 100)],
            "skipped": consumer.counts.n_skipped,
        })  # fmt: skip


def run(
    url: str, tier: Tier, payloads: list[bytes], n_groups: int, n_warm: int, n: int, rate_hz: float = 0
) -> dict[str, Any]:
    """Run a producer and its readers once; returns what was measured."""
    stream = f"{SOURCE}/{tier}"
    with Producer(stream, broker=url):
        pass  # so that groups can join before the first message
    readers = [Child(consume, url, stream, f"g{number}", n_warm) for number in range(n_groups)]
    for reader in readers:
        reader.tell()
    sent = Child(produce, url, stream, tier, payloads, n_warm, n, rate_hz).tell()
    read = [reader.tell() for reader in readers]
    delete_stream(Server(url), Address.parse(stream))
    if any(one["n"] != n_warm + n or one["skipped"] for one in read):
        raise ProofError(f"{tier}: of {n_warm + n} messages the groups got {[one['n'] for one in read]}")
    took_s = max(sent["took_s"], *(one["took_s"] for one in read))
    n_bytes = sum(len(payloads[i % N_DIFFERENT]) for i in range(n))
    return {
        "tier": tier,
        "gb_s": n_bytes / took_s / 1e9,
        "gbit_s": 8 * n_bytes / took_s / 1e9,
        "messages_s": n / took_s,
        "producer_us": sent["cpu_s"] / n * 1e6,
        "reader_us": [one["cpu_s"] / n * 1e6 for one in read],
        "delays_ms": [round(1e3 * one, 2) for one in max(one["delays_s"] for one in read)],
        "behind_ms": round(1e3 * sent["behind_s"], 1),
        "held_back": sent["held_back"],
    }


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both tiers in turns; returns the median run of each, the ratio beside the first."""
    size = parse_bytes(arguments.size)
    payloads = [os.urandom(size) for _ in range(N_DIFFERENT)]
    n = int(arguments.gb * 1e9 / size)
    runs: dict[str, list[dict[str, Any]]] = {"shared": [], "memory": []}
    with running_broker(arguments.memory) as broker:
        for _ in range(arguments.repeats):
            for tier in ("shared", "memory"):
                share = 1 if tier == "shared" else 5  # the slower one need not take as long
                n_warm = 2 * parse_bytes(arguments.memory) // size
                runs[tier].append(run(broker.url, tier, payloads, arguments.groups, n_warm, n // share))  # type: ignore[arg-type]
                print(_line(runs[tier][-1]), file=sys.stderr)
    found = [sorted(of_tier, key=lambda one: one["gb_s"])[len(of_tier) // 2] for of_tier in runs.values()]
    pairs = zip(runs["shared"], runs["memory"], strict=True)
    found[0]["ratio"] = statistics.median(one["gb_s"] / other["gb_s"] for one, other in pairs)
    return found


def paced(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Send at a rate; raises `ProofError` where it is not kept."""
    payloads = eiger_payloads()
    n = int(arguments.paced * arguments.seconds)
    with running_broker(arguments.memory) as broker:
        found = run(
            broker.url, "shared", payloads, 1, 2 * parse_bytes(arguments.memory) // len(payloads[0]), n, arguments.paced
        )
    print(f"frames of {len(payloads[0])} bytes, {n} of them", file=sys.stderr)
    if found["messages_s"] < KEPT_SHARE * arguments.paced:
        raise ProofError(f"{found['messages_s']:.0f} messages/s where {arguments.paced:g} were wanted: {_line(found)}")
    return [found]


def _line(one: dict[str, Any]) -> str:
    readers = ", ".join(f"{us:.0f}" for us in one["reader_us"])
    return (
        f"{one['tier']:7} {one['gb_s']:6.2f} GB/s {one['gbit_s']:6.1f} Gb/s {one['messages_s']:8.0f} messages/s; "
        f"CPU per message: producer {one['producer_us']:.0f} us, readers {readers} us; "
        f"delay {one['delays_ms'][0]} ms (99 %: {one['delays_ms'][1]}, longest {one['delays_ms'][2]})"
    )


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--size", default="1MiB")
    parser.add_argument("--gb", type=float, default=40.0, help="how much is sent for one figure of shared memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--paced", type=float, default=0.0, metavar="HZ")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        found = paced(arguments) if arguments.paced else compare(arguments)
    except (ProofError, BeamstreamError) as error:
        print(f"not shown: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        print(_line(one))
    if "ratio" in found[0]:
        print(f"shared memory is {found[0]['ratio']:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
