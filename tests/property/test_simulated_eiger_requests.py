"""Whatever a REST client asks of the simulated detector, it gets an answer and the detector stays sound."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream_producers.sim import SimulatedEigerOptions
from beamstream_producers.sim.acquisition import State
from beamstream_producers.sim.control import DetectorControl
from beamstream_producers.sim.web.routes import answer

KEYS = [
    "nimages",
    "frame_time",
    "count_time",
    "photon_energy",
    "wavelength",
    "compression",
    "bit_depth_image",
    "format",
]
parts = st.sampled_from(["detector", "stream", "monitor", "api", "1.8.0", "config", "status", "", *KEYS]) | st.text(
    max_size=8
)
paths = st.lists(parts, max_size=6).map(lambda names: "/" + "/".join(names))
known_paths = st.builds(
    "/{}/api/1.8.0/config/{}".format, st.sampled_from(["detector", "stream"]), st.sampled_from(KEYS)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner),
    max_leaves=4,
)
bodies = st.binary(max_size=40) | json_values.map(lambda value: json.dumps({"value": value}).encode())


@pytest.fixture(scope="module")
def detector():
    control = DetectorControl(SimulatedEigerOptions(size="500k"))
    yield control
    control.shut_down()


@given(method=st.sampled_from(["GET", "PUT", "DELETE", ""]), path=paths | known_paths, body=bodies)
def test_every_request_is_answered_and_leaves_a_configuration_that_holds(detector, method, path, body):
    response = answer(detector, method, path, body)
    assert response.status in {200, 400, 404, 405}
    assert detector.state is State.IDLE
    configuration = detector.configuration("detector")
    assert configuration["count_time"] < configuration["frame_time"]
    for key in KEYS[:-1]:
        parameter = configuration.find(key)
        assert not parameter.allowed or parameter.value in parameter.allowed
        assert parameter.minimum is None or parameter.minimum <= parameter.value
