"""HDF5 files with bytes torn off or turned over: an error of ours or other pixels, never anything else."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beamstream import Consumer, codecs
from beamstream.errors import BeamstreamError

SHAPE = (9, 11)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "run.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "entry/data/data", (5, *SHAPE), "<u2", chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        for position in range(5):
            image = np.random.default_rng(position).poisson(2.0, SHAPE).astype("<u2")
            data.id.write_direct_chunk((position, 0, 0), bytes(codecs.encode(image, "bslz4")))
        data.attrs["image_nr_low"] = 1
        detector = file.create_group("entry/instrument/detector")
        detector["frame_time"] = 0.01
        detector["description"] = "Dectris EIGER2"
        detector["pixel_mask"] = np.eye(*SHAPE, dtype="<u4")
    return path.read_bytes()


def read_all(path: Path) -> None:
    try:
        with Consumer(path) as consumer:
            dict(consumer.metadata)
            for frame in consumer:
                frame.array()
    except BeamstreamError:
        pass


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.integers(0, 20_000), flips=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), max_size=4)
)
def test_a_damaged_file_never_does_anything_but_an_error_of_ours(
    whole: bytes, tmp_path: Path, length: int, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(whole[: max(1, length % (2 * len(whole)))])
    for place, bits in flips:
        damaged[place % len(damaged)] ^= bits
    path = tmp_path / "run.h5"
    path.write_bytes(damaged)
    read_all(path)
