"""What is made ready for a series: names of it, and frames that are kept for the next."""

from __future__ import annotations

from beamstream_producers.sim import SimulatedEigerOptions
from beamstream_producers.sim.parameters import detector_configuration, stream_configuration
from beamstream_producers.sim.series import SeriesMaker, make_ulid


def test_a_ulid_begins_with_its_time():
    # the example of the ULID specification
    assert make_ulid(1_469_918_176_385, bytes(10)) == "01ARYZ6S41" + 16 * "0"
    assert make_ulid(0, b"\xff" * 10) == 10 * "0" + 16 * "Z"


def test_frames_are_made_again_only_if_the_next_series_needs_others():
    maker = SeriesMaker(SimulatedEigerOptions(size="500k", hit_fraction=0.5))
    stream = stream_configuration()
    detector, _ = detector_configuration(maker.model).change("nimages", 2)
    first = maker.pool(detector, stream)
    assert maker.pool(detector.change("photon_energy", 9000)[0], stream) is first
    assert maker.pool(detector.change("bit_depth_image", 32)[0], stream) is not first


def test_a_disabled_stream_says_nothing():
    maker = SeriesMaker(SimulatedEigerOptions(size="500k"))
    assert maker.messages(1, detector_configuration(maker.model), stream_configuration()) is None
