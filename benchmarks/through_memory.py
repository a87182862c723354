"""More frames than memory: what a group that slept missed comes from disk, every frame once, in order, bytes equal.

    python benchmarks/through_memory.py [--gb 20] [--memory 1GiB] [--folder DIR] [--json]

`stream broker run --spill --shared-memory off`, a producer and a consumer, each a process. The consumer's group joins
before the first frame and sleeps until half of the frames are sent; then it catches up. Every frame differs from all
others. The producer notes the XXH3-64 of each payload before it is sent, the consumer that of each payload it was
given, and the two lists have to be the same, as have the receipts of the broker and of the folder on disk. The server's
memory is read all the time; its highest reading has to stay below its limit.

At the end the server's limit is set so low that the broker writes what is still in memory to disk, too. All files are
removed. Ends with status 1 where anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from beamstream import Address, Consumer, Producer
from beamstream.protocol.client import Server
from beamstream.receipt import chain
from beamstream.sizes import parse_bytes
from beamstream.streams import stream_state
from broker_process import Child, MemoryWatch, Progress, ProofError, RunningBroker, need_disk, running_broker

ADDRESS = Address("proof", "memory", "run")
GROUP = "sleeper"
N_BASES = 8
"""Different frames beneath the number that each one carries: making a new one costs a copy, no random numbers."""

DISK_SHARE = 1.02
"""Bytes on disk for each byte of payload: record heads, index and metadata."""

SPARE_BYTES = 500_000_000
"""What is left to others on the disk [bytes]."""

LOOK_EVERY_S = 0.2
LOWEST_LIMIT_BYTES = 1 << 20
"""A limit below what the server needs for itself: everything has to go to disk."""

ALL_ON_DISK_TIMEOUT_S = 120.0
"""How long the last frames may take from memory to disk [s]."""


class Frames:
    """Frames of random bytes, each with its number at both ends."""

    def __init__(self, frame_bytes: int) -> None:
        rng = np.random.default_rng(3)
        self._bases = [rng.bytes(frame_bytes) for _ in range(N_BASES)]

    def __getitem__(self, message_id: int) -> bytearray:
        frame = bytearray(self._bases[message_id % N_BASES])
        frame[:8] = frame[-8:] = message_id.to_bytes(8, "big")
        return frame


def produce(url: str, n_frames: int, frame_bytes: int, said: Connection) -> None:
    """Send all frames as fast as the broker takes them; tell their checksums and the seconds it took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    frames, checksums = Frames(frame_bytes), array("Q")
    began = time.perf_counter()
    with Producer(
        ADDRESS,
        broker=url,
        n_expected=n_frames,
        queue_bytes=max(4 * frame_bytes, 32 << 20),
        block_timeout_s=None,
        retry_timeout_s=None,
    ) as producer:
        for message_id in range(1, n_frames + 1):
            frame = frames[message_id]
            checksums.append(xxhash.xxh3_64_intdigest(frame))
            producer.send(message_id, frame, shape=(frame_bytes // 2,), dtype="<u2")
        producer.finish()
        counts = producer.counts
        said.send(
            {
                "checksums": checksums,
                "s": time.perf_counter() - began,
                "n_failed": counts.n_failed,
                "n_held_back": counts.n_held_back,
            }
        )


def consume(url: str, n_frames: int, said: Connection) -> None:
    """Join, sleep until half of the frames are sent, then read them all; tell ids and checksums of what came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server, ids, checksums = Server(url), array("Q"), array("Q")
    with Consumer(ADDRESS, broker=url, group=GROUP, required=True, wait_for_stream=True) as consumer:
        said.send({"joined": True})
        while stream_state(server, ADDRESS).n_received < n_frames // 2:
            time.sleep(LOOK_EVERY_S)
        began = time.perf_counter()
        for frame in consumer:
            ids.append(frame.message_id)
            checksums.append(xxhash.xxh3_64_intdigest(frame.payload))
        seconds = time.perf_counter() - began
        counts = consumer.counts
        lost = {"skipped": counts.n_skipped, "corrupt": counts.n_corrupt, "missing": counts.n_missing}
    said.send({"ids": ids, "checksums": checksums, "s": seconds, "lost": lost})


def run(broker: RunningBroker, folder: Path, limit_bytes: int, n_frames: int, frame_bytes: int) -> dict[str, Any]:
    """Send and read all frames; return every figure."""
    server, progress = Server(broker.url), Progress()
    began = time.perf_counter()
    with MemoryWatch(broker.url) as memory:
        consumer = Child(consume, broker.url, n_frames)
        producer = Child(produce, broker.url, n_frames, frame_bytes)
        consumer.tell()
        while not consumer.ended(LOOK_EVERY_S):
            state = stream_state(server, ADDRESS)
            progress.show(
                f"{state.n_received} of {n_frames} frames sent, {len(list(folder.rglob('*.seg')))} segments, "
                f"memory {memory.used_bytes / 1e6:.0f} of {limit_bytes / 1e6:.0f} MB at most, "
                f"{time.perf_counter() - began:.0f} s"
            )
        read = consumer.tell()
        sent = producer.tell()
        progress.clear()
    everything_to_disk(server)
    return {
        "n_frames": n_frames,
        "frame_bytes": frame_bytes,
        "total_gb": n_frames * frame_bytes / 1e9,
        "memory_limit_bytes": limit_bytes,
        "highest_used_bytes": memory.used_bytes,
        "highest_resident_bytes": memory.resident_bytes,
        "n_memory_readings": memory.n_readings,
        "sent_s": sent["s"],
        "sent_gb_per_s": n_frames * frame_bytes / sent["s"] / 1e9,
        "caught_up_s": read["s"],
        "caught_up_gb_per_s": n_frames * frame_bytes / read["s"] / 1e9,
        "total_s": time.perf_counter() - began,
        "n_held_back": sent["n_held_back"],
        "receipt_online": f"{receipt(str(ADDRESS), '--broker', broker.url)['checksum']}",
        "receipt_on_disk": f"{receipt(str(folder / str(ADDRESS)))['checksum']}",
        "chain_of_what_was_sent": f"{chain(enumerate(sent['checksums'], start=1)):016x}",
        "flaws": list(find_flaws(n_frames, sent, read, memory.used_bytes, limit_bytes)),
    }


def everything_to_disk(server: Server) -> None:
    """Let the broker write what is still in memory to disk, too, by leaving it none."""
    server.call("CONFIG", "SET", "maxmemory", LOWEST_LIMIT_BYTES)
    ends_at = time.monotonic() + ALL_ON_DISK_TIMEOUT_S
    while stream_state(server, ADDRESS).memory_bytes:
        if time.monotonic() > ends_at:
            raise ProofError("the broker does not write the last frames to disk")
        time.sleep(LOOK_EVERY_S)


def receipt(where: str, *options: str) -> dict[str, Any]:
    """Return what `stream receipt` prints."""
    command = [sys.executable, "-m", "beamstream.cli", "receipt", where, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProofError(f"'stream receipt {where}' ends with {done.returncode}: {done.stdout} {done.stderr}")
    drawn: dict[str, Any] = json.loads(done.stdout)
    return drawn


def find_flaws(
    n_frames: int, sent: dict[str, Any], read: dict[str, Any], used_bytes: int, limit_bytes: int
) -> Iterator[str]:
    """Yield what is not as it has to be, in words."""
    if sent["n_failed"]:
        yield f"{sent['n_failed']} frames could not be sent"
    if list(read["ids"]) != list(range(1, n_frames + 1)):
        n_once = len(set(read["ids"]))
        yield f"{len(read['ids'])} frames came, {n_once} different ones, not 1 to {n_frames} in order"
    elif read["checksums"] != sent["checksums"]:
        n_wrong = sum(a != b for a, b in zip(read["checksums"], sent["checksums"], strict=True))
        yield f"{n_wrong} frames have other bytes than were sent"
    if any(read["lost"].values()):
        yield f"the consumer counts {read['lost']}"
    if used_bytes > limit_bytes:
        yield f"the server used {used_bytes} bytes, its limit is {limit_bytes}"


def compare(found: dict[str, Any]) -> None:
    """Add to the flaws where the three checksum chains differ."""
    names = ("chain_of_what_was_sent", "receipt_online", "receipt_on_disk")
    if len({found[name] for name in names}) != 1:
        found["flaws"].append("the checksums over all differ: " + ", ".join(f"{name} {found[name]}" for name in names))


def print_found(found: dict[str, Any]) -> None:
    limit = found["memory_limit_bytes"]
    print(
        f"{found['n_frames']} frames of {found['frame_bytes']} B, {found['total_gb']:.1f} GB, "
        f"through {limit / 2**20:.0f} MiB in {found['total_s']:.0f} s"
    )
    print(f"sent at {found['sent_gb_per_s']:.2f} GB/s; the group slept for the first half of the frames, then read")
    print(f"all of them at {found['caught_up_gb_per_s']:.2f} GB/s while the second half was sent")
    print(f"the producer was held back {found['n_held_back']} times by a full memory")
    for name in ("used", "resident"):
        highest = found[f"highest_{name}_bytes"]
        print(
            f"highest reading of {name} memory: {highest / 2**20:.1f} MiB, {highest / limit:.1%} of the limit "
            f"({found['n_memory_readings']} readings)"
        )
    for name in ("chain_of_what_was_sent", "receipt_online", "receipt_on_disk"):
        print(f"{name.replace('_', ' '):24} {found[name]}")
    print("every frame once, in order, checksums equal" if not found["flaws"] else "FAILED")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=20.0, help="payload in all [GB]")
    parser.add_argument("--memory", default="1GiB", help="the server's memory")
    parser.add_argument("--frame-bytes", type=int, default=1 << 20, help="size of a frame [bytes]")
    parser.add_argument("--folder", type=Path, help="on the disk that takes the segments; default: the temporary one")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    n_frames = max(2, int(options.gb * 1e9) // options.frame_bytes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="beamstream-proof-") as name:
            folder = Path(name)
            need_disk(folder, int(n_frames * options.frame_bytes * DISK_SHARE) + SPARE_BYTES)
            with running_broker(options.memory, folder, "--shared-memory", "off") as broker:
                found = run(broker, folder, parse_bytes(options.memory), n_frames, options.frame_bytes)
        compare(found)
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(found))
    else:
        print_found(found)
    for flaw in found["flaws"]:
        print(flaw, file=sys.stderr)
    return 1 if found["flaws"] else 0


if __name__ == "__main__":
    sys.exit(main())
