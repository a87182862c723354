"""What correcting a frame costs beside NumPy, and what the maps of a geometry cost: one 4M frame, one core.

python benchmarks/corrections.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.corrections import Corrections, ValueRules
from beamstream_consumers.geometry import Geometry, GeometryMaps, Panel, assemble_pixels

SHAPE = (2167, 2070)
RUNS = 15
PIXEL_M = 75e-6


def best_ms(call: Callable[[], Any]) -> float:
    """Return the shortest of some runs [ms]."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def by_numpy(
    image: npt.NDArray[Any], bad: npt.NDArray[np.bool_], dark: npt.NDArray[np.float32], gain: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Do the same in NumPy, as one would write it."""
    corrected = (image.astype(np.float32) - dark) / gain
    corrected[bad | (image == np.iinfo(image.dtype).max)] = 0
    return corrected


def measure() -> dict[str, float]:
    """Return times [ms] and the ratio."""
    random = np.random.default_rng(0)
    image = random.poisson(3.0, SHAPE).astype(np.uint16)
    bad = random.random(SHAPE) < 0.05
    dark = random.random(SHAPE, dtype=np.float32)
    gain = 1 + random.random(SHAPE, dtype=np.float32)
    rules = ValueRules(flag=65535)
    masked = Corrections(SHAPE, masks={"bad": bad}, rules=rules)
    full = Corrections(SHAPE, masks={"bad": bad}, dark=dark, gain=gain, rules=rules)
    masked.apply(image)
    np.testing.assert_allclose(full.apply(image), by_numpy(image, bad, dark, gain), rtol=1e-5, atol=1e-5)
    found = {
        "mask_ms": best_ms(lambda: masked.apply(image)),
        "all_ms": best_ms(lambda: full.apply(image)),
        "numpy_ms": best_ms(lambda: by_numpy(image, bad, dark, gain)),
    }
    found["numpy_over_all"] = found["numpy_ms"] / found["all_ms"]
    panel = Panel(
        name="detector",
        slow=(0, SHAPE[0]),
        fast=(0, SHAPE[1]),
        corner_m=(SHAPE[1] / 2 * PIXEL_M, SHAPE[0] / 2 * PIXEL_M, 0.0),
        fast_step_m=(-PIXEL_M, 0.0, 0.0),
        slow_step_m=(0.0, -PIXEL_M, 0.0),
    )
    geometry = Geometry(panels=(panel,), shape=SHAPE, distance_m=0.1, wavelength_a=1.0)
    for name in ("radius_pixels", "resolution", "panel_id"):
        found[f"{name}_ms"] = best_ms(lambda name=name: getattr(GeometryMaps(geometry), name))  # type: ignore[misc]
    found["assembly_ms"] = best_ms(lambda: assemble_pixels(geometry))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:20} {value:9.2f}")


if __name__ == "__main__":
    main()
