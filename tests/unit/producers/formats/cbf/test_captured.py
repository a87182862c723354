"""Files of a real PILATUS 300K: every number that is known about them."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.formats import cbf

ZURICH = ZoneInfo("Europe/Zurich")
KNOWN = {  # number: sum of what is counted, time of the header in Geneva
    10001: (1886800, 1320166744733000000),
    10002: (1866929, 1320166745738000000),
    10005: (1871885, 1320166748753000000),
}


@pytest.fixture(params=KNOWN)
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def data(captured_data: Path, number: int) -> bytes:
    return (captured_data / "cbf_pilatus300k_albis" / f"in16c_{number:06d}.cbf").read_bytes()


def pixels_of(image: cbf.CbfImage) -> np.ndarray:
    section = image.section
    return codecs.decode(image.payload, section.codec, section.shape, section.dtype)


def test_pixels_gaps_bad_pixels_and_time_are_those_that_are_known(data: bytes, number: int) -> None:
    image = cbf.decode(data)
    pixels = pixels_of(image)
    assert (pixels.shape, pixels.dtype) == ((619, 487), np.dtype("<i4"))
    assert (pixels[pixels >= 0].sum(), (pixels == -1).sum(), (pixels == -2).sum()) == (KNOWN[number][0], 16558, 19)
    assert cbf.timestamp_ns(image.header, ZURICH) == KNOWN[number][1]
    assert image.header.convention == "SLS/DECTRIS_1.1"


def test_the_payload_is_a_view_of_the_file_and_its_md5_is_looked_at(data: bytes) -> None:
    image = cbf.decode(data)
    assert image.payload.obj is data
    at = data.index(bytes(image.payload[:64]))
    with pytest.raises(cbf.CbfDigestError):
        cbf.decode(data[: at + 1000] + bytes([data[at + 1000] ^ 1]) + data[at + 1001 :])


def test_our_own_file_is_the_captured_one_but_for_the_name_in_its_first_line(data: bytes) -> None:
    image = cbf.decode(data)
    section = image.section
    again = cbf.encode(
        codecs.encode(pixels_of(image), "byte-offset"),
        shape=section.shape,
        dtype=section.dtype,
        codec="byte-offset",
        lines=image.header.lines,
        block=image.header.block,
        convention=image.header.convention,
    )
    assert again.partition(b"\r\n")[2] == data.partition(b"\r\n")[2]


def test_the_header_becomes_a_nexus_tree(captured_data: Path) -> None:
    data = (captured_data / "cbf_pilatus300k_albis" / "in16c_010001.cbf").read_bytes()
    entry = cbf.stream_metadata(cbf.decode(data), ZURICH)["entry"]
    detector = entry["instrument"]["detector"]
    mask = detector.pop("pixel_mask")
    assert ((mask & 1 != 0).sum(), (mask & 2 != 0).sum(), mask.dtype) == (16558, 19, np.uint32)
    assert entry["start_time"] == "2011-11-01T17:59:04.733000+01:00"
    assert detector.pop("detectorSpecific")["n_excluded_pixels"] == "19"
    assert {name: value for name, value in detector.items() if "@" not in name} == {
        "type": "Pixel",
        "bit_depth_image": 32,
        "description": "PILATUS 300K",
        "serial_number": "3-0118",
        "sensor_material": "Si",
        "sensor_thickness": 320e-6,
        "gain_setting": "high gain",
        "count_time": 1.0,
        "frame_time": 1.005,
        "x_pixel_size": 172e-6,
        "y_pixel_size": 172e-6,
        "dead_time": 383.8e-9,
        "threshold_energy": 4024.0,
        "saturation_value": 1302749,
        "distance": 0.04,
        "beam_center_x": 244.0,
        "beam_center_y": 308.0,
    }
    assert entry["instrument"]["beam"]["incident_wavelength"] == 1.542
