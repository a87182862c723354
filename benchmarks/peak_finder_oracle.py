"""The peak finder beside OM's compiled extension, on random frames: every difference listed and explained.

    python benchmarks/peak_finder_oracle.py --oracle-python om/bin/python [--frames 1200] [--json]

`peak_finder_om.py` says how to make that environment; without it nothing is compared, and the exit status is 0.

Between OM's extension and the kernel stands the description (`peakfinder8_description.py`), in which one rule after the
other is changed from OM's to ours. Its first form has to be OM's extension, its last one the kernel, both to the last
bit of all columns; what changes from one form to the next is explained by the rule that was changed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.kernels.peakfinder8 import PeakParameters, find_peaks, grid_of_panels, make_plan, valid_values
from peak_finder_om import read, write
from peakfinder8_description import OM, Rules, Thresholds, find

LADDER = {
    "OM's extension, written down": OM,
    "without places of the queue that are not in use": replace(OM, stale_queue=False),
    "sums in float64": Rules(rings_keep_theirs=False, spread_floor=False),
    "rings that clipping empties keep their background": Rules(spread_floor=False),
    "a local background without spread has sigma 0.01": Rules(),
}
DTYPES = ("uint16", "float32", "uint8", "uint32", "int32")
INDEX, N_PIXELS = 3, 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One frame and how to look at it."""

    image: npt.NDArray[Any]
    used: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.float32]
    panel_shape: tuple[int, int]
    n_panels: tuple[int, int]
    thresholds: Thresholds


def make_case(seed: int) -> Case:
    """Return a random frame: dtype, panels, background from almost none to bright, peaks, hot and flagged pixels."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(DTYPES[seed % len(DTYPES)])
    n_panels = (int(rng.integers(1, 4)), int(rng.integers(1, 4))) if seed // len(DTYPES) % 2 else (1, 1)
    panel_shape = int(rng.integers(16, 120)), int(rng.integers(16, 120))
    shape = panel_shape[0] * n_panels[0], panel_shape[1] * n_panels[1]
    slow, fast = np.indices(shape)
    radius = np.hypot(slow - rng.uniform(0, shape[0]), fast - rng.uniform(0, shape[1]))
    data = rng.poisson(10 ** rng.uniform(-3, 2.7 if dtype.itemsize > 1 else 1.5), shape).astype(float)
    if dtype.kind == "f":
        data = data * rng.uniform(1, 50) + rng.normal(0, rng.uniform(0.1, 20), shape)
    for _ in range(rng.integers(0, 40)):
        y, x, size = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.integers(1, 4)
        data[y : y + size, x : x + size] += int(rng.uniform(5, 3000))
    if dtype.kind != "f":
        data = np.minimum(data, np.iinfo(dtype).max)
    return Case(
        image=data.astype(dtype),
        used=rng.random(shape) > 0.02,
        radius=radius.astype(np.float32),
        panel_shape=panel_shape,
        n_panels=n_panels,
        thresholds=Thresholds(
            adc_threshold=float(np.float32(rng.uniform(-5, 60))),
            minimum_snr=float(np.float32(rng.uniform(1.5, 9))),
            min_pixel_count=int(rng.integers(1, 4)),
            max_pixel_count=int(rng.integers(4, 200)),
            local_bg_radius=int(rng.integers(1, 8)),
            max_num_peaks=int(rng.integers(3, 3000)),
        ),
    )


@contextmanager
def oracle(python: str) -> Iterator[Any]:
    """Start OM in its environment; yields a function that takes a request's arrays and returns the answer's."""
    with subprocess.Popen(
        [python, str(Path(__file__).with_name("peak_finder_om.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("no pipe")

        def ask(**arrays: Any) -> dict[str, Any]:
            write(child.stdin, **arrays)
            answer = read(child.stdout)
            if answer is None:
                raise RuntimeError(f"{python} gave no answer; it needs ondamonitor==23.8.3 and numpy<2")
            return answer

        yield ask
        child.stdin.close()


def request(case: Case) -> dict[str, Any]:
    """Return what OM is asked; what is no count for us is masked for it."""
    t = case.thresholds
    lowest, ceiling = valid_values(case.image.dtype)
    good = case.used & (case.image >= lowest) & (case.image < ceiling)
    return {
        "data": case.image.astype(np.float32),
        "mask": good.astype(np.int8),
        "radius": case.radius,
        "grid": np.array([*case.panel_shape[::-1], *case.n_panels[::-1]]),
        "floats": np.array([t.adc_threshold, t.minimum_snr]),
        "ints": np.array([t.min_pixel_count, t.max_pixel_count, t.local_bg_radius, t.max_num_peaks]),
    }


def by_kernel(case: Case) -> npt.NDArray[np.float64]:
    """Return the kernel's peaks as rows of the oracle's columns."""
    t = case.thresholds
    parameters = PeakParameters(**{name: getattr(t, name) for name in Thresholds.__dataclass_fields__})
    plan = make_plan(case.radius, parameters, good=case.used, panels=grid_of_panels(case.panel_shape, case.n_panels))
    p = find_peaks(case.image, plan)
    return np.column_stack([p.fs, p.ss, p.intensity, p.index, p.n_pixels, p.maximum, p.sigma, p.snr])


def by_description(case: Case, rules: Rules) -> npt.NDArray[np.float64]:
    """Return the description's peaks."""
    boxes = [panel.box for panel in grid_of_panels(case.panel_shape, case.n_panels)]
    good = request(case)["mask"] != 0
    return find(case.image, good, case.radius, boxes, case.thresholds, rules)


@dataclass(kw_only=True)
class Difference:
    """What changes from one step to the next."""

    frames: int = 0
    peaks: int = 0
    frames_not_the_same_bits: int = 0
    frames_with_other_peaks: int = 0
    peaks_more: int = 0
    peaks_fewer: int = 0
    largest_relative: float = 0.0

    def add(self, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> None:
        """Compare the peaks of a frame: the same one has the same middle pixel and as many pixels."""
        self.frames += 1
        self.peaks += len(after)
        if before.shape == after.shape and np.array_equal(before, after):
            return
        self.frames_not_the_same_bits += 1
        old, new = ({(row[INDEX], row[N_PIXELS]): row for row in rows} for rows in (before, after))
        self.peaks_more += len(new.keys() - old.keys())
        self.peaks_fewer += len(old.keys() - new.keys())
        self.frames_with_other_peaks += old.keys() != new.keys()
        for key in old.keys() & new.keys():
            apart = abs(old[key][2] - new[key][2]) / max(abs(old[key][2]), 1.0)
            self.largest_relative = max(self.largest_relative, float(apart))


def compare(python: str, n_frames: int) -> dict[str, Difference]:
    """Return what changes at each step from OM to the kernel, and between the two."""
    steps = {name: Difference() for name in [*LADDER, "the kernel", "all together: OM's extension, the kernel"]}
    with oracle(python) as ask:
        for seed in range(n_frames):
            case = make_case(seed)
            first = before = ask(**request(case))["peaks"]
            for name, rules in LADDER.items():
                after = by_description(case, rules)
                steps[name].add(before, after)
                before = after
            after = by_kernel(case)
            steps["the kernel"].add(before, after)
            steps["all together: OM's extension, the kernel"].add(first, after)
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle-python", default="", help="python of an environment with ondamonitor")
    parser.add_argument("--frames", type=int, default=1200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not Path(arguments.oracle_python).is_file():
        print("no --oracle-python with OM in it: nothing to compare with", file=sys.stderr)
        return 0
    steps = compare(arguments.oracle_python, arguments.frames)
    unexplained = steps[next(iter(LADDER))].frames_not_the_same_bits + steps["the kernel"].frames_not_the_same_bits
    if arguments.json:
        print(json.dumps({"unexplained": unexplained, "steps": {name: vars(step) for name, step in steps.items()}}))
    else:
        print("| step | frames | peaks | other bits | frames with other peaks | more | fewer | intensity apart |")
        print("|---|---|---|---|---|---|---|---|")
        for name, step in steps.items():
            print(
                "|",
                " | ".join(
                    [
                        name,
                        *(f"{value:.2g}" if isinstance(value, float) else str(value) for value in vars(step).values()),
                    ]
                ),
                "|",
            )
        print(f"\nframes with an unexplained difference: {unexplained}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    raise SystemExit(main())
