"""Time of the peak finder on a frame of 2167 x 2070 pixels, one thread, beside OM's compiled extension in the same run.

    python benchmarks/peak_finder.py [--oracle-python om/bin/python] [--repeats 15] [--json]

`peak_finder_om.py` says how to make that environment; without it only our own times are printed. The two take turns;
figures are medians. «cpu» is the processor time of the one thread, which other programs on the machine do not lengthen
as they do the time that passes. OM needs the frame as float32: with and without that conversion are both stated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream_consumers.kernels.peakfinder8 import PeakParameters, Plan, find_peaks, make_plan
from peak_finder_oracle import oracle

SHAPE = (2167, 2070)
MODULE, PERIOD = (514, 1030), (551, 1040)
CENTRE = (1072.7, 1041.3)
N_SPOTS = 300
PARAMETERS = PeakParameters(
    adc_threshold=20, minimum_snr=6, max_pixel_count=40, local_bg_radius=4, min_res=30, max_res=1400
)
GOAL = 5.0
"""OM's time through ours, at least."""


def make_frame(seed: int = 0) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return a frame of a 4M EIGER with air scatter, the ring of water and Bragg spots; good pixels; radii."""
    rng = np.random.default_rng(seed)
    slow, fast = np.indices(SHAPE, dtype=np.float64)
    radius = np.hypot(slow - CENTRE[0], fast - CENTRE[1])
    rate = 2.0 + 12.0 * np.exp(-radius / 260.0) + 9.0 * np.exp(-(((radius - 620.0) / 130.0) ** 2))
    box = np.arange(-7, 8)
    for _ in range(N_SPOTS):
        y, x, width = int(rng.integers(8, SHAPE[0] - 8)), int(rng.integers(8, SHAPE[1] - 8)), rng.uniform(0.7, 1.4)
        spot = np.exp(-0.5 * (box[:, None] ** 2 + box**2) / width**2)
        rate[y - 7 : y + 8, x - 7 : x + 8] += rng.lognormal(6.2, 0.9) * spot / spot.sum()
    image = rng.poisson(rate).astype(np.uint16)
    inside = np.logical_and.outer(*(np.arange(n) % p < m for n, p, m in zip(SHAPE, PERIOD, MODULE, strict=True)))
    good = inside & (rng.random(SHAPE) > 5e-4)
    image[~good] = np.iinfo(np.uint16).max
    return image, good, radius.astype(np.float32)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return processor time and time that passed [ms]."""
    started = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - started[0]) * 1e3, (time.perf_counter() - started[1]) * 1e3


def ask_om(ask: Any, **arrays: Any) -> dict[str, tuple[float, float]]:
    """Return OM's times [ms], processor and passed, without and with the conversion to float32."""
    started, converted, ended = ask(**arrays)["times"] * 1e3
    return {"om": tuple(ended - converted), "om with float32": tuple(ended - started)}


def measure(python: str | None, repeats: int) -> dict[str, Any]:
    """Return medians and what they say of one another."""
    image, good, radius = make_frame()
    plan: Plan = make_plan(radius, PARAMETERS, good=good)
    payload, out = codecs.encode(image, "bslz4"), np.empty_like(image)
    as_float = np.where(good, image, np.float32(0)).astype(np.float32)
    works: dict[str, Callable[[], Any]] = {
        "kernel uint16": lambda: find_peaks(image, plan),
        "kernel float32": lambda: find_peaks(as_float, plan),
        "decode bslz4": lambda: codecs.decode(payload, "bslz4", SHAPE, image.dtype, out),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    n_peaks = {"kernel": len(find_peaks(image, plan))}
    for work in works.values():
        work()  # compiled, and memory touched
    with oracle(python) if python else nullcontext() as ask:
        if ask is not None:
            p = PARAMETERS
            in_reach = good & (radius >= p.min_res) & (radius <= p.max_res)
            answer = ask(
                data=image,
                mask=in_reach.astype(np.int8),
                radius=radius,
                grid=np.array([SHAPE[1], SHAPE[0], 1, 1]),
                floats=np.array([p.adc_threshold, p.minimum_snr]),
                ints=np.array([p.min_pixel_count, p.max_pixel_count, p.local_bg_radius, p.max_num_peaks]),
            )
            n_peaks["om"] = len(answer["peaks"])
            times |= {"om": [], "om with float32": []}
        for _ in range(repeats):
            for name, work in works.items():
                times[name].append(timed(work))
            if ask is not None:
                for name, pair in ask_om(ask).items():
                    times[name].append(pair)
    ms = {
        name: {kind: round(statistics.median(pair[i] for pair in pairs), 3) for i, kind in enumerate(("cpu", "passed"))}
        for name, pairs in times.items()
    }
    found: dict[str, Any] = {"shape": SHAPE, "dtype": "uint16", "n_peaks": n_peaks, "ms": ms, "repeats": repeats}
    if "om" in ms:
        ours = ms["kernel uint16"]
        found["ratio"] = {kind: round(ms["om"][kind] / ours[kind], 2) for kind in ours}
        found["ratio_with_float32"] = {kind: round(ms["om with float32"][kind] / ours[kind], 2) for kind in ours}
        found["goal"] = GOAL
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle-python", help="python of an environment with ondamonitor")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.oracle_python, arguments.repeats)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{SHAPE[0]} x {SHAPE[1]} uint16, one thread, medians of {arguments.repeats}; peaks: {found['n_peaks']}")
    for name, one in found["ms"].items():
        print(f"{name:16} {one['cpu']:8.2f} ms cpu {one['passed']:8.2f} ms passed")
    if "ratio" in found:
        print(
            f"OM through the kernel: {found['ratio']['cpu']} (cpu), {found['ratio']['passed']} (passed), goal {GOAL:g}"
        )


if __name__ == "__main__":
    main()
