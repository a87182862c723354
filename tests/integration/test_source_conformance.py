"""Our own sources keep to the protocol: the conformance suite, applied to each.

A new source is one class here: how it is made, what it talks to, how it is fed. Peers are made anew for each source, so
that nothing goes to a connection that has just been given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import zmq

from beamstream.offline import open_recording
from beamstream.service import Source
from beamstream.testing import SourceConformance
from beamstream_producers.eiger import EigerSource
from beamstream_producers.formats.simplon import (
    End,
    Image,
    Pixels,
    Start,
    Ticks,
    encode_end,
    encode_image,
    encode_start,
)
from beamstream_producers.replay import ReplaySource, parse_pace
from beamstream_producers.replay.target import Target
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.testing import hostile_messages

TIMEOUT_S = 20.0


class PushingDetector:
    """The pushing end of a stream, for what no detector sends."""

    def __init__(self, context: zmq.Context) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.linger = 0
        self._socket.sndhwm = 0
        self._socket.sndtimeo = int(1e3 * TIMEOUT_S)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def send(self, parts: list) -> None:
        self._socket.send_multipart(parts)

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("version", [1, 2])
class TestPushedEiger(SourceConformance):
    """Both versions of the stream, and the corpus of hostile messages."""

    detector: PushingDetector | None = None

    @pytest.fixture(autouse=True)
    def _context(self, version: int) -> Iterator[None]:
        self.version = version
        self.series_id = 0
        with zmq.Context() as self.context:
            yield
            if self.detector is not None:
                self.detector.close()

    def make_source(self) -> Source:
        if self.detector is not None:
            self.detector.close()
        self.detector = PushingDetector(self.context)
        return EigerSource(self.detector.endpoint, grace_s=0.2)

    def feed(self) -> None:
        self.series_id += 1
        ids = {"version": self.version, "series_id": self.series_id}
        pixels = Pixels(shape=(2, 4), dtype="<u2", codec="none", payload=bytes(16))
        self._send(encode_start(Start(**ids, n_images=3, config={"nimages": 3, "ntrigger": 1})))
        for image_id in range(3):
            image = Image(**ids, image_id=image_id, channels={"threshold_1": pixels}, start=Ticks(count=image_id))
            self._send(encode_image(image))
        self._send(encode_end(End(**ids)))

    def feed_hostile(self) -> None:
        for parts in hostile_messages().values():
            self._send(parts)

    def _send(self, parts: list) -> None:
        assert self.detector is not None
        self.detector.send(parts)


class TestSimulatedEiger(SourceConformance):
    """A detector with real frames and real gaps between them."""

    detector: SimulatedEiger | None = None

    @pytest.fixture(autouse=True)
    def _detector(self) -> Iterator[None]:
        yield
        if self.detector is not None:
            self.detector.close()

    def make_source(self) -> Source:
        if self.detector is not None:
            self.detector.close()
        options = SimulatedEigerOptions(size="500k", n_images=5, rate_hz=100, drain_s=1.0, linger_s=0.1, api_port=0)
        self.detector = SimulatedEiger(options)
        return EigerSource(self.detector.endpoint, grace_s=0.2)

    def feed(self) -> None:
        assert self.detector is not None
        assert self.detector.wait_for_receiver(TIMEOUT_S)
        self.detector.arm()
        self.detector.trigger()
        self.detector.wait_for_end(TIMEOUT_S)


@pytest.mark.parametrize("pace", ["max", "20Hz"])
class TestReplay(SourceConformance):
    """A recording of a few images, with a gap."""

    @pytest.fixture(autouse=True)
    def _recording(self, pace: str, tmp_path: Path) -> None:
        self.pace = parse_pace(pace)
        self.path = tmp_path / "run.h5"
        with h5py.File(self.path, "w") as file:
            images = file.create_dataset("entry/data/data", (5, 4, 6), "<u2", chunks=(1, 4, 6))
            for position in (0, 1, 3, 4):
                images[position] = position

    def make_source(self) -> Source:
        recording = open_recording(self.path)
        return ReplaySource(recording, "run", self.pace, Target(recording.address))
