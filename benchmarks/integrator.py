"""Azimuthal integration beside bare pyFAI CSR on the same frames: one thread each, medians of one run.

    python benchmarks/integrator.py [--data FOLDER] [--repeat 9] [--bins 1000] [--json]

Integrated over q are the frames of `detector_frames`, with the detector's mask and flags, solid angle, polarisation and
Poisson errors, without splitting pixels and with it. Measured in turn, so that what else the machine does hits all
alike:

    beamstream    `IntegrateProcessor.process`: the compressed frame in, the curve out; unpacking included
    pyFAI, bare   the same frame, unpacked already, by pyFAI's own CSR engine; unpacking NOT included

so that what is compared is all of our work with pyFAI's bare engine. Also: our kernels alone, and our processor with
pyFAI's engine. The ratio is the median over the rounds of each one's time through bare pyFAI's of the same round; at
most 1 is asked for. Ends with status 1 if it is more, or if the curves differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from beamstream import Address, Frame, Header, codecs
from beamstream.service import StreamStart
from beamstream_consumers.geometry import read_geometry
from beamstream_consumers.integrate.axis import find_axis, normalization, radial_positions
from beamstream_consumers.integrate.processor import CURVE, IntegrateProcessor
from beamstream_consumers.integrate.settings import IntegrationSettings
from detector_frames import Sample, samples, stream_metadata

ADDRESS = Address("benchmark", "eiger", "run")
POLARISATION = 0.99
UNIT = "q_A^-1"


def frame_of(sample: Sample) -> Frame:
    header = Header(
        payload_bytes=len(sample.payload),
        checksum=xxhash.xxh3_64_intdigest(sample.payload),
        timestamp_ns=0,
        codec="bslz4",
        shape=sample.image.shape,
        dtype=sample.image.dtype.str,
    )
    return Frame(address=ADDRESS, message_id=1, header=header, payload=sample.payload)


def processor_for(sample: Sample, split: str, engine: str, n_bins: int) -> IntegrateProcessor:
    settings = IntegrationSettings(n_bins=n_bins, split=split, engine=engine, polarisation=POLARISATION, unit=UNIT)
    processor = IntegrateProcessor(settings)
    processor.open(StreamStart(address=ADDRESS, metadata=stream_metadata(sample), n_expected=None, broker=""))
    return processor


def bare_pyfai(sample: Sample, split: str, n_bins: int) -> Callable[[], npt.NDArray[Any]]:
    """Return what integrates the unpacked frame by pyFAI alone."""
    from pyFAI.containers import ErrorModel
    from pyFAI.ext.splitBBoxCSR import HistoBBox1d

    geometry = read_geometry(stream_metadata(sample), sample.image.shape)
    position, half_width = radial_positions(geometry, find_axis(UNIT), splits=split == "bbox")
    norm = normalization(geometry, solid_angle=True, polarisation=POLARISATION)
    mask = sample.mask.astype(np.int8)
    engine = HistoBBox1d(position, half_width, bins=n_bins, mask=mask, unit=UNIT, empty=np.nan)
    flag = float(np.iinfo(sample.image.dtype).max)

    def integrate() -> npt.NDArray[Any]:
        found = engine.integrate_ng(
            sample.image, error_model=ErrorModel.POISSON, solidangle=norm, dummy=flag, delta_dummy=0.5
        )
        return np.stack([found.intensity, found.sigma])

    return integrate


def measure(sample: Sample, split: str, n_repeats: int, n_bins: int) -> dict[str, Any]:
    """Return the times of one frame [s] and their ratios to bare pyFAI's."""
    frame = frame_of(sample)
    ours = processor_for(sample, split, "numba", n_bins)
    theirs = processor_for(sample, split, "pyfai", n_bins)
    engine = ours._engine  # noqa: SLF001
    assert engine is not None
    ways: dict[str, Callable[[], Any]] = {
        "pyFAI, bare": bare_pyfai(sample, split, n_bins),
        "beamstream": lambda: ours.process(frame)[CURVE].array,
        "its kernels alone": lambda: engine.average(sample.image, "poisson", None, 1.0),
        "beamstream, engine pyfai": lambda: theirs.process(frame)[CURVE].array,
        "unpacking": lambda: codecs.decode(sample.payload, "bslz4", sample.image.shape, sample.image.dtype, out),
    }
    out = np.zeros_like(sample.image)
    same = all(
        np.allclose(ways[name](), ways["pyFAI, bare"](), rtol=1e-4, equal_nan=True)
        for name in ("beamstream", "beamstream, engine pyfai")
    )
    for call in ways.values():
        call()
    rounds = [dict(timed(ways)) for _ in range(n_repeats)]
    return {
        "frame": sample.name,
        "shape": list(sample.image.shape),
        "dtype": sample.image.dtype.str,
        "split": split,
        "n_bins": n_bins,
        "same_curves": same,
        "median_s": {name: statistics.median(one[name] for one in rounds) for name in ways},
        "ratio": {name: statistics.median(one[name] / one["pyFAI, bare"] for one in rounds) for name in ways},
    }


def timed(ways: dict[str, Callable[[], Any]]) -> Iterator[tuple[str, float]]:
    for name, call in ways.items():
        start_s = time.perf_counter()
        call()
        yield name, time.perf_counter() - start_s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with captured data")
    parser.add_argument("--repeat", type=int, default=9, help="rounds for each frame (default: 9)")
    parser.add_argument("--bins", type=int, default=1000, help="points of a curve (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when pyFAI is imported
    found = [
        measure(sample, split, given.repeat, given.bins) for sample in samples(given.data) for split in ("no", "bbox")
    ]
    worst = max(one["ratio"]["beamstream"] for one in found)
    same = all(one["same_curves"] for one in found)
    if given.json:
        print(json.dumps({"frames": found, "worst_ratio": worst, "same_curves": same, "limit": 1.0}))
    else:
        for one in found:
            print(f"{one['frame']}, {one['shape'][0]} x {one['shape'][1]} {one['dtype']}, split: {one['split']}")
            for way, median_s in one["median_s"].items():
                print(f"    {way:<26}{median_s * 1e3:8.2f} ms {one['ratio'][way]:7.3f} of bare pyFAI")
            if not one["same_curves"]:
                print("    the curves DIFFER")
        print(f"worst: {worst:.3f} of bare pyFAI's time, unpacking included; asked for is at most 1")
    return 0 if worst <= 1 and same else 1


if __name__ == "__main__":
    sys.exit(main())
