"""Corrections of a stream, and the files that they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamstream.errors import ShapeError
from beamstream_consumers.calibration_files import CalibrationFileError, read_image, read_mask
from beamstream_consumers.corrections import CalibrationShapeError, Corrections, ValueRules

SHAPE = (3, 4)

NPY = b"\x93NUMPY\x01\x00\x76\x00"
HUGE_NPY = NPY + (b"{'descr': '<u2', 'fortran_order': False, 'shape': (%d, %d), }" % (2**33, 2**33)).ljust(117) + b"\n"


def metadata(**detector: Any) -> dict[str, Any]:
    instrument = {"@NX_class": "NXinstrument", "detector": {"@NX_class": "NXdetector", **detector}}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


def test_a_stream_brings_its_own_mask_and_values() -> None:
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[0, 0] = 1 << 4
    said = metadata(pixel_mask=mask, saturation_value=1000, underload_value=1)
    beamstop = np.zeros(SHAPE, dtype=bool)
    beamstop[0, :2] = True
    corrections = Corrections.for_stream(said, SHAPE, np.uint16, masks={"beamstop": beamstop})
    assert corrections.n_bad == {"detector": 1, "beamstop": 2}
    image = np.full(SHAPE, 7, dtype=np.uint16)
    image[1] = [65535, 1001, 1000, 0]
    result = corrections.apply(image)
    assert result[0].tolist() == [0, 0, 7, 7]
    assert result[1].tolist() == [0, 0, 1000, 0]
    assert corrections.counts == {"masked": 2, "flagged": 1, "below": 1, "above": 1}


def test_the_buffer_is_used_again_unless_another_is_given() -> None:
    corrections = Corrections(SHAPE)
    image = np.ones(SHAPE, dtype=np.uint8)
    first = corrections.apply(image)
    assert corrections.apply(image + 1) is first
    own = np.empty(SHAPE, dtype=np.float32)
    assert corrections.apply(image, own) is own
    assert first[0, 0] == 2
    assert own[0, 0] == 1


def test_dark_gain_and_flat_field_are_applied_in_this_order() -> None:
    flat = np.full(SHAPE, 0.5)
    flat[2, 3] = 0.0
    dark = np.full(SHAPE, 10.0)
    dark[2, 2] = np.nan
    corrections = Corrections(SHAPE, dark=dark, gain=4.0, flatfield=flat, masked_value=np.nan)
    result = corrections.apply(np.full(SHAPE, 110, dtype=np.int32))
    assert result[0, 0] == (110 - 10) / 4 / 0.5
    assert np.isnan(result[2, 2:]).all()
    assert corrections.n_bad == {"dark": 1, "gain": 0, "flat field": 1}


def test_32_bit_counts_lose_nothing_before_the_dark_is_taken_off() -> None:
    corrections = Corrections((1, 1), dark=np.full((1, 1), 2.0**31, dtype=np.float32))
    assert corrections.apply(np.array([[2**31 + 3]], dtype=np.uint32))[0, 0] == 3


def test_big_endian_frames_are_read_as_what_they_are() -> None:
    assert Corrections((1, 2)).apply(np.array([[1, 256]], dtype=">u2")).tolist() == [[1.0, 256.0]]


@pytest.mark.parametrize("what", ["dark", "gain", "flatfield"])
def test_another_shape_is_refused_with_both_named(what: str) -> None:
    with pytest.raises(CalibrationShapeError, match=r"\(4, 3\).*\(3, 4\)"):
        Corrections(SHAPE, **{what: np.ones((4, 3))})
    with pytest.raises(CalibrationShapeError, match=r"beamstop.*\(4, 3\).*\(3, 4\)"):
        Corrections(SHAPE, masks={"beamstop": np.ones((4, 3), dtype=bool)})
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        Corrections(SHAPE).apply(np.ones((4, 3), dtype=np.uint8))


def test_masks_and_darks_come_from_files(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 2], [3, 0, 0]], dtype=np.uint8)
    np.save(tmp_path / "mask.npy", mask)
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["a/mask"] = mask[np.newaxis]
    assert read_mask(str(tmp_path / "mask.npy")).tolist() == (mask != 0).tolist()
    assert read_mask(f"{tmp_path}/mask.h5:/a/mask", good_is="one").tolist() == (mask == 0).tolist()
    assert read_mask(f"{tmp_path}/mask.h5:a/mask", bad_bits=2).tolist() == ((mask & 2) != 0).tolist()
    assert read_mask(f"{tmp_path}/mask.h5:a/mask", good_bits=1).tolist() == ((mask & 1) == 0).tolist()


def test_what_fabio_reads_is_read(tmp_path: Path) -> None:
    edfimage = pytest.importorskip("fabio.edfimage")
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    edfimage.EdfImage(data=image).write(str(tmp_path / "dark.edf"))
    assert read_image(str(tmp_path / "dark.edf")).tolist() == image.tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.npy", None),
        ("short.npy", NPY + b"{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }"),
        ("huge.npy", HUGE_NPY),
        ("text.npy", b"hello"),
        ("text.h5", b"hello"),
        ("text.tif", b"hello"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    inner = ":/mask" if name.endswith("h5") else ""
    with pytest.raises(CalibrationFileError, match=name):
        read_image(f"{tmp_path / name}{inner}")


def test_a_dataset_that_is_none_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["stack"] = np.zeros((2, 3, 4))
        file["text"] = "hello"
        file.create_dataset("huge", shape=(1 << 20, 1 << 20), dtype="u1", chunks=(1024, 1024))
    reasons = {"": "which dataset", "nothing": "no dataset", "stack": "shape", "text": "shape|object", "huge": "limit"}
    for inner, why in reasons.items():
        with pytest.raises(CalibrationFileError, match=why):
            read_image(f"{tmp_path}/x.h5:{inner}" if inner else f"{tmp_path}/x.h5")


def test_value_rules_may_be_ones_own() -> None:
    corrections = Corrections.for_stream({}, (1, 2), np.uint16, rules=ValueRules(maximum=5))
    assert corrections.apply(np.array([[5, 65535]], dtype=np.uint16)).tolist() == [[5.0, 0.0]]
    assert corrections.counts["above"] == 1
