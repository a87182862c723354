"""How fast the broker moves frames from memory to disk, beside a plain file of the same bytes on the same disk.

    python benchmarks/spill.py [--gb 1] [--rounds 7] [--folder DIR] [--json]

The real path: `stream broker run --spill` as a process, frames in its server's memory; then the server's limit is
lowered, and the clock runs until the state of the stream says that everything is safe on disk and has left memory. The
plain file is written 1 MiB at a time from memory that was used before, with `fdatasync` after every 32 MiB, the same as
the broker does. The two take turns, in each round the other one first; the ratio is that of the medians. The first
round is not counted.

Before the first round the machine's free memory is filled with cached pages of a file that is all hole, as on a machine
that has been up for a while: what is written then goes to memory that the machine has in hand. On a virtual machine the
first touch of a free page can cost more than the disk. `--cold` leaves that out.

Ends with status 1 where the ratio is below 0.8.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from beamstream import Address, Producer
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.streams import delete_stream, stream_state
from broker_process import Progress, ProofError, RunningBroker, need_disk, running_broker

TARGET = 0.8
"""What the broker has to reach of the plain file's rate."""

FRAME_BYTES = 1 << 20
SYNC_BYTES = 32 << 20
"""Bytes between two syncs of the plain file [bytes]; `beamstream_broker.spilling.PAGE_BYTES`."""

N_FRAMES_OF_OWN = 64
"""Different frames: more than one page of the broker's."""

MEMORY_SHARE = 1.3
"""Memory of the server for each byte of frames, so that nothing is spilled before the clock runs."""

LOOK_EVERY_S = 0.005
TIMEOUT_S = 300.0
LOWEST_LIMIT_BYTES = 1 << 20


def fill(broker: RunningBroker, address: Address, frames: list[bytes], n_frames: int) -> None:
    """Put frames into the server's memory."""
    with Producer(address, broker=broker.url, block_timeout_s=None) as producer:
        for message_id in range(1, n_frames + 1):
            producer.send(message_id, frames[message_id % len(frames)])
        producer.finish()
        if producer.counts.n_failed:
            raise ProofError(f"{producer.counts.n_failed} frames could not be sent")


def spill(server: Server, address: Address, memory_bytes: int) -> float:
    """Return the seconds until everything of a stream is safe on disk and has left memory."""
    keys = StreamKeys(address)
    began = time.perf_counter()
    server.call("CONFIG", "SET", "maxmemory", LOWEST_LIMIT_BYTES)
    while int(server.call("HGET", keys.state, "memory_bytes")) > 0:
        if time.perf_counter() - began > TIMEOUT_S:
            raise ProofError("the broker does not write the frames to disk")
        time.sleep(LOOK_EVERY_S)
    seconds = time.perf_counter() - began
    server.call("CONFIG", "SET", "maxmemory", memory_bytes)
    return seconds


def write_plain(path: Path, frames: list[bytes], n_frames: int) -> float:
    """Return the seconds that a plain sequential write of the same frames takes."""
    began = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    unsynced_bytes = 0
    for message_id in range(1, n_frames + 1):
        unsynced_bytes += os.write(descriptor, frames[message_id % len(frames)])
        if unsynced_bytes >= SYNC_BYTES:
            os.fdatasync(descriptor)
            unsynced_bytes = 0
    os.fdatasync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - began


def fill_cache(path: Path) -> None:
    """Read a file that is as large as the free memory, and all hole."""
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    buffer = memoryview(bytearray(4 << 20))
    with path.open("wb") as file:
        file.truncate(free_bytes)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def measure(folder: Path, n_frames: int, n_rounds: int, *, warm: bool) -> dict[str, list[float]]:
    """Return the seconds of each turn."""
    rng = np.random.default_rng(5)
    frames = [rng.bytes(FRAME_BYTES) for _ in range(N_FRAMES_OF_OWN)]
    memory_bytes = int(n_frames * FRAME_BYTES * MEMORY_SHARE)
    seconds: dict[str, list[float]] = {"spill": [], "plain": []}
    progress = Progress()
    with running_broker(str(memory_bytes), folder, "--shared-memory", "off") as broker:
        server = Server(broker.url)
        if warm:
            progress.show("filling the free memory with cached pages")
            fill_cache(folder / "hole")
        for number in range(n_rounds + 1):
            progress.show(f"round {number} of {n_rounds}" if number else "warming up")
            address = Address("proof", "spill", f"run_{number}")
            fill(broker, address, frames, n_frames)
            if stream_state(server, address).memory_bytes != n_frames * FRAME_BYTES:
                raise ProofError("frames left memory before the clock ran")
            turns = ("spill", "plain") if number % 2 else ("plain", "spill")
            for turn in turns:
                if turn == "spill":
                    seconds[turn].append(spill(server, address, memory_bytes))
                else:
                    seconds[turn].append(write_plain(folder / f"plain_{number}", frames, n_frames))
            delete_stream(server, address)
        progress.clear()
    return {turn: all_of[1:] for turn, all_of in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0, help="payload of each turn [GB]")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--folder", type=Path, help="on the disk that is measured; default: the temporary folder")
    parser.add_argument("--cold", action="store_true", help="leave the free memory as it is")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    n_frames = max(1, int(options.gb * 1e9) // FRAME_BYTES)
    total_bytes = n_frames * FRAME_BYTES
    try:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="beamstream-proof-") as name:
            need_disk(Path(name), int(2.1 * total_bytes) * (options.rounds + 1))
            seconds = measure(Path(name), n_frames, options.rounds, warm=not options.cold)
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    rates = {turn: [total_bytes / one / 1e9 for one in all_of] for turn, all_of in seconds.items()}
    medians = {turn: statistics.median(all_of) for turn, all_of in rates.items()}
    ratio = medians["spill"] / medians["plain"]
    overall = sum(seconds["plain"]) / sum(seconds["spill"])
    if options.json:
        print(
            json.dumps(
                {
                    "total_bytes": total_bytes,
                    "gb_per_s": rates,
                    "median_gb_per_s": medians,
                    "ratio": ratio,
                    "ratio_of_all_time": overall,
                }
            )
        )
    else:
        for turn, name in (("spill", "memory to disk by the broker"), ("plain", "plain write and fdatasync")):
            single = ", ".join(f"{rate:.3f}" for rate in rates[turn])
            print(f"{name:30} {medians[turn]:.3f} GB/s  (median of {single})")
        print(f"ratio {ratio:.2f} of the medians, {overall:.2f} of all time; at least {TARGET} is wanted")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
