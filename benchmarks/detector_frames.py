"""Frames that kernels are measured on: what detectors send, from empty to noise that nothing packs.

All but the captured ones are 2167 x 2070 uint16 (an EIGER2 4M and the edge that older ones have), with the gaps between
modules at the largest value, as EIGERs write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream_producers.sim.images.detectors import find_model, pixel_mask
from beamstream_producers.sim.images.frames import FrameMaker, Recipe

SHAPE = (2167, 2070)
SEED = 5
MEANS = (0.1, 1.0, 5.0)
"""Backgrounds [photons per pixel]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One frame.

    Attributes
    ----------
    name : str
        What it shows.
    image : (n_slow, n_fast) unsigned integers
        Its pixels.
    payload : bytes
        The same packed as bslz4.
    mask : (n_slow, n_fast) bool
        Its bad pixels.
    """

    name: str
    image: npt.NDArray[Any]
    payload: bytes
    mask: npt.NDArray[np.bool_]


def samples(data: Path | None = None) -> Iterator[Sample]:
    """Yield the frames; with `data`, a folder like that of BEAMSTREAM_TEST_DATA, captured ones too."""
    rng = np.random.default_rng(SEED)
    model = find_model("4M")
    maker = FrameMaker(Recipe(model=model, seed=SEED, n_frames=1, hit_fraction=1.0))
    mask = np.ones(SHAPE, np.bool_)
    mask[: model.shape[0], : model.shape[1]] = pixel_mask(model, SEED) != 0
    hit = np.full(SHAPE, 65535, np.dtype("<u2"))
    hit[: model.shape[0], : model.shape[1]] = maker.make(0)
    yield _packed("simulated hit: water ring and Bragg peaks", hit, mask)
    for mean in MEANS:
        image = rng.poisson(mean, SHAPE).astype("<u2")
        for slow, fast in rng.integers(10, np.array(SHAPE) - 10, (60, 2)):
            image[slow - 2 : slow + 3, fast - 2 : fast + 3] += rng.poisson(80, (5, 5)).astype("<u2")
        image[mask] = 65535
        yield _packed(f"Poisson({mean:g}) with peaks", image, mask)
    yield _packed("dense noise, 16 random bits", rng.integers(0, 1 << 16, SHAPE, dtype=np.uint16), mask)
    if data is not None:
        payload = (data / "stream_v2_tickit_eiger16m" / "frame_sample_v1.bin").read_bytes()
        image = codecs.decode(payload, "bslz4", (4362, 4148), np.dtype("<u2"))
        yield Sample(name="captured EIGER2 16M", image=image, payload=payload, mask=image == 65535)
        parts = data / "stream_v1_eigerstreamreceiver" / "parts"
        block = (parts / "streamData.000011").read_bytes()
        image = codecs.decode(block, "lz4-block", (1062, 1028), np.dtype("<u4"))
        yield _packed("captured EIGER2 1M, uint32", image, image == 2**32 - 1)


def stream_metadata(sample: Sample) -> dict[str, Any]:
    """Return what a detector says of itself."""
    n_slow, n_fast = sample.image.shape
    detector = {
        "@NX_class": "NXdetector",
        "beam_center_x": n_fast / 2 - 2.5,
        "beam_center_y": n_slow / 2 + 3.5,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "distance": 0.15,
        "pixel_mask": sample.mask.astype(np.uint32),
    }
    beam = {"@NX_class": "NXbeam", "incident_wavelength": 1.0}
    instrument = {"@NX_class": "NXinstrument", "detector": detector, "beam": beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


def _packed(name: str, image: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> Sample:
    return Sample(name=name, image=image, payload=bytes(codecs.encode(image, "bslz4")), mask=mask)
