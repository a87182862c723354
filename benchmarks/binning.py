"""What binning 2 x 2 costs: compressed frame in, array out, beside unpacking alone; one thread, medians of one run.

    python benchmarks/binning.py [--data FOLDER] [--repeat 31] [--json]

Measured in turn, so that what else the machine does hits all alike: `unpack`, into one array that is used again;
`fused`, what `stream consume bin` does: some rows are unpacked into a buffer that stays in the cache, binned, and so
on; and `unpack, then bin`, one after the other. Decision 0023 stands on these figures. The ratio is the median over the
rounds of each way's time through that of unpacking in the same round.
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

from beamstream import codecs
from beamstream.codecs.slabs import SlabReader
from beamstream_consumers.kernels.sum_blocks import flag_value, sum_and_count, sum_slabs
from detector_frames import Sample, samples

FACTOR = 2
LIMIT = 2.5
"""What is asked for: at most so many times the time of unpacking."""


def measure(sample: Sample, n_repeats: int) -> dict[str, Any]:
    """Return the times of one frame [s] and their ratios to unpacking."""
    image = np.zeros_like(sample.image)
    flag = flag_value(image.dtype)
    reader = SlabReader()

    def unpack() -> npt.NDArray[Any]:
        return codecs.decode(sample.payload, "bslz4", image.shape, image.dtype, image)

    def whole(mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[Any]:
        return sum_and_count(unpack(), FACTOR, mask, masked_value=flag)[0]

    def fused(mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[Any]:
        slabs = reader.slabs(sample.payload, "bslz4", image.shape, image.dtype, FACTOR)
        return sum_slabs(slabs, image.shape, image.dtype, FACTOR, mask, masked_value=flag)[0]

    ways: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "unpack": unpack,
        "fused": lambda: fused(None),
        "fused, with mask": lambda: fused(sample.mask),
        "unpack, then bin": lambda: whole(None),
        "the same with mask": lambda: whole(sample.mask),
    }
    for one, other in (("fused", "unpack, then bin"), ("fused, with mask", "the same with mask")):
        assert np.array_equal(ways[one](), ways[other]()), sample.name
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
    worst = max(max(one["ratio"]["fused"], one["ratio"]["fused, with mask"]) for one in found)
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
