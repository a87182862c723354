"""What a picture of the monitor costs: decoding, placing, measuring, radial mean, powders, levels; no server.

    python benchmarks/monitor_pictures.py [--repeat N]

One thread; medians of N. All of it happens outside the event loop, and the kernels release the GIL.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from beamstream.codecs import decode, encode
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.picture import Picture
from beamstream_consumers.monitor.pictures.powders import Powder
from beamstream_consumers.monitor.pictures.scene import Scene

CASES = (
    ((1062, 1028), "<u2", 1),
    ((2167, 2070), "<u2", 1),
    ((2167, 2070), "<u4", 1),
    ((2167, 2070), "<i4", 1),
    ((4096, 1024), "<u2", 8),
    ((4096, 1024), "<f4", 8),
    ((4362, 4148), "<u4", 1),
)
"""Shape, dtype, panels; several are assembled, a little rotated."""


def geometry_of(shape: tuple[int, int], n_panels: int) -> str:
    """Return a CrystFEL geometry of panels above one another, ten pixels apart."""
    n_slow, n_fast = shape[0] // n_panels, shape[1]
    lines = ["clen = 0.1", "photon_energy = 12398", "res = 13333"]
    turned = ("-0.9999x +0.01y", "-0.01x -0.9999y") if n_panels > 1 else ("-1.0x", "-1.0y")
    for number in range(n_panels):
        top = number * n_slow
        lines += [
            f"p{number}/min_fs = 0", f"p{number}/max_fs = {n_fast - 1}",
            f"p{number}/min_ss = {top}", f"p{number}/max_ss = {top + n_slow - 1}",
            f"p{number}/fs = {turned[0]}", f"p{number}/ss = {turned[1]}",
            f"p{number}/corner_x = {n_fast / 2}", f"p{number}/corner_y = {shape[0] / 2 - number * (n_slow + 10)}",
        ]  # fmt: skip
    return "\n".join(lines)


def median_ms(work: Callable[[], object], repeat: int) -> float:
    """Return how long a call takes [ms]; the first one, which compiles, does not count."""
    work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def measure(shape: tuple[int, int], dtype: str, n_panels: int, repeat: int) -> None:
    """Print what one kind of frame costs."""
    rng = np.random.default_rng(1)
    image = rng.poisson(1, shape).astype(dtype)
    if dtype == "<f4":
        image += rng.normal(0, 0.3, shape).astype(dtype)
    packed = bytes(encode(image, "bslz4"))
    mask = np.zeros(shape, np.bool_)
    mask[:: shape[0] // 10] = True
    scene = Scene({}, shape, mask=mask, geometry=geometry_of(shape, n_panels))
    powder = Powder()

    def picture() -> Picture:
        return make_picture(image, scene, source="", kind="frame", stream="", message_id=1, taken_ns=0)

    def levels() -> object:
        made = Picture(**{name: getattr(ready, name) for name in ready.__slots__ if not name.startswith("_")})
        return made.level(made.n_levels - 1)

    ready = picture()
    costs = {
        "decode": median_ms(lambda: decode(packed, "bslz4", shape, np.dtype(dtype)), repeat),
        "picture": median_ms(picture, repeat),
        "powders": median_ms(lambda: powder.add(1, 0, image), repeat),
        "levels": median_ms(levels, repeat),
    }
    told = "  ".join(f"{name} {cost:6.1f}" for name, cost in costs.items())
    print(f"{shape[0]:5} x {shape[1]:4} {dtype}  {n_panels} panel(s)  {told}  all {sum(costs.values()):6.1f} ms")


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    for shape, dtype, n_panels in CASES:
        measure(shape, dtype, n_panels, repeat)


if __name__ == "__main__":
    main()
