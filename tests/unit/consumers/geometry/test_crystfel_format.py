"""CrystFEL's geometry files: what the documentation says, and what people write."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from beamstream_consumers.geometry import BadArea, BadPixels, GeometryFormatError, GeometryMaps, MaskFile
from beamstream_consumers.geometry.crystfel_format import parse_geom


def test_a_file_is_read_as_the_documentation_says(two_panels: str) -> None:
    geometry = parse_geom(two_panels, "two.geom")
    assert geometry.shape == (10, 10)
    assert geometry.distance_m == pytest.approx(0.08)
    assert geometry.photon_energy_ev == pytest.approx(9500)
    first, second = geometry.panels
    assert (first.slow, first.fast) == ((0, 5), (0, 10))
    assert first.corner_m == pytest.approx((-5.5e-4, 6.25e-4, 1e-3))
    assert first.fast_step_m == pytest.approx((0.999e-4, -0.01e-4, 0.0))
    assert first.slow_step_m == pytest.approx((-0.01e-4, -0.999e-4, 0.002e-4))
    assert first.adu_per_photon == 2
    assert first.flags.equal == (65535, -1)
    assert first.flags.more_than == 60000
    assert first.usable
    assert not second.usable
    assert (second.slow, second.fast) == ((5, 10), (2, 9))
    assert second.corner_m == pytest.approx((2e-4, -4e-4, 0.0))  # in its own, larger pixels
    assert geometry.bad == (
        BadArea(name="badbeam", x=(-2.0, 2.0), y=(-3.5, 3.5)),
        BadPixels(name="bad_row", slow=(3, 4), fast=(0, 10), panel="p0"),
    )
    assert geometry.masks == (MaskFile(location="/entry/instrument/detector/pixel_mask", bad_bits=0xFFFF),)
    assert geometry.groups == {"all": ("p0", "p1"), "q": ("p0", "p1")}
    assert geometry.data_location == "/entry/data/data"


def test_gaps_between_modules_stay_in_the_frame() -> None:
    modules = "\n".join(
        f"m{n}/min_ss = {n * 551}\nm{n}/max_ss = {n * 551 + 513}\nm{n}/corner_y = {n * 551}" for n in range(4)
    )
    text = f"res=13333.3\nmin_fs=0\nmax_fs=2069\nfs=x\nss=y\ncorner_x=-1035\nclen=0.1\n{modules}\n"
    geometry = parse_geom(text)
    geometry.check((2167, 2070))
    maps = GeometryMaps(geometry)
    assert maps.panel_id[513:552, 0].tolist() == [0] + [-1] * 37 + [1]


ONE = "p/min_fs=0\np/max_fs=1\np/min_ss=0\np/max_ss=1\np/corner_x=0\np/corner_y=0\np/fs=x\np/ss=y\np/res=1e4\n"


def test_a_place_in_place_of_a_number_is_looked_up() -> None:
    text = "clen = /entry/z\nphoton_energy = /entry/energy keV\n" + ONE
    unknown = parse_geom(text)
    assert (unknown.distance_m, unknown.wavelength_a) == (None, None)
    assert unknown.locations == {"distance": "/entry/z mm", "wavelength": "/entry/energy keV"}
    known = parse_geom(text, metadata={"entry": {"z": np.array([85.0, 90.0]), "energy": 12.0}})
    assert known.distance_m == pytest.approx(0.085)
    assert known.photon_energy_ev == pytest.approx(12_000)


def test_a_camera_length_for_each_panel_is_an_offset_of_it() -> None:
    other = ONE.replace("p/", "r/").replace("min_ss=0", "min_ss=2").replace("max_ss=1", "max_ss=3")
    geometry = parse_geom(f"{ONE}p/clen = 0.1\n{other}r/clen=0.12\n")
    assert geometry.distance_m == pytest.approx(0.1)
    assert [panel.corner_m[2] for panel in geometry.panels] == pytest.approx([0.0, 0.02])


def test_a_shift_moves_all_panels() -> None:
    geometry = parse_geom("detector_shift_x = 2 mm\ndetector_shift_y=0.001\n" + ONE)
    assert geometry.panels[0].corner_m == pytest.approx((2e-3, 1e-3, 0.0))


def test_what_is_no_statement_is_said_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_geom(f"{ONE}p/cornerx = 3\n")
    assert "line 10: p/cornerx" in caplog.text


def test_panels_that_hold_the_same_pixels_are_named(caplog: pytest.LogCaptureFixture) -> None:
    other = ONE.replace("p/", "r/").replace("min_ss=0", "min_ss=1").replace("max_ss=1", "max_ss=2")
    with caplog.at_level(logging.WARNING):
        parse_geom(ONE + other)
    assert "panels p and r hold the same pixels" in caplog.text


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 0, "no panel"),
        ("p/min_fs\n", 1, "no statement"),
        (ONE.replace("p/max_fs=1", "p/max_fs=1e12"), 2, "over"),
        (ONE.replace("p/max_fs=1", "p/max_fs=0.5"), 2, "no pixel number"),
        (ONE.replace("p/max_fs=1", "p/max_fs=-3"), 2, "no pixel number"),
        (ONE.replace("p/min_fs=0", "p/min_fs=5"), 2, "below"),
        (ONE.replace("p/corner_x=0", "p/corner_x=nan"), 5, "no number"),
        (ONE.replace("p/corner_x=0", "p/corner_x=1e99"), 5, "over"),
        (ONE.replace("p/corner_y=0", "p/corner_y=1e400"), 6, "no number"),
        (ONE.replace("p/corner_y=0\n", ""), 1, "no corner_y"),
        (ONE.replace("p/fs=x", "p/fs=sideways"), 7, "no direction"),
        (ONE.replace("p/fs=x", "p/fs=0.5x.5y"), 7, "no direction"),
        (ONE.replace("p/fs=x", "p/fs="), 7, "no direction"),
        (ONE.replace("p/res=1e4", "p/res=0"), 9, "res"),
        (ONE + "clen = -0.1\n", 10, "above 0"),
        (ONE + "clen = nan\n", 10, "clen"),
        (ONE + "photon_energy = 9500 furlongs\n", 10, "unit"),
        (ONE + "photon_energy = -5\n", 10, "above 0"),
        (ONE + "photon_energy = 9500eV\n", 10, "photon_energy"),
        (ONE + "wavelength = 1.0\n", 10, "unit"),
        (ONE + "bad1/min_x=0\nbad1/max_fs=3\n", 11, "use one"),
        (ONE + "bad1/min_x=0\n", 10, "no max_x"),
        (ONE + "bad1/min_fs=0\nbad1/panel=q\n", 11, "'q'"),
        (ONE + "p/dim0 = 3\np/dim1 = ss\np/dim2 = fs\n", 12, "two axes"),
        (ONE + "p/dim0 = fs\np/dim1 = ss\n", 11, "ss"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(GeometryFormatError, match=why) as caught:
        parse_geom(text, "x.geom")
    assert caught.value.line == line


def test_panels_in_different_datasets_are_refused() -> None:
    other = ONE.replace("p/", "r/").replace("_ss=0", "_ss=2").replace("_ss=1", "_ss=3")
    with pytest.raises(GeometryFormatError, match="different datasets"):
        parse_geom(f"{ONE}p/data = /a\n{other}r/data = /b\n")
