"""The messages of a series say what captured detectors said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from beamstream_producers.formats.simplon import Start, decode
from beamstream_producers.sim import SimulatedEigerOptions
from beamstream_producers.sim.parameters import detector_configuration, stream_configuration
from beamstream_producers.sim.sending.messages import codec_of
from beamstream_producers.sim.series import SeriesMaker

DATA = os.environ.get("BEAMSTREAM_TEST_DATA")

SUBFRAMES = {"frame_count_time", "frame_period"}
"""Times of the readout within an image, which the simulator does not have."""


@pytest.fixture
def data():
    if not DATA:
        pytest.skip("needs captured data: set BEAMSTREAM_TEST_DATA")
    return Path(DATA)


def start_of(stream_format):
    maker = SeriesMaker(SimulatedEigerOptions(size="500k"))
    stream, _ = stream_configuration().change("mode", "enabled")
    stream, _ = stream.change("format", stream_format)
    start = decode(maker.messages(1, detector_configuration(maker.model), stream).start())
    assert isinstance(start, Start)
    return start


def test_a_start_of_version_1_has_every_key_of_a_captured_one(data):
    captured = json.loads((data / "stream_v1_eigerstreamreceiver/parts/streamData.000002").read_bytes())
    assert set(captured) - set(start_of("legacy").config) == SUBFRAMES


def test_a_start_of_version_2_has_every_key_of_a_captured_one(data):
    captured = decode([(data / "stream_v2_tickit_eiger16m/start.cbor").read_bytes()])
    assert set(captured.config) <= set(start_of("cbor").config)


def test_a_start_has_the_names_and_numbers_of_the_detector():
    config = start_of("cbor").config
    assert config["detector_description"] == "Dectris EIGER2 Si 500K"
    assert config["pixel_size_x"] == 75e-6
    assert config["sensor_thickness"] == 450e-6
    assert config["saturation_value"] == 65534


def test_both_versions_call_different_packings_lz4():
    assert (codec_of(1, "lz4"), codec_of(2, "lz4")) == ("lz4-block", "lz4")
