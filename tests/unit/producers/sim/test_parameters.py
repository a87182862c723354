"""The configuration: what a key may be, and what follows from it."""

from __future__ import annotations

import math

import pytest

from beamstream_producers.sim.images.detectors import find_model
from beamstream_producers.sim.parameters import (
    EV_ANGSTROM,
    UnknownKeyError,
    ValueRefusedError,
    absent_configuration,
    detector_configuration,
    stream_configuration,
)


@pytest.fixture
def detector():
    return detector_configuration(find_model("1M"))


REFUSED = [
    ("nimages", 0),
    ("nimages", -1),
    ("nimages", 1.5),
    ("nimages", True),
    ("nimages", "10"),
    ("nimages", 2_000_000_001),
    ("nimages", None),
    ("frame_time", 0),
    ("frame_time", "0.1"),
    ("frame_time", math.nan),
    ("frame_time", math.inf),
    ("photon_energy", 100),
    ("compression", "zip"),
    ("compression", 1),
    ("compression", ["bslz4"]),
    ("trigger_mode", "inte"),
    ("bit_depth_image", 12),
    ("flatfield_correction_applied", "yes"),
    ("flatfield_correction_applied", 2),
    ("detector_translation", [1, "a"]),
    ("description", "mine"),
    ("sensor_thickness", 1e-3),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_value_that_cannot_be_is_refused_by_name(detector, key, value):
    with pytest.raises(ValueRefusedError, match=key):
        detector.change(key, value)


def test_a_key_that_is_not_there_is_unknown(detector):
    with pytest.raises(UnknownKeyError, match="nimage"):
        detector.change("nimage", 1)
    with pytest.raises(UnknownKeyError):
        detector["nimage"]


def test_a_change_leaves_the_old_configuration_as_it_was(detector):
    changed, keys = detector.change("nimages", 42)
    assert (changed["nimages"], detector["nimages"], keys) == (42, 1, ["nimages"])


def test_a_key_set_to_what_it_is_counts_as_changed(detector):
    assert detector.change("nimages", 1)[1] == ["nimages"]


def test_energy_pulls_wavelength_and_thresholds(detector):
    changed, keys = detector.change("photon_energy", 8000)
    assert set(keys) == {"photon_energy", "wavelength", "threshold_energy", "threshold/1/energy"}
    assert changed["wavelength"] == pytest.approx(EV_ANGSTROM / 8000)
    assert changed["threshold_energy"] == changed["threshold/1/energy"] == 4000
    back, _ = changed.change("wavelength", 1.0)
    assert back["photon_energy"] == pytest.approx(12398.42)


def test_the_frame_time_makes_room_for_the_count_time_and_the_other_way_round(detector):
    longer, keys = detector.change("count_time", 0.5)
    assert keys == ["count_time", "frame_time"]
    assert longer["frame_time"] == pytest.approx(0.5 + longer["detector_readout_time"])
    shorter, keys = longer.change("frame_time", 0.1)
    assert keys == ["frame_time", "count_time"]
    assert shorter["count_time"] == pytest.approx(0.1 - shorter["detector_readout_time"])
    assert shorter.change("count_time", 0.05)[1] == ["count_time"]


def test_a_description_tells_type_access_and_range(detector):
    assert detector.find("frame_time").describe() == {
        "value": 0.01,
        "value_type": "float",
        "access_mode": "rw",
        "unit": "s",
        "min": 1e-4,
        "max": 3600.0,
    }
    assert detector.find("compression").describe()["allowed_values"] == ["bslz4", "lz4", "none"]
    assert detector.find("description").describe()["access_mode"] == "r"


def test_the_stream_is_off_until_it_is_switched_on():
    assert stream_configuration()["mode"] == "disabled"


def test_what_is_not_simulated_can_only_be_disabled():
    assert absent_configuration().change("mode", "disabled")[1] == ["mode"]
    with pytest.raises(ValueRefusedError):
        absent_configuration().change("mode", "enabled")
