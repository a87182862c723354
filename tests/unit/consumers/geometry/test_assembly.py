"""Assembled images, and geometry files that are written back."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream.errors import ShapeError
from beamstream_consumers.geometry import (
    BadPixels,
    Geometry,
    GeometryFormatError,
    GeometryMaps,
    Panel,
    assemble_pixels,
    read_geometry,
    to_geom,
)
from beamstream_consumers.geometry.crystfel_format import parse_geom

FLAT = Panel(
    name="flat",
    slow=(0, 4),
    fast=(0, 6),
    corner_m=(3.3e-4, 2.1e-4, 0.0),
    fast_step_m=(-1e-4, 0.0, 0.0),
    slow_step_m=(0.0, -1e-4, 0.0),
)


def test_a_flat_detector_is_seen_as_its_frames_are() -> None:
    image = np.arange(24, dtype=np.uint16).reshape(4, 6)
    assembly = assemble_pixels(Geometry(panels=(FLAT,), shape=(4, 6)))
    assert assembly.assemble(image).tolist() == image.tolist()
    assert assembly.centre == pytest.approx((2.1, 3.3))
    other_way = assemble_pixels(Geometry(panels=(FLAT,), shape=(4, 6)), against_the_beam=True)
    assert other_way.assemble(image).tolist() == image[:, ::-1].tolist()
    assert other_way.centre == pytest.approx((2.1, 2.7))
    with pytest.raises(ShapeError):
        assembly.assemble(image.T)


def test_gaps_between_panels_stay_empty() -> None:
    right = replace(FLAT, name="right", slow=(4, 8), corner_m=(3.3e-4 - 8e-4, 2.1e-4, 0.0))
    assembly = assemble_pixels(Geometry(panels=(FLAT, right), shape=(8, 6)))
    image = np.arange(1, 49, dtype=np.int32).reshape(8, 6)
    seen = assembly.assemble(image, -1)
    assert seen.shape == (4, 14)
    assert seen[0].tolist() == [1, 2, 3, 4, 5, 6, -1, -1, 25, 26, 27, 28, 29, 30]


@settings(max_examples=30)
@given(angle=st.floats(0, 2 * math.pi), n_slow=st.integers(1, 20), n_fast=st.integers(1, 20))
def test_every_place_of_a_turned_panel_is_its_nearest_pixel(angle: float, n_slow: int, n_fast: int) -> None:
    c, s = math.cos(angle) * 1e-4, math.sin(angle) * 1e-4
    panel = replace(FLAT, slow=(0, n_slow), fast=(0, n_fast), fast_step_m=(c, s, 0.0), slow_step_m=(-s, c, 0.0))
    geometry = Geometry(panels=(panel,), shape=(n_slow, n_fast))
    assembly = assemble_pixels(geometry)
    maps = GeometryMaps(geometry)
    n_seen = int((assembly.index >= 0).sum())
    assert abs(n_seen - n_slow * n_fast) <= 2 * (n_slow + n_fast)
    for row, column in zip(*np.nonzero(assembly.index >= 0), strict=True):
        x_m = -(column + 0.5 - assembly.centre[1]) * assembly.pixel_size_m
        y_m = -(row + 0.5 - assembly.centre[0]) * assembly.pixel_size_m
        pixel = np.unravel_index(assembly.index[row, column], (n_slow, n_fast))
        away = math.hypot(x_m - maps.x_m[pixel], y_m - maps.y_m[pixel])
        assert away <= 0.71e-4


def test_panels_too_far_apart_for_an_image_are_refused() -> None:
    far = replace(FLAT, name="far", slow=(4, 8), corner_m=(900.0, 900.0, 0.0))
    with pytest.raises(GeometryFormatError, match="image"):
        assemble_pixels(Geometry(panels=(FLAT, far), shape=(8, 6)))


def test_a_file_that_is_written_back_says_the_same(tmp_path: Path, two_panels: str) -> None:
    geometry = parse_geom(two_panels)
    path = tmp_path / "back.geom"
    path.write_text(to_geom(geometry, comment="written by a test"))
    back = read_geometry(path)
    first, second = GeometryMaps(geometry), GeometryMaps(back)
    for name in ("x_m", "y_m", "z_m", "resolution"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), rel=1e-6, nan_ok=True)
    assert second.panel_id.tolist() == first.panel_id.tolist()
    assert (back.masks, back.bad, back.data_location) == (geometry.masks, geometry.bad, geometry.data_location)
    assert back.panels[0].flags == geometry.panels[0].flags
    assert back.groups["all"] == ("p0", "p1")


def test_what_crystfel_would_not_take_is_named_otherwise() -> None:
    panel = replace(FLAT, name="bad name/1")
    region = BadPixels(name="hot", slow=(0, 100), fast=(2, 3))
    text = to_geom(Geometry(panels=(panel,), shape=(4, 6), bad=(region,), distance_m=0.1))
    assert "bad name" not in text
    maps = GeometryMaps(parse_geom(text))
    assert maps.bad[:, 2].all()
    assert not maps.bad[:, 3].any()


def test_several_panels_are_one_group_unless_there_is_one() -> None:
    geometry = Geometry(panels=(FLAT, replace(FLAT, name="other", slow=(4, 8))), shape=(8, 6), distance_m=0.1)
    assert parse_geom(to_geom(geometry)).groups == {"all": ("flat", "other")}
    assert parse_geom(to_geom(replace(geometry, groups={"all": ("other", "flat")}))).groups["all"] == ("other", "flat")


def test_places_stand_in_for_numbers() -> None:
    geometry = Geometry(panels=(FLAT,), shape=(4, 6), distance_m=0.1, wavelength_a=1.0)
    places = {"distance": "detector_distance mm", "wavelength": "beam_energy eV"}
    text = to_geom(geometry, data="detector_data", axes=("ss", "fs"), locations=places, peak_list="peak_list")
    assert "clen = detector_distance mm" in text
    assert "photon_energy = beam_energy eV" in text
    assert parse_geom(text).locations == {"distance": "detector_distance mm", "wavelength": "beam_energy eV"}
