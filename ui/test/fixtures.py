"""Writes ui/test/fixtures with this project's own encoder and geometry: run from the repository's environment.

The numbers of the chunks follow formulas that bslz4.test.ts knows, too; so only packed bytes are committed.
"""

import json
from pathlib import Path

import numpy as np

from beamstream import codecs

HERE = Path(__file__).parent / "fixtures"


def hashed(n: int) -> np.ndarray:
    """Return well-mixed numbers of 32 bits."""
    return (np.arange(n, dtype=np.uint64) * 2654435761 + 12345) % 2**32


def counts(n: int) -> np.ndarray:
    """Return mostly 0 to 3, now and then more, as detectors count."""
    x = hashed(n)
    return np.where(x % 97 == 0, x >> 20, (x >> 13) & 3)


def repeated(n: int) -> np.ndarray:
    """Return patterns of every short length, which are matches that overlap themselves."""
    i = np.arange(n)
    return i % (1 + (i // 500) % 40)


CHUNKS = {
    "counts-u2": counts(70_003).astype(np.uint16),
    "counts-u4": counts(40_005).astype(np.uint32),
    "hashed-u2": (hashed(9_001) & 0xFFFF).astype(np.uint16),
    "hashed-u4": hashed(5_007).astype(np.uint32),
    "repeated-u2": repeated(30_000).astype(np.uint16),
    "repeated-u4": repeated(30_001).astype(np.uint32),
    "zeros-u2": np.zeros(100_000, np.uint16),
    "few-u2": counts(5).astype(np.uint16),
    "eight-u4": hashed(8).astype(np.uint32),
}

WAVELENGTH_A, DISTANCE_M, PIXEL_M = 0.9796, 0.1603, 75e-6


def resolutions() -> list[dict[str, float]]:
    """Return radii [pixels] and d [Å], by 2 theta: not by the formula of the page."""
    table = []
    for two_theta in np.radians([0.05, 0.5, 3, 10, 22.5, 40, 55]):
        radius = DISTANCE_M * np.tan(two_theta) / PIXEL_M
        q = 4 * np.pi * np.sin(two_theta / 2) / WAVELENGTH_A
        table.append({"radius": float(radius), "d": float(2 * np.pi / q)})
    return table


HERE.mkdir(exist_ok=True)
for name, numbers in CHUNKS.items():
    (HERE / f"{name}.bslz4").write_bytes(codecs.encode(numbers, "bslz4"))
(HERE / "resolution.json").write_text(
    json.dumps(
        {"wavelength_a": WAVELENGTH_A, "distance_m": DISTANCE_M, "pixel_m": PIXEL_M, "table": resolutions()}, indent=1
    )
    + "\n"
)
