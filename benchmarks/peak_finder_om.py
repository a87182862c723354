"""OM's compiled peakfinder8 behind a pipe, in an environment of its own; started by the two benchmarks beside it.

Runs with nothing of this project: OM is under the GPL and old NumPy, and so is not, and cannot be, a dependency.

    python3.11 -m venv om && om/bin/pip install "ondamonitor==23.8.3" "numpy<2"

Read from standard input and written to standard output are lengths of 8 bytes and .npz files of that length.
"""

from __future__ import annotations

import io
import struct
import sys
import time
from typing import BinaryIO

import numpy as np


def read(stream: BinaryIO) -> dict[str, np.ndarray] | None:
    """Return the arrays of the next message; None at the end."""
    prefix = stream.read(8)
    if len(prefix) < 8:
        return None
    with np.load(io.BytesIO(stream.read(struct.unpack("<q", prefix)[0]))) as arrays:
        return dict(arrays)


def write(stream: BinaryIO, **arrays: object) -> None:
    """Write a message."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    stream.write(struct.pack("<q", content.tell()))
    stream.write(content.getvalue())
    stream.flush()


def main() -> None:
    """Answer requests: `data`, `mask`, `radius`, `grid`, `floats` and `ints`, kept for the next request if left out."""
    from om.algorithms._crystallography import peakfinder_8

    answers = sys.stdout.buffer
    sys.stdout = sys.stderr
    kept: dict[str, np.ndarray] = {}
    while (request := read(sys.stdin.buffer)) is not None:
        kept |= request
        adc, snr = map(float, kept["floats"])
        least, most, radius, n_peaks = map(int, kept["ints"])
        grid = map(int, kept["grid"])
        started = time.process_time(), time.perf_counter()
        data = np.ascontiguousarray(kept["data"], np.float32)
        converted = time.process_time(), time.perf_counter()
        columns = peakfinder_8(
            n_peaks, data, kept["mask"], kept["radius"], 0, None, None, 0, *grid, adc, snr, least, most, radius
        )
        ended = time.process_time(), time.perf_counter()
        peaks = np.column_stack([np.asarray(column, np.float64) for column in columns])
        write(answers, peaks=peaks, times=np.array([started, converted, ended]))


if __name__ == "__main__":
    main()
