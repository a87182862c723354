"""pyFAI's files; numbers of pyFAI 2026.9, and pyFAI itself where it is installed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from beamstream_consumers.geometry import GeometryFormatError, GeometryIncompleteError, GeometryMaps, read_geometry
from beamstream_consumers.geometry.poni_format import parse_poni

PONI = """\
# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2.1
Detector: Detector
Detector_config: {{"pixel1": 0.0001, "pixel2": 0.0002, "max_shape": [4, 6], "orientation": {orientation}}}
Distance: 0.1
Poni1: 0.0001
Poni2: 0.0002
Rot1: 0.1
Rot2: 0.2
Rot3: 0.3
Wavelength: 1e-10
"""

# (t3, t1, t2) [m] of pixels (0, 0) and (3, 5), by pyFAI.
CENTRES = {
    1: ((0.09747864099547769, -0.021848579246368797, 0.004628891289817963),
        (0.0975168835931388, -0.021854371398568516, 0.003585577367214343)),
    2: ((0.09757648439014892, -0.0215734833999953, 0.0036724662072533353),
        (0.09741904019846756, -0.022129467244942014, 0.004542002449778971)),
    3: ((0.0975168835931388, -0.021854371398568516, 0.003585577367214343),
        (0.09747864099547769, -0.021848579246368797, 0.004628891289817963)),
    4: ((0.09741904019846756, -0.022129467244942014, 0.004542002449778971),
        (0.09757648439014892, -0.0215734833999953, 0.0036724662072533353)),
}  # fmt: skip


@pytest.mark.parametrize("orientation", CENTRES)
def test_pixels_are_where_pyfai_has_them(orientation: int) -> None:
    geometry = parse_poni(PONI.format(orientation=orientation))
    maps = GeometryMaps(geometry)
    for (slow, fast), (t3, t1, t2) in zip(((0, 0), (3, 5)), CENTRES[orientation], strict=True):
        found = [float(axis[slow, fast]) for axis in (maps.x_m, maps.y_m, maps.z_m)]
        assert found == pytest.approx([-t2, t1, t3], rel=2e-7)
    assert geometry.wavelength_a == pytest.approx(1.0)


def test_maps_are_pyfais() -> None:
    pyfai = pytest.importorskip("pyFAI.geometry")
    detectors = pytest.importorskip("pyFAI.detectors")
    detector = detectors.Detector(1e-4, 2e-4, max_shape=(4, 6), orientation=3)
    theirs = pyfai.Geometry(
        dist=0.1, poni1=1e-4, poni2=2e-4, rot1=0.1, rot2=0.2, rot3=0.3, detector=detector, wavelength=1e-10
    )
    ours = GeometryMaps(parse_poni(PONI.format(orientation=3)))
    assert ours.two_theta == pytest.approx(theirs.twoThetaArray(), rel=1e-6)
    assert ours.solid_angle == pytest.approx(theirs.solidAngleArray(), rel=1e-6)
    assert ours.polarisation(0.9) == pytest.approx(theirs.polarization(factor=0.9), rel=1e-6)
    assert ours.q == pytest.approx(theirs.qArray() / 10, rel=1e-6)


def test_the_first_version_has_pixel_sizes_of_its_own() -> None:
    text = "PixelSize1: 1.72e-04\nPixelSize2: 1.72e-04\nDistance: 0.2\nPoni1: 0.05\nPoni2: 0.04\n"
    geometry = parse_poni(text, shape=(619, 487))
    assert geometry.pixel_size_m == pytest.approx((172e-6, 172e-6))
    assert geometry.wavelength_a is None
    with pytest.raises(GeometryIncompleteError, match="how many pixels"):
        parse_poni(text)


def test_the_second_version_names_its_detector() -> None:
    geometry = parse_poni("poni_version: 2\nDetector: Eiger2_4M\nDetector_config: {}\nDistance: 0.1\n")
    assert geometry.shape == (2162, 2068)
    assert geometry.pixel_size_m == pytest.approx((75e-6, 75e-6))
    with pytest.raises(GeometryIncompleteError, match="'Exotic'"):
        parse_poni("poni_version: 2\nDetector: Exotic\nDistance: 0.1\n", shape=(10, 10))


def test_without_rotations_the_beam_meets_the_poni() -> None:
    config = '{"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [100, 80]}'
    text = f"Detector_config: {config}\nDistance: 0.1\nPoni1: 5.5e-3\nPoni2: 2.5e-3\n"
    maps = GeometryMaps(parse_poni(text))
    assert np.unravel_index(np.argmin(maps.radius_pixels), (100, 80)) in {(54, 24), (55, 25), (54, 25), (55, 24)}
    assert maps.radius_pixels[54, 24] == pytest.approx(math.sqrt(0.5), rel=1e-5)


def test_the_last_calibration_in_a_file_counts() -> None:
    text = PONI.format(orientation=3)
    assert parse_poni(text + text.replace("Distance: 0.1", "Distance: 0.5")).distance_m == 0.5


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        ("Distance\n", 1),
        ("Distance: nan\n", 1),
        ("Distance: 1e999\n", 1),
        ("Distance: 0.1\nPoni1: wide\n", 2),
        ("Distance: 0.1\nRot1: 1e9\n", 2),
        ("Distance: 0.1\nDetector_config: [1\n", 2),
        ("Distance: 0.1\nDetector_config: " + "[" * 100_000 + "\n", 2),
        ('Distance: 0.1\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [1e99, 3]}\n', 2),
        ('Distance: 0.1\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [4], "orientation": 9}\n', 2),
        ('Distance: 0.1\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "orientation": 9}\n', 2),
        ('Distance: 0.1\nDetector: a\nDetector_config: {"pixel1": true, "pixel2": 1e-4}\n', 2),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_line(text: str, line: int) -> None:
    shape = None if "max_shape" in text else (4, 6)
    with pytest.raises(GeometryFormatError) as caught:
        parse_poni(text, shape=shape)
    assert caught.value.line == line


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "calibration.txt"
    path.write_text(PONI.format(orientation=3))
    assert read_geometry(path).shape == (4, 6)
