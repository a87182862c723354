"""What binning 2 x 2 costs: compressed frame in, array out, beside unpacking alone; one thread, medians of one run.

    python benchmarks/binning.py [--data FOLDER] [--repeat 31] [--json]

Measured in turn, so that what else the machine does hits all alike: `unpack`, into one array that is used again;
`unpack, then bin`, what `stream consume bin` does; the same with the detector's mask; and `fused`, which unpacks some
rows into a buffer that stays in the cache, bins them, and goes on. Decision 0023 stands on these figures. The ratio is
the median over the rounds of each way's time through that of unpacking in the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import uintp

from beamstream import codecs
from beamstream.codecs.blocks import HEADER
from beamstream.codecs.kernels import BAD_LZ4, OK, _next_block, _unpack_lz4, _unshuffle
from beamstream.compiling import compiled
from beamstream_consumers.kernels import sum_blocks
from beamstream_consumers.kernels.sum_blocks import _sum_integers
from detector_frames import Sample, samples

FACTOR = 2
LIMIT = 2.5
"""What is asked for: at most so many times the time of unpacking."""

SLAB_ROWS = 64
"""Rows that the fused way unpacks at once: 265 kB of uint16, a share of the second-level cache."""


def fused(sample: Sample) -> npt.NDArray[Any]:
    """Unpack and bin slab by slab."""
    image = sample.image
    n_slow, n_fast = sum_blocks.binned_shape(image.shape, FACTOR)
    out = np.empty((n_slow, n_fast), sum_blocks.sum_dtype(image.dtype))
    payload = np.frombuffer(sample.payload, np.uint8)
    n_block = HEADER.unpack_from(payload.data)[1] // image.itemsize
    flag = image.dtype.type(np.iinfo(image.dtype).max)
    buffer = np.empty(SLAB_ROWS * image.shape[1] + n_block, image.dtype)
    status = _fused(payload, HEADER.size, image.shape[0], image.shape[1], n_block, FACTOR, flag, buffer, out)
    assert status == OK
    return out


@compiled
def _fused(
    src: npt.NDArray[np.uint8],
    start: int,
    n_slow: int,
    n_fast: int,
    n_block: int,
    factor: int,
    flag: Any,
    buffer: npt.NDArray[Any],
    out: npt.NDArray[Any],
) -> int:
    """Fill `buffer` block by block; whenever whole slabs are in it, bin them and move what is left to its front."""
    begin, end = uintp(start), uintp(start)
    n_grouped = n_slow * n_fast - n_slow * n_fast % 8
    words = np.empty(n_block // 8 * buffer.itemsize, np.uint64)
    packed_rows = words.view(np.uint8)
    plane = np.empty(n_block // 8, np.uint64)
    no_mask = np.zeros((1, 1), np.uint8)
    slab = SLAB_ROWS * n_fast
    have, done, row = 0, 0, 0
    while done < n_grouped:
        n = min(n_block, n_grouped - done)
        status, begin, end = _next_block(src, end)
        if status != OK:
            return status
        if not _unpack_lz4(src, begin, end, packed_rows, uintp(0), uintp(n * buffer.itemsize)):
            return BAD_LZ4
        _unshuffle(words, plane, buffer[have : have + n])
        have, done = have + n, done + n
        if have >= slab:
            part = buffer[:slab].reshape(SLAB_ROWS, n_fast)
            blocks = out[row // factor : (row + SLAB_ROWS) // factor]
            _sum_integers(part, factor, False, no_mask, True, flag, blocks)
            buffer[: have - slab] = buffer[slab:have]
            have, row = have - slab, row + SLAB_ROWS
    n_raw = n_slow * n_fast - n_grouped
    raw = src[src.size - n_raw * buffer.itemsize :]
    buffer[have : have + n_raw].view(np.uint8)[:] = raw
    if row < n_slow:
        rest = buffer[: (n_slow - row) * n_fast].reshape(n_slow - row, n_fast)
        _sum_integers(rest, factor, False, no_mask, True, flag, out[row // factor :])
    return OK


def measure(sample: Sample, n_repeats: int) -> dict[str, Any]:
    """Return the times of one frame [s] and their ratios to unpacking."""
    image = np.zeros_like(sample.image)
    flag = sum_blocks.flag_value(image.dtype)

    def unpack() -> npt.NDArray[Any]:
        return codecs.decode(sample.payload, "bslz4", image.shape, image.dtype, image)

    ways: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "unpack": unpack,
        "unpack, then bin": lambda: sum_blocks.sum_and_count(unpack(), FACTOR, masked_value=flag)[0],
        "the same with mask": lambda: sum_blocks.sum_and_count(unpack(), FACTOR, sample.mask, masked_value=flag)[0],
        "fused": lambda: fused(sample),
    }
    assert np.array_equal(ways["fused"](), ways["unpack, then bin"]()), sample.name
    ways["the same with mask"]()
    rounds: list[dict[str, float]] = []
    for _ in range(n_repeats):
        times: dict[str, float] = {}
        for name, call in ways.items():
            start_s = time.perf_counter()
            call()
            times[name] = time.perf_counter() - start_s
        rounds.append(times)
    return {
        "frame": sample.name,
        "shape": list(image.shape),
        "dtype": image.dtype.str,
        "packed_to_one": image.nbytes / len(sample.payload),
        "median_s": {name: statistics.median(one[name] for one in rounds) for name in ways},
        "ratio": {name: statistics.median(one[name] / one["unpack"] for one in rounds) for name in ways},
    }


def main() -> int:
    """Measure and print; status 1 if binning costs more than `LIMIT` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with captured data")
    parser.add_argument("--repeat", type=int, default=31, help="rounds for each frame (default: 31)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = [measure(sample, given.repeat) for sample in samples(given.data)]
    worst = max(max(one["ratio"]["unpack, then bin"], one["ratio"]["the same with mask"]) for one in found)
    if given.json:
        print(json.dumps({"frames": found, "worst_ratio": worst, "limit": LIMIT}))
    else:
        for one in found:
            print(
                f"{one['frame']}, {one['shape'][0]} x {one['shape'][1]} {one['dtype']}, {one['packed_to_one']:.1f} to 1"
            )
            for name, median_s in one["median_s"].items():
                print(f"    {name:<22}{median_s * 1e3:8.2f} ms {one['ratio'][name]:6.2f} times unpacking")
        print(f"worst: {worst:.2f} times unpacking, asked for are at most {LIMIT}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
