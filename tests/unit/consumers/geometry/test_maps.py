"""Maps against formulas written out for each pixel, and against pyFAI where it is installed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from beamstream_consumers.geometry import (
    BadArea,
    BadPixels,
    Geometry,
    GeometryFormatError,
    GeometryIncompleteError,
    GeometryMaps,
    GeometryShapeError,
    Panel,
)

TILTED = Panel(
    name="tilted",
    slow=(0, 5),
    fast=(0, 7),
    corner_m=(3e-3, 2e-3, 1e-3),
    fast_step_m=(-0.9e-4, 0.2e-4, 0.1e-4),
    slow_step_m=(-0.2e-4, -0.9e-4, 0.3e-4),
)
FLAT = Panel(
    name="flat",
    slow=(6, 11),
    fast=(0, 7),
    corner_m=(3.5e-4, 2.5e-4, 0.0),
    fast_step_m=(-1e-4, 0.0, 0.0),
    slow_step_m=(0.0, -1e-4, 0.0),
)
GEOMETRY = Geometry(panels=(TILTED, FLAT), shape=(11, 8), distance_m=0.1, wavelength_a=1.2)


def position_m(panel: Panel, slow: int, fast: int, distance_m: float) -> tuple[float, float, float]:
    down, along = slow - panel.slow[0] + 0.5, fast - panel.fast[0] + 0.5
    x, y, z = (
        corner + down * step_slow + along * step_fast
        for corner, step_slow, step_fast in zip(panel.corner_m, panel.slow_step_m, panel.fast_step_m, strict=True)
    )
    return x, y, z + distance_m


@pytest.mark.parametrize(("slow", "fast"), [(0, 0), (4, 6), (6, 0), (8, 3), (10, 6)])
def test_each_map_is_its_formula_at_the_pixels_centre(slow: int, fast: int) -> None:
    maps = GeometryMaps(GEOMETRY)
    panel = TILTED if slow < 5 else FLAT
    x, y, z = position_m(panel, slow, fast, 0.1)
    radius = math.hypot(x, y)
    two_theta = math.atan2(radius, z)
    expected = {
        "x_m": x,
        "y_m": y,
        "z_m": z,
        "radius_m": radius,
        "radius_pixels": radius / (sum(panel.pixel_size_m) / 2),
        "azimuth": math.atan2(y, x),
        "two_theta": two_theta,
        "q": 4 * math.pi * math.sin(two_theta / 2) / 1.2,
        "resolution": 1.2 / (2 * math.sin(two_theta / 2)) if two_theta else math.inf,
    }
    assert {name: float(getattr(maps, name)[slow, fast]) for name in expected} == pytest.approx(expected, rel=1e-6)


def test_pixels_without_a_panel_are_said_to_be_none() -> None:
    maps = GeometryMaps(GEOMETRY)
    assert (maps.panel_id[5] == -1).all()
    assert (maps.panel_id[:, 7] == -1).all()
    assert maps.bad[5].all()
    assert np.isnan(maps.resolution[5]).all()
    assert (maps.radius_pixels[5] == 0).all()
    assert np.isfinite(maps.resolution[6:, :7]).sum() == 34  # the beam itself has no resolution


def test_the_first_panel_has_what_two_of_them_hold() -> None:
    second = replace(FLAT, name="second", slow=(8, 11))
    maps = GeometryMaps(Geometry(panels=(FLAT, second), shape=(11, 7)))
    assert (maps.panel_id[6:] == 0).all()


def test_a_flat_detectors_solid_angle_is_the_cube_of_the_cosine() -> None:
    maps = GeometryMaps(Geometry(panels=(FLAT,), shape=(11, 7), distance_m=0.01))
    assert maps.solid_angle[6:] == pytest.approx(np.cos(maps.two_theta[6:]) ** 3, rel=1e-6)


def test_polarisation_leaves_nothing_at_right_angles_in_its_plane() -> None:
    sideways = Panel(
        name="0", slow=(0, 1), fast=(0, 1), corner_m=(0.1, -5e-5, -5e-5),
        fast_step_m=(0.0, 0.0, 1e-4), slow_step_m=(0.0, 1e-4, 0.0),
    )  # fmt: skip
    maps = GeometryMaps(Geometry(panels=(sideways,), shape=(1, 1), distance_m=1e-12))
    assert maps.polarisation(1.0)[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert maps.polarisation(1.0, math.pi / 2)[0, 0] == pytest.approx(1.0)
    assert maps.polarisation(0.0)[0, 0] == pytest.approx(0.5)


def test_what_is_bad_is_in_no_panel() -> None:
    geometry = replace(
        GEOMETRY,
        panels=(replace(TILTED, usable=False), replace(FLAT, edge_pixels=1)),
        bad=(BadPixels(name="bad0", slow=(7, 9), fast=(1, 3)), BadPixels(name="bad1", slow=(0, 11), fast=(4, 5))),
    )
    expected = np.full((11, 8), -1)
    expected[7:10, 1:6] = 1
    expected[7:9, 1:3] = -1
    expected[:, 4] = -1
    assert GeometryMaps(geometry).panel_id.tolist() == expected.tolist()
    assert GeometryMaps(geometry).panel_number[0, 0] == 0


def test_bad_pixels_of_a_panel_leave_the_others_alone() -> None:
    region = BadPixels(name="bad", slow=(0, 11), fast=(0, 2), panel="flat")
    maps = GeometryMaps(replace(GEOMETRY, bad=(region,)))
    assert not maps.bad[:5, :2].any()
    assert maps.bad[6:, :2].all()


def test_a_bad_area_takes_the_pixels_whose_first_corner_is_inside() -> None:
    area = BadArea(name="bad", x=(-1.0, 1.0), y=(-10.0, 10.0))
    maps = GeometryMaps(Geometry(panels=(replace(FLAT, slow=(0, 5)),), shape=(5, 7), bad=(area,)))
    # First corners are at x = 3.5, 2.5, 1.5, 0.5, -0.5, ... pixels.
    assert maps.bad[2].tolist() == [False, False, False, True, True, False, False]


def test_frames_of_another_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(GeometryShapeError, match=r"\(11, 8\).*\(2167, 2070\)") as caught:
        GEOMETRY.check((2167, 2070))
    assert (caught.value.geometry_shape, caught.value.frame_shape) == ((11, 8), (2167, 2070))
    GEOMETRY.check((11, 8))
    assert GeometryMaps(GEOMETRY.within((20, 20))).panel_id.shape == (20, 20)
    with pytest.raises(GeometryShapeError):
        GEOMETRY.within((10, 20))


def test_what_is_not_known_is_asked_for() -> None:
    maps = GeometryMaps(Geometry(panels=(FLAT,), shape=(11, 7)))
    assert maps.radius_pixels[8, 3] == 0
    with pytest.raises(GeometryIncompleteError, match="distance"):
        _ = maps.two_theta
    with pytest.raises(GeometryIncompleteError, match="wavelength"):
        _ = GeometryMaps(maps.geometry.at(distance_m=0.1)).resolution
    assert GeometryMaps(maps.geometry.at(distance_m=0.1, wavelength_a=1.0)).resolution[6, 0] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"panels": ()},
        {"shape": (10, 8)},
        {"shape": (1 << 20, 1 << 20)},
        {"distance_m": -1.0},
        {"wavelength_a": math.nan},
        {"panels": (replace(FLAT, corner_m=(math.nan, 0.0, 0.0)),)},
        {"panels": (replace(FLAT, corner_m=(1e9, 0.0, 0.0)),)},
        {"panels": (replace(FLAT, fast=(3, 3)),)},
        {"panels": (replace(FLAT, fast=(-1, 3)),)},
        {"panels": (replace(FLAT, fast_step_m=(0.0, 0.0, 0.0)),)},
        {"panels": (replace(FLAT, fast_step_m=FLAT.slow_step_m),)},
    ],
)
def test_an_impossible_detector_is_refused_before_anything_is_made_of_it(changes: dict[str, object]) -> None:
    with pytest.raises(GeometryFormatError):
        replace(GEOMETRY, **changes)  # type: ignore[arg-type]
