"""What a simulated detector may be like."""

from __future__ import annotations

import pytest

from beamstream.errors import UsageError
from beamstream_producers.sim import SimulatedEigerOptions
from beamstream_producers.sim.control import DetectorControl


@pytest.mark.parametrize(
    ("name", "value"),
    [("hit_fraction", 1.5), ("hit_fraction", -0.1), ("seed", -1), ("buffer_images", 0), ("first_series_id", 0)],
)
def test_a_number_out_of_range_is_refused_at_once(name, value):
    with pytest.raises(UsageError, match=name):
        SimulatedEigerOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("size", "2M", "500k, 1M"),
        ("stream_format", "v3", "legacy, cbor"),
        ("compression", "zip", "bslz4, lz4, none"),
        ("rate_hz", 20_000.0, "frame_time"),
        ("rate_hz", -1.0, "frame_time"),
        ("n_images", 0, "nimages"),
        ("bit_depth", 12, "16, 8, 32"),
        ("trigger_mode", "exte", "ints, exts"),
    ],
)
def test_what_the_configuration_cannot_hold_is_refused_when_the_detector_is_made(name, value, said):
    with pytest.raises(UsageError, match=said):
        DetectorControl(SimulatedEigerOptions(**{name: value}))
