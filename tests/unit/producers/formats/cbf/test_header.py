"""The detector's header by position, its times, and what becomes of it as metadata."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.formats import cbf
from beamstream_producers.formats.cbf.mini_header import MiniHeader, read_mini_header
from beamstream_producers.formats.cbf.times import parse_time

BERLIN = ZoneInfo("Europe/Berlin")
NEW = """Detector: PILATUS3 6M, S/N 60-0119, Diamond
2019-09-11T13:20:28.989
Pixel_size 172e-6 m x 173e-6 m
CdTe sensor, thickness 0.001000 m
Exposure_time 0.0396 s
Exposure_period 0.0400 s
Tau = 0 s
Count_cutoff 115897 counts
Threshold_setting: 0
Gain_setting: autog (vrf = 1.000)
Wavelength 0.96859 A
Energy_range (0, 0) eV
Detector_distance 0.19926 m
Detector_Voffset 0.01 m
Beam_xy (1261.61, 1306.96) pixels
Flux 1e12
Filter_transmission 0.0500
Start_angle 10.1000 deg.
Angle_increment 0.1000 deg.
Detector_2theta 5.0000 deg.
Polarization 0.990
Kappa 20.0000 deg.
Oscillation_axis X.CW +SLOW
"""


def header_of(text: str, convention: str = "PILATUS_1.2", newline: str = "\r\n") -> MiniHeader:
    lines = [f'_array_data.header_convention "{convention}"', "_array_data.header_contents", ";"]
    lines += [f"# {line}" for line in text.splitlines()]
    return read_mini_header(newline.join([*lines, ";", "", "_array_data.data", ""]))


def metadata_of(text: str) -> dict:
    pixels = np.array([[-2, -1, 0], [1, 2, 3]], "<i4")
    data = cbf.encode(
        codecs.encode(pixels, "byte-offset"), shape=(2, 3), dtype=pixels.dtype, codec="byte-offset",
        lines=text.splitlines(),
    )  # fmt: skip
    return cbf.stream_metadata(cbf.decode(data), BERLIN)


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize("convention", cbf.CONVENTIONS)
def test_values_are_found_by_position_whatever_stands_between_them(convention: str, newline: str) -> None:
    header = header_of(NEW, convention, newline)
    assert header.convention == convention
    assert [header.number("pixel_size", k) for k in (0, 3)] == [172e-6, 173e-6]
    assert [header.number("beam_xy", k) for k in (0, 1)] == [1261.61, 1306.96]
    assert header.words["sensor"][:3] == ("CdTe", "thickness", "0.001000")
    same = [header_of(f"Tau{between}124e-9 s").number("tau") for between in (" = ", ": ", " ", "=", " ( ", ", # ")]
    assert same == [124e-9] * 6


@pytest.mark.parametrize("text", ["", "Tau", "Tau = s", "Tau = nan s", "Tau = 1e999 s", "tau_2 = 1 s"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert header_of(text).number("tau") is None


def test_absent_keys_are_normal() -> None:
    entry = metadata_of("")["entry"]
    detector = entry["instrument"]["detector"]
    assert set(detector) == {"@NX_class", "type", "bit_depth_image", "pixel_mask"}
    assert detector["pixel_mask"].tolist() == [[2, 1, 0], [0, 0, 0]]
    assert "beam" not in entry["instrument"]
    assert "sample" not in entry


def test_a_new_detectors_header_goes_where_nexus_has_a_place_for_it() -> None:
    entry = metadata_of(NEW)["entry"]
    detector, beam = entry["instrument"]["detector"], entry["instrument"]["beam"]
    assert (detector["description"], detector["serial_number"]) == ("PILATUS3 6M", "60-0119")
    assert (detector["sensor_material"], detector["sensor_thickness"]) == ("CdTe", 0.001)
    assert (detector["x_pixel_size"], detector["y_pixel_size"]) == (172e-6, 173e-6)
    assert detector["gain_setting"] == "autog"
    assert "threshold_energy" not in detector, "0 is how a detector says unknown"
    assert "dead_time" not in detector, "0 is what a PILATUS3 says"
    assert detector["transformations"]["detector_voffset"] == 0.01
    assert beam["incident_wavelength"] == 0.96859
    assert beam["total_flux"] == 1e12
    assert beam["incident_polarization_stokes"] == [1.0, 0.99, 0.0, 0.0]
    assert entry["instrument"]["attenuator"]["attenuator_transmission"] == 0.05
    assert detector["detectorSpecific"]["oscillation_axis"] == "X.CW +SLOW"
    axes = entry["sample"]["transformations"]
    assert (axes["rotation"], axes["rotation_increment_set"]) == (10.1, 0.1), "the header does not name the axis"
    assert (axes["kappa"], axes["two_theta"]) == (20.0, 5.0)


def test_an_axis_that_is_named_is_called_so() -> None:
    axes = metadata_of("Start_angle 3 deg\nAngle_increment 0.5 deg\nOscillation_axis PHI, CW")["entry"]["sample"]
    assert axes["transformations"]["phi"] == 3.0


def test_each_message_has_the_numbers_of_its_own_image() -> None:
    said = cbf.image_metadata(header_of(NEW))
    assert (said["start_angle"], said["exposure_time"], said["kappa"]) == (10.1, 0.0396, 20.0)
    assert "omega" not in said


@pytest.mark.parametrize("text", ["2019-09-11T13:20:28.989", "2019-Sep-11T13:20:28.989", "2019/Sep/11 13:20:28.989"])
def test_both_spellings_of_a_time_are_the_same_time_in_the_zone_that_is_named(text: str) -> None:
    assert cbf.timestamp_ns(header_of(text), BERLIN) == 1568200828989000000
    assert cbf.timestamp_ns(header_of(text), ZoneInfo("UTC")) == 1568208028989000000


def test_winter_and_summer_have_offsets_of_their_own() -> None:
    winter, summer = (parse_time(text, BERLIN) for text in ("2020-01-15T12:00:00", "2020-07-15T12:00:00"))
    assert winter is not None
    assert summer is not None
    assert [time.isoformat()[-6:] for time, _ in (winter, summer)] == ["+01:00", "+02:00"]


def test_an_hour_that_comes_twice_is_the_first_one() -> None:
    first = parse_time("2020-10-25T02:30:00", BERLIN)
    assert first is not None
    assert first[0].isoformat() == "2020-10-25T02:30:00+02:00"


def test_without_a_zone_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert cbf.timestamp_ns(header_of("2019-07-11T09:00:00.5"), None) == 1562803200500000000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", [
    None, "", "now", "2019-13-11T13:20:28", "2019-Foo-11T13:20:28", "2019-02-30T00:00:00", "0001-01-01T00:00:00",
    "2019-09-11T25:00:00", "2019-09-11", "9999999-01-01T00:00:00",
])  # fmt: skip
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert parse_time(text, BERLIN) is None
