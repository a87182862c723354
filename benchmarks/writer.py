"""How fast the `write` consumer writes, beside bare `write_direct_chunk` of the same chunks, in one run.

    python benchmarks/writer.py [--folder DIR] [--repeats 7] [--megabytes 2048] [--json]

Both write the same packed images to the same file system: bare, h5py with one dataset and nothing else; the writer as
the service loop calls it, with columns, commits as often as there (the process may die at any moment and nothing is
lost), one forced commit a second, receipt and rename. Making the file, flushing and one fsync at the end count for
both. They take turns, each turn in another order, and the ratio is that of the median times; that of the shortest ones
is given, too, as other programs, and memory that a virtual machine has to get first, make turns longer by chance, never
shorter. The folder is in memory unless it is named
(/dev/shm): where a disk is the limit both are as fast as it is, and nothing is seen of either. Readings of a counter
are given as messages per second.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import xxhash

from beamstream import Address, Frame, Header
from beamstream.service import StreamEnd, StreamStart
from beamstream_consumers.write import WriteHandler

ADDRESS = Address("bench", "eiger", "run")
SIZES = {"64 kB": (64_000, (512, 512)), "500 kB": (500_000, (1065, 1030)), "4 MB": (4_000_000, (2167, 2070)),
         "12 MB": (12_000_000, (4362, 4148))}  # fmt: skip
"""Packed bytes of an image, and its shape: small modules, Eiger 1M, 4M and 16M with much in them."""

N_DIFFERENT = 8
"""Different payloads; the others share them, so that making them costs no time."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "one file": {},
    "data files of 1000": {"images_per_file": 1000},
    "one of several writers": {"shared": True},
}

N_READINGS = 50_000


def frames_of(payload_bytes: int, shape: tuple[int, ...], n_frames: int) -> list[Frame]:
    """Return frames whose payloads claim to be such images packed; nobody unpacks them here."""
    rng = np.random.default_rng(0)
    n_pixel_bytes = int(np.prod(shape)) * 2
    head = n_pixel_bytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
    payloads = [head + rng.bytes(payload_bytes - len(head)) for _ in range(N_DIFFERENT)]
    checksums = [xxhash.xxh3_64_intdigest(payload) for payload in payloads]
    return [
        frame_of(number, payloads[number % N_DIFFERENT], checksums[number % N_DIFFERENT], "bslz4", shape, "<u2")
        for number in range(1, n_frames + 1)
    ]


def frame_of(number: int, payload: bytes, checksum: int, codec: str, shape: tuple[int, ...], dtype: str) -> Frame:
    """Return a frame as a detector's are."""
    header = Header(
        payload_bytes=len(payload),
        checksum=checksum,
        timestamp_ns=number * 1_000_000,
        codec=codec,
        shape=shape,
        dtype=dtype,
        metadata={"image_id": number - 1, "series_id": 7, "start_ns": number, "stop_ns": number, "real_ns": 1000},
    )
    return Frame(address=ADDRESS, message_id=number, header=header, payload=payload)


def write_bare(folder: Path, frames: Sequence[Frame]) -> None:
    """Write the chunks and nothing else."""
    shape = frames[0].shape
    with h5py.File(folder / "bare.h5", "w") as file:
        dataset = file.create_dataset(
            "data", (len(frames), *shape), "<u2", chunks=(1, *shape), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        for row, frame in enumerate(frames):
            dataset.id.write_direct_chunk((row, 0, 0), frame.payload)
        file.flush()
        os.fsync(file.id.get_vfd_handle())


def write_with(options: dict[str, Any]) -> Callable[[Path, Sequence[Frame]], None]:
    """Return what writes as `stream consume write` does."""

    def write(folder: Path, frames: Sequence[Frame]) -> None:
        handler = WriteHandler(folder, "run.nxs", min_free_bytes=0, **options)
        commits = handler.commits  # as the service loop
        handler.open(StreamStart(address=ADDRESS, metadata={}, n_expected=len(frames), broker=""))
        n_messages = n_bytes = 0
        committed_at = time.monotonic()
        for frame in frames:
            handler.handle(frame)
            n_messages, n_bytes = n_messages + 1, n_bytes + frame.header.payload_bytes
            if (
                n_messages >= commits.n_messages
                or n_bytes >= commits.n_bytes
                or time.monotonic() - committed_at >= commits.every_s
            ):
                handler.commit()
                n_messages, n_bytes, committed_at = 0, 0, time.monotonic()
        handler.commit()
        end = StreamEnd(last_id=len(frames), n_expected=len(frames), reason="complete", next_stream=None)
        report = handler.close(end)
        if report is None or report["n_written"] != len(frames):
            raise RuntimeError(f"not all was written: {report}")

    return write


def timed(work: Callable[[Path, Sequence[Frame]], None], folder: Path, frames: Sequence[Frame]) -> tuple[float, float]:
    """Return how long it takes, and how much of a core [s]; what was written is deleted."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        work(Path(place), frames)
        return time.perf_counter() - begin, time.process_time() - cpu_begin


def measure(folder: Path, name: str, n_bytes: int, repeats: int) -> dict[str, Any]:
    """Measure one size of images."""
    payload_bytes, shape = SIZES[name]
    n_frames = max(32, n_bytes // payload_bytes)
    frames = frames_of(payload_bytes, shape, n_frames)
    works = {"bare": write_bare, **{layout: write_with(options) for layout, options in LAYOUTS.items()}}
    times: dict[str, list[tuple[float, float]]] = {work: [] for work in works}
    for number in range(repeats + 1):
        order = [*works][number % len(works) :] + [*works][: number % len(works)]
        for work in order:
            taken = timed(works[work], folder, frames)
            if number:  # the first turn touches the memory
                times[work].append(taken)
    medians = {work: statistics.median(wall for wall, _ in taken) for work, taken in times.items()}
    shortest = {work: min(wall for wall, _ in taken) for work, taken in times.items()}
    cpu = {work: statistics.median(used for _, used in taken) for work, taken in times.items()}
    return {
        "size": name,
        "n_frames": n_frames,
        "mb_per_s": {work: n_frames * payload_bytes / taken / 1e6 for work, taken in medians.items()},
        "ratio_to_bare": {work: medians["bare"] / taken for work, taken in medians.items() if work != "bare"},
        "shortest_ratio_to_bare": {
            work: shortest["bare"] / taken for work, taken in shortest.items() if work != "bare"
        },
        "cpu_ratio_to_bare": {work: cpu["bare"] / used for work, used in cpu.items() if work != "bare"},
    }


def measure_readings(folder: Path, repeats: int) -> float:
    """Return how many readings of a counter are written per second."""
    payload = np.array([7], "<u4").tobytes()
    checksum = xxhash.xxh3_64_intdigest(payload)
    frames = [frame_of(number, payload, checksum, "none", (1,), "<u4") for number in range(1, N_READINGS + 1)]
    return N_READINGS / statistics.median(timed(write_with({}), folder, frames)[0] for _ in range(min(3, repeats)))


def main() -> int:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where files are written")  # noqa: S108
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=2048, help="of each size, and turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # what nobody said of these frames
    sizes = [measure(options.folder, name, options.megabytes * 1_000_000, options.repeats) for name in SIZES]
    readings_per_s = measure_readings(options.folder, options.repeats)
    if options.json:
        sys.stdout.write(json.dumps({"sizes": sizes, "readings_per_s": readings_per_s}) + "\n")
        return 0
    for found in sizes:
        rates = "  ".join(f"{work} {rate:.0f} MB/s" for work, rate in found["mb_per_s"].items())
        ratios = "  ".join(f"{work} {ratio:.2f}" for work, ratio in found["ratio_to_bare"].items())
        shortest = "  ".join(f"{ratio:.2f}" for ratio in found["shortest_ratio_to_bare"].values())
        used = "  ".join(f"{ratio:.2f}" for ratio in found["cpu_ratio_to_bare"].values())
        sys.stdout.write(f"{found['size']:>7}: {rates}\n         of bare: {ratios}\n")
        sys.stdout.write(f"         by the shortest turns: {shortest}; by time of a core: {used}\n")
    sys.stdout.write(f"readings of a counter: {readings_per_s:.0f}/s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
