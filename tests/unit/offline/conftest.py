"""Files as a detector's file writer leaves them, in each of its layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from beamstream import codecs

SHAPE = (31, 43)
START = "2025-11-21T10:00:00.250000"
START_NS = 1_763_719_200_250_000_000
FRAME_TIME_S = 0.004

Image = npt.NDArray[Any]


def image_of(number: int, dtype: str = "<u2") -> Image:
    """Return the image that has this number, from 1; no other is like it."""
    return np.random.default_rng(number).poisson(2.0, SHAPE).astype(dtype)


def write_images(
    path: Path,
    numbers: Sequence[int],
    *,
    name: str = "entry/data/data",
    codec: str = "bslz4",
    image_nr: bool = True,
    **how: Any,
) -> None:
    """Write a data file: chunks as the detector packs them, or with `how` as h5py does."""
    packed = {"bslz4": dict(hdf5plugin.Bitshuffle(nelems=0, cname="lz4")), "lz4": dict(hdf5plugin.LZ4(nbytes=0)),
              "none": {}}  # fmt: skip
    with h5py.File(path, "a") as file:
        if how:
            data = file.create_dataset(name, data=np.stack([image_of(number) for number in numbers]), **how)
        else:
            data = file.create_dataset(
                name, (len(numbers), *SHAPE), "<u2", chunks=(1, *SHAPE), maxshape=(None, *SHAPE), **packed[codec]
            )
            for position, number in enumerate(numbers):
                data.id.write_direct_chunk((position, 0, 0), bytes(codecs.encode(image_of(number), codec)))
        if image_nr:
            data.attrs["image_nr_low"] = np.uint64(numbers[0])
            data.attrs["image_nr_high"] = np.uint64(numbers[-1])


def write_header(file: h5py.File, n_images: int, n_triggers: int = 1) -> None:
    """Write what a master says about the run."""
    entry = file.require_group("entry")
    entry.attrs["NX_class"] = "NXentry"
    entry["definition"] = np.bytes_("NXmx")
    instrument = entry.create_group("instrument")
    instrument.attrs["NX_class"] = "NXinstrument"
    beam = instrument.create_group("beam")
    beam.attrs["NX_class"] = "NXbeam"
    beam["incident_wavelength"] = np.float32(1.0)
    beam["incident_wavelength"].attrs["units"] = np.bytes_("angstrom")
    detector = instrument.create_group("detector")
    detector.attrs["NX_class"] = "NXdetector"
    detector["description"] = np.bytes_("Dectris EIGER2 Si 4M")
    detector["frame_time"] = np.float32(FRAME_TIME_S)
    detector["frame_time"].attrs["units"] = np.bytes_("s")
    specific = detector.create_group("detectorSpecific")
    specific["nimages"] = np.uint32(n_images)
    specific["ntrigger"] = np.uint32(n_triggers)
    specific["data_collection_date"] = np.bytes_(START)
    specific["pixel_mask"] = np.eye(*SHAPE, dtype="<u4")
    specific["flatfield"] = np.ones(SHAPE, "<f4")


@pytest.fixture
def make_legacy(tmp_path: Path) -> Callable[..., Path]:
    """Make a master with data files; returns the master's path."""

    def make(
        lengths: Sequence[int] = (4, 4, 3), *, n_images: int | None = None, first_number: int = 1, **how: Any
    ) -> Path:
        master = tmp_path / "run_042_master.h5"
        total = sum(lengths) if n_images is None else n_images
        number = 1
        with h5py.File(master, "w", libver="earliest") as file:
            write_header(file, total)
            data = file["entry"].create_group("data")
            for place, length in enumerate(lengths):
                name = f"run_042_data_{first_number + place:06d}.h5"
                write_images(tmp_path / name, range(number, number + length), **how)
                data[f"data_{first_number + place:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
                number += length
        return master

    return make


@pytest.fixture
def make_v2024(tmp_path: Path) -> Callable[..., Path]:
    """Make a master of the newer layout with two channels over two data files; returns the master's path.

    The second channel's images are the first one's plus 100.
    """

    def make(n_images: int = 6, image_ids: Sequence[int] | None = None) -> Path:
        master, half = tmp_path / "new_master.h5", n_images // 2
        names = ["new_data_000001.h5", "new_data_000002.h5"]
        for place, name in enumerate(names):
            with h5py.File(tmp_path / name, "w") as file:
                data = file.create_dataset(
                    "entry/data/data", (half, 2, *SHAPE), "<u2", chunks=(1, 1, *SHAPE),
                    **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
                )  # fmt: skip
                for position in range(half):
                    image = image_of(place * half + position + 1)
                    data.id.write_direct_chunk((position, 0, 0, 0), bytes(codecs.encode(image, "bslz4")))
                    data.id.write_direct_chunk((position, 1, 0, 0), bytes(codecs.encode(image + 100, "bslz4")))
        layout = h5py.VirtualLayout((n_images, 2, *SHAPE), "<u2")
        for place, name in enumerate(names):
            layout[place * half : (place + 1) * half] = h5py.VirtualSource(
                name, "entry/data/data", shape=(half, 2, *SHAPE)
            )
        with h5py.File(master, "w", libver="latest") as file:
            write_header(file, n_images)
            data = file["entry"].create_group("data")
            data.create_virtual_dataset("data", layout)
            data["image_id"] = np.array(range(n_images) if image_ids is None else image_ids, "<u8")
            data["channel"] = np.array(["threshold_1", "threshold_2"], h5py.string_dtype())
            detector = file["entry/instrument/detector"]
            del detector["detectorSpecific/pixel_mask"], detector["detectorSpecific/flatfield"]
            for number in (1, 2):
                channel = detector.create_group(f"threshold_{number}_channel")
                channel["threshold_energy"] = 6000.0 * number
                channel["threshold_energy"].attrs["units"] = "eV"
                channel["pixel_mask"] = np.full(SHAPE, number, "<u4")
                channel["flatfield"] = np.full(SHAPE, number, "<f4")
        return master

    return make
