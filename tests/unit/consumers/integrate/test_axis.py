"""Radial positions: one panel that can be computed by hand, and pyFAI where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import UsageError
from beamstream_consumers.geometry import Geometry, GeometryIncompleteError, Panel
from beamstream_consumers.integrate.axis import AXES, find_axis, normalization, radial_positions


def geometry(*, corner_m: tuple[float, float, float] = (0.0, 0.0, 0.0), **changes: object) -> Geometry:
    panel = Panel(
        name="0",
        slow=(0, 2),
        fast=(0, 3),
        corner_m=corner_m,
        fast_step_m=(-2e-4, 0.0, 0.0),
        slow_step_m=(0.0, -1e-4, 0.0),
    )
    fields = {"panels": (panel,), "shape": (2, 3), "distance_m": 0.1, "wavelength_a": 2.0, **changes}
    return Geometry(**fields)


def test_positions_are_those_of_the_centres() -> None:
    radius_m = np.hypot(2e-4 * 2.5, 1e-4 * 1.5)
    theta = np.arctan2(radius_m, 0.1) / 2
    expected = {
        "r_mm": radius_m * 1e3,
        "2th_rad": 2 * theta,
        "2th_deg": np.degrees(2 * theta),
        "q_A^-1": 4 * np.pi * np.sin(theta) / 2.0,
        "q_nm^-1": 4 * np.pi * np.sin(theta) / 0.2,
    }
    assert expected.keys() == AXES.keys()
    for name, value in expected.items():
        position, half_width = radial_positions(geometry(), find_axis(name), splits=False)
        assert position[1, 2] == pytest.approx(value, rel=1e-12)
        assert half_width is None


def test_a_pixel_reaches_as_far_as_its_farthest_corner() -> None:
    _, half_width = radial_positions(geometry(), find_axis("r_mm"), splits=True)
    assert half_width is not None
    reach = max(abs(np.hypot(x, y) - np.hypot(0.5, 0.15)) for x in (0.4, 0.6) for y in (0.1, 0.2))
    assert half_width[1, 2] == pytest.approx(reach, rel=1e-12)
    assert half_width[0, 0] == pytest.approx(np.hypot(0.1, 0.05))  # to the corner that the beam goes through


def test_where_no_panel_is_there_is_no_position() -> None:
    position, half_width = radial_positions(geometry(shape=(3, 4)), find_axis("r_mm"), splits=True)
    assert half_width is not None
    for one in (position, half_width):
        assert np.isnan(one).tolist() == [[False] * 3 + [True]] * 2 + [[True] * 4]


def test_corrections_are_multiplied() -> None:
    corner_m = (0.02, 0.01, 0.0)
    solid = normalization(geometry(corner_m=corner_m), solid_angle=True, polarisation=None)
    polarised = normalization(geometry(corner_m=corner_m), solid_angle=False, polarisation=0.9)
    both = normalization(geometry(corner_m=corner_m), solid_angle=True, polarisation=0.9)
    assert both == pytest.approx(solid * polarised)
    assert np.all(both < solid) or np.all(both < polarised)
    assert np.all(normalization(geometry(), solid_angle=False, polarisation=None) == 1)


def test_a_scattering_vector_needs_a_wavelength_and_a_radius_does_not() -> None:
    without = geometry(wavelength_a=None)
    radial_positions(without, find_axis("r_mm"), splits=False)
    with pytest.raises(GeometryIncompleteError, match="wavelength"):
        radial_positions(without, find_axis("q_A^-1"), splits=False)


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="q_A"):
        find_axis("q")
