"""NeXus geometry in metadata and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamstream_consumers.geometry import (
    GeometryFormatError,
    GeometryIncompleteError,
    GeometryMaps,
    GeometryShapeError,
    read_geometry,
)


def tree(detector: dict[str, Any], **beam: Any) -> dict[str, Any]:
    instrument = {"@NX_class": "NXinstrument", "detector": {"@NX_class": "NXdetector", **detector}}
    if beam:
        instrument["beam"] = {"@NX_class": "NXbeam", **beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


FLAT = {
    "beam_center_x": 3.0,
    "beam_center_y": 1.5,
    "x_pixel_size": 75.0,
    "x_pixel_size@units": "um",
    "y_pixel_size": 75e-6,
    "y_pixel_size@units": "m",
    "distance": 100.0,
    "distance@units": "mm",
}


def axis(name: str, value: Any, vector: list[float], depends_on: str, **more: Any) -> dict[str, Any]:
    found = {name: value, f"{name}@vector": vector, f"{name}@depends_on": depends_on, f"{name}@units": "m"}
    return found | {f"{name}@transformation_type": "translation"} | {f"{name}@{key}": v for key, v in more.items()}


def test_a_beam_centre_is_enough() -> None:
    geometry = read_geometry(tree(FLAT, incident_wavelength=1.3), shape=(4, 8))
    assert geometry.distance_m == pytest.approx(0.1)
    assert geometry.wavelength_a == pytest.approx(1.3)
    maps = GeometryMaps(geometry)
    assert maps.radius_pixels[1].tolist() == pytest.approx([2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5, 4.5], rel=1e-5)
    assert maps.x_m[0, 0] == pytest.approx(2.5 * 75e-6)
    assert maps.y_m[0, 0] == pytest.approx(1.0 * 75e-6)


def test_the_mask_says_how_large_the_detector_is() -> None:
    detector = {**FLAT, "pixel_mask": np.zeros((5, 6), dtype=np.uint32)}
    assert read_geometry(tree(detector)).shape == (5, 6)


def test_modules_are_placed_by_what_they_depend_on() -> None:
    moved = axis("z", 0.2, [0, 0, 1], ".")
    arm = axis("arm", 90.0, [0, -1, 0], "z") | {"arm@units": "degree", "arm@transformation_type": "rotation"}
    base = "/entry/instrument/detector/transformations"
    module = {"@NX_class": "NXdetector_module", "data_size": [4, 8]}
    pixels = axis("fast_pixel_direction", 1e-4, [-1, 0, 0], "module_offset") | axis(
        "slow_pixel_direction", 2e-4, [0, -1, 0], "module_offset"
    )
    first = module | {"data_origin": [0, 0]} | pixels | axis("module_offset", 1e-3, [1, 0, 0], f"{base}/z")
    second = (
        module
        | {"data_origin": [4, 0]}
        | pixels
        | axis("module_offset", 1.0, [0, 1, 0], f"{base}/arm", offset=[0.0, 0.0, 3.0], offset_units="mm")
        | {"module_offset@units": "mm"}
    )
    detector = {
        "transformations": {"@NX_class": "NXtransformations", **moved, **arm},
        "module_0": first,
        "module_1": second,
    }
    geometry = read_geometry(tree(detector, incident_energy=12.0, **{"incident_energy@units": "keV"}))
    assert geometry.shape == (8, 8)
    assert geometry.distance_m == pytest.approx(0.2)
    assert geometry.photon_energy_ev == pytest.approx(12_000)
    left, right = geometry.panels
    assert left.corner_m == pytest.approx((1e-3, 0.0, 0.0))
    assert left.slow_step_m == pytest.approx((0.0, -2e-4, 0.0))
    # Turned by 90 degrees around -y: z goes to -x, and -x to -z.
    assert right.corner_m == pytest.approx((-3e-3, 1e-3, 0.0), abs=1e-12)
    assert right.fast_step_m == pytest.approx((0.0, 0.0, -1e-4), abs=1e-12)


def test_our_own_and_a_detectors_files_are_read(tmp_path: Path, captured_data: Path) -> None:
    geometry = read_geometry(captured_data / "hdf5_nexgen_eiger_master" / "xrc_209_master.h5")
    maps = GeometryMaps(geometry)
    assert maps.resolution.shape == geometry.shape
    assert geometry.distance_m is not None
    assert geometry.pixel_size_m == pytest.approx((75e-6, 75e-6))


@pytest.mark.parametrize("missing", ["beam_center_x", "x_pixel_size"])
def test_what_the_detector_was_not_told_is_named(missing: str) -> None:
    detector = {key: value for key, value in FLAT.items() if key != missing}
    with pytest.raises(GeometryIncompleteError, match=missing):
        read_geometry(tree(detector), shape=(4, 8))


def test_metadata_without_a_detector_has_no_geometry() -> None:
    with pytest.raises(GeometryIncompleteError, match="detector"):
        read_geometry({})


def test_frames_of_another_shape_are_refused() -> None:
    detector = {**FLAT, "pixel_mask": np.zeros((5, 6), dtype=np.uint32)}
    with pytest.raises(GeometryShapeError):
        read_geometry(tree(detector), shape=(4, 8)).check((5, 6))


def test_axes_that_depend_on_one_another_in_a_circle_are_refused() -> None:
    module = {"@NX_class": "NXdetector_module", "data_size": [4, 8], "data_origin": [0, 0]}
    module |= axis("fast_pixel_direction", 1e-4, [-1, 0, 0], "a") | axis("slow_pixel_direction", 1e-4, [0, 1, 0], "a")
    module |= axis("a", 1.0, [1, 0, 0], "b") | axis("b", 1.0, [1, 0, 0], "a")
    with pytest.raises(GeometryFormatError, match="no end"):
        read_geometry(tree({**FLAT, "module": module}), shape=(4, 8))


@pytest.mark.parametrize(
    "damage",
    [
        {"beam_center_x": float("nan")},
        {"beam_center_x": "left"},
        {"beam_center_x": 10**400},
        {"beam_center_x": np.zeros(0)},
        {"x_pixel_size": 0.0},
        {"x_pixel_size@units": "furlong"},
        {"x_pixel_size@units": 3},
        {"beam_center_x": 1e30},
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((GeometryIncompleteError, GeometryFormatError)):
        read_geometry(tree({**FLAT, **damage}), shape=(4, 8))


def test_what_is_no_geometry_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.geom"
    path.write_bytes(b"\x00\xff" * 1000)
    with pytest.raises(GeometryFormatError, match="no CrystFEL"):
        read_geometry(path)
    with pytest.raises(GeometryFormatError, match="no such file"):
        read_geometry(tmp_path / "nowhere.geom")
    truncated = tmp_path / "truncated.h5"
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["entry/x"] = np.arange(1000)
    truncated.write_bytes((tmp_path / "whole.h5").read_bytes()[:900])
    with pytest.raises(GeometryFormatError):
        read_geometry(truncated)
