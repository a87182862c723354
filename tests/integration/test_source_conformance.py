"""Our own sources keep to the protocol: the conformance suite, applied to each.

A new source is one class here: how it is made, what it talks to, how it is fed. Peers are made anew for each source, so
that nothing goes to a connection that has just been given up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from beamstream import Address, Producer, codecs
from beamstream.offline import open_recording
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.segments import StreamWriter, end_record, record_of_entry, stream_folder
from beamstream.service import Source
from beamstream.stop import Stop
from beamstream.testing import SourceConformance
from beamstream_producers.cbf import CbfOptions, CbfSource, Folders
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
from beamstream_producers.replay.pace import Pace
from beamstream_producers.replay.source import ReplaySource
from beamstream_producers.replay.target import Target
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.sim.pilatus import SimulatedPilatus, SimulatedPilatusOptions
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


def compile_unpacking() -> None:
    """Compile what unpacks the first image's pixels: that takes longer than `settle_s`, once on a machine."""
    codecs.decode(b"\0", "byte-offset", (1, 1), np.dtype("<i4"))


class TestFullFolder(SourceConformance):
    """CBF files that are all there."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        compile_unpacking()
        SimulatedPilatus(tmp_path, SimulatedPilatusOptions(n_frames=4, rate_hz=0)).run(Stop())

    def make_source(self) -> Source:
        return CbfSource(Folders([self.folder]))


class TestFillingFolder(SourceConformance):
    """CBF files that come, and others that are none; each run has a folder of its own."""

    settle_s = 1.5  # a folder is looked at every second, whatever its events say

    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path: Path) -> None:
        compile_unpacking()
        self.folders = (tmp_path / f"run_{number}" for number in itertools.count(1))

    def make_source(self) -> Source:
        self.folder = next(self.folders)
        self.detector = SimulatedPilatus(self.folder, SimulatedPilatusOptions(n_frames=4, rate_hz=0))
        return CbfSource(Folders([self.folder]), CbfOptions(follow=True, patience_s=0.2, settle_s=0.1))

    def feed(self) -> None:
        self.detector.run(Stop())

    def feed_hostile(self) -> None:
        good = self.detector.file_bytes(0)
        for number, bad in enumerate((b"", b"\x00", b"hello", good[:-100], good[:500], good[::-1]), start=1):
            (self.folder / f"bad_{number:05d}.cbf").write_bytes(bad)


class TestReplay(SourceConformance):
    """A recording in segments, with a gap."""

    @pytest.fixture(autouse=True)
    def _recording(self, broker: str, tmp_path: Path) -> None:
        address = Address("bt", "det", "run")
        with Producer(address, broker=broker, patience_s=0.0, inline_bytes=1 << 20) as producer:
            for message_id in (1, 2, 4, 5):
                producer.send_array(message_id, np.full((4, 6), message_id, "<u2")).result(TIMEOUT_S)
            producer.finish()
        self.folder = stream_folder(tmp_path, address)
        with StreamWriter(self.folder, address) as writer:
            for entry_id, flat in Server(broker).call("XRANGE", StreamKeys(address).index, "-", "+"):
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                if fields.get(b"k") == b"e":
                    writer.append_all([end_record(5, int(fields[b"b"]), reason="complete")])
                else:
                    writer.append_all([record_of_entry(entry_id.decode(), fields, None)])

    def make_source(self) -> Source:
        return ReplaySource(open_recording(self.folder), "again", Pace(), Target(Address("bt", "det", "again")))
