"""The connector on a real socket: what a detector pushes, what it should never push, and the way to the broker."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from beamstream import Consumer, codecs
from beamstream.address import SourceAddress
from beamstream.errors import UsageError
from beamstream.service import Event, Produced, StreamClosed, StreamOpened, run_source
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
from beamstream_producers.testing import hostile_messages

SUMS_71 = [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585]
SEND_TIMEOUT_MS = 20_000


class Detector:
    """The pushing end of a stream."""

    def __init__(self, context: zmq.Context) -> None:
        self.socket = context.socket(zmq.PUSH)
        self.socket.linger = 0
        self.socket.sndtimeo = SEND_TIMEOUT_MS
        self.socket.sndhwm = 0
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def send(self, *messages: list) -> None:
        for parts in messages:
            self.socket.send_multipart(parts)


@pytest.fixture
def detector() -> Iterator[Detector]:
    with zmq.Context() as context:
        detector = Detector(context)
        yield detector
        detector.socket.close()


@pytest.fixture
def connect(detector: Detector) -> Iterator[Callable[..., EigerSource]]:
    sources = []

    def make(**options) -> EigerSource:
        sources.append(EigerSource(detector.endpoint, **options))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


@pytest.fixture(scope="module")
def captured_v1() -> list[list[bytes]]:
    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if not folder:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder of captured data")
    files = sorted((Path(folder) / "stream_v1_eigerstreamreceiver/parts").iterdir())
    parts = iter([file.read_bytes() for file in files])
    return [[next(parts) for _ in range(n_parts)] for _ in range(2) for n_parts in [8] + [4] * 10 + [1]]


def series(version: int, series_id: int, n_images: int, n_sent: int | None = None) -> list[list]:
    """Header, images and end of a small bit-shuffled series."""
    payload = struct.pack(">QI", 16, 8192) + bytes(16)
    pixels = Pixels(shape=(2, 4), dtype="<u2", codec="bslz4", payload=payload)
    config = {"nimages": n_images, "ntrigger": 1}
    images = [
        Image(version=version, series_id=series_id, image_id=i, channels={"threshold_1": pixels}, start=Ticks(count=i))
        for i in range(n_images if n_sent is None else n_sent)
    ]
    start = Start(version=version, series_id=series_id, n_images=n_images, config=config)
    end = End(version=version, series_id=series_id)
    return [encode_start(start), *map(encode_image, images), encode_end(end)]


def collect(source: EigerSource) -> list[Event]:
    return [event for event in source.events(threading.Event()) if event is not None]


def summary(events: list[Event]) -> list[tuple]:
    said = []
    for event in events:
        match event:
            case StreamOpened():
                said.append(("opened", event.stream, event.n_expected))
            case Produced():
                said.append((event.stream, event.message_id))
            case StreamClosed():
                said.append(("closed", event.stream, event.last_id, event.reason))
    return said


# --- from the detector ----------------------------------------------------------------------------------------------


def test_two_captured_series_become_two_streams_with_the_reference_sums(detector, connect, captured_v1):
    source = connect(n_series=2)
    detector.send(*captured_v1)
    events = collect(source)
    assert summary(events) == [
        row
        for name in ("series_00071", "series_00072")
        for row in [("opened", name, 10), *[(name, i) for i in range(1, 11)], ("closed", name, 10, "complete")]
    ]
    sums = []
    for frame in events[1:11]:
        assert (frame.shape, frame.dtype, frame.codec) == ((1062, 1028), "<u4", "lz4-block")
        image = codecs.decode(frame.payload, frame.codec, frame.shape, np.dtype(frame.dtype))
        sums.append(int(image[image != 2**32 - 1].sum()))
    assert sums == SUMS_71
    assert [bytes(frame.payload) for frame in events[1:11]] == [parts[2] for parts in captured_v1[1:11]]


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_come_in_by_the_same_way(detector, connect, version):
    source = connect(n_series=1)
    detector.send(*series(version, 7, 3))
    name = "series_00007"
    assert summary(collect(source)) == [
        ("opened", name, 3),
        (name, 1),
        (name, 2),
        (name, 3),
        ("closed", name, 3, "complete"),
    ]


def test_the_hostile_corpus_between_the_images_costs_nothing_but_itself(detector, connect, caplog):
    hostile = hostile_messages()
    header, *images, end = series(2, 7, len(hostile))
    source = connect(n_series=1)
    detector.send(header)
    for bad, image in zip(hostile.values(), images, strict=True):
        detector.send(bad, image)
    detector.send(end)
    events = collect(source)
    counters = source.counters()
    assert [event.message_id for event in events[1:-1]] == [*range(1, len(hostile) + 1)]
    assert events[-1] == StreamClosed(stream="series_00007", last_id=len(hostile), reason="complete")
    assert counters["rejected"] == len(hostile)
    assert counters["received"] == 2 * len(hostile) + 2
    kinds = {name.removeprefix("rejected_") for name in counters if name.startswith("rejected_")}
    assert kinds == {"parts", "unknown", "json", "cbor", "field", "size", "limit", "encoding"}
    # each kind is named once, not once for every message
    refusals = [record for record in caplog.records if "is refused" in record.getMessage()]
    assert len(refusals) == len(kinds)


def test_the_middle_of_a_series_is_not_delivered_and_the_log_says_why(detector, connect, caplog):
    source = connect(n_series=1)
    detector.send(*series(1, 6, 5)[3:], *series(1, 7, 1))
    assert summary(collect(source))[0] == ("opened", "series_00007", 1)
    assert source.counters()["image_without_header"] == 3
    assert "started after arm" in caplog.text


def test_an_aborted_series_is_closed_after_its_grace_time(detector, connect):
    source = connect(n_series=1, grace_s=0.05)
    detector.send(*series(2, 7, 100, n_sent=2))
    assert summary(collect(source))[-1] == ("closed", "series_00007", 2, "aborted")


def test_what_waits_in_the_socket_is_taken_when_the_service_stops_and_its_stream_is_closed(detector, connect):
    source = connect()
    detector.send(series(2, 7, 3)[0])
    assert source._socket._socket.poll(SEND_TIMEOUT_MS)
    stop = threading.Event()
    stop.set()
    events = [event for event in source.events(stop) if event is not None]
    assert summary(events) == [("opened", "series_00007", 3), ("closed", "series_00007", 0, "incomplete")]


def test_a_payload_outlives_the_socket_that_it_came_from(detector, connect):
    source = connect(n_series=1)
    detector.send(*series(1, 7, 1))
    frame = collect(source)[1]
    source.close()
    assert bytes(frame.payload) == struct.pack(">QI", 16, 8192) + bytes(16)


def test_while_nothing_comes_the_source_yields_nothing_and_says_once_what_to_check(connect, caplog):
    source = connect(quiet_s=0)
    stop = threading.Event()
    events = source.events(stop)
    assert [next(events), next(events), next(events)] == [None, None, None]
    stop.set()
    assert list(events) == []
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "mode" in warnings[0] or "armed" in warnings[0]


def test_a_detector_that_goes_away_and_comes_back_is_heard_again(connect, caplog):
    caplog.set_level(logging.INFO)
    with zmq.Context() as context:
        first = Detector(context)
        source = EigerSource(first.endpoint, n_series=2)
        events = source.events(threading.Event())
        first.send(*series(2, 1, 1))
        until_closed = [next(event for event in events if isinstance(event, StreamClosed))]
        first.socket.close()
        while "lost the connection" not in caplog.text:
            assert next(events) is None
        again = context.socket(zmq.PUSH)
        again.linger = 0
        again.sndtimeo = SEND_TIMEOUT_MS
        again.bind(first.endpoint)
        for parts in series(2, 2, 1):
            again.send_multipart(parts)
        until_closed += [event for event in events if isinstance(event, StreamClosed)]
        again.close()
        source.close()
    assert [event.stream for event in until_closed] == ["series_00001", "series_00002"]


@pytest.mark.parametrize(
    "endpoint",
    ["dcu", "tcp://dcu", "dcu:9999", "tcp://dcu:", "tcp://dcu:99999", "http://dcu:9999", "tcp://:31001", "tcp://a b:1"],
)
def test_what_is_no_endpoint_is_refused_with_the_two_ports(endpoint):
    with pytest.raises(UsageError, match=r"31001.*9999"):
        EigerSource(endpoint)


# --- to the broker --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_frames_reach_a_consumer_byte_for_byte(detector, connect, broker, version):
    source = connect(n_series=1)
    messages = series(version, 7, 5)
    detector.send(*messages)
    assert run_source(source, SourceAddress("bt", "eiger"), broker=broker) == 0
    with Consumer("bt/eiger/series_00007", broker=broker, group="g", timeout_s=20) as frames:
        payloads = [bytes(frame.payload) for frame in frames]
        assert frames.metadata["simplon"]["series_id"] == 7
    assert payloads == [struct.pack(">QI", 16, 8192) + bytes(16)] * 5


def test_the_command_brings_in_a_series_and_ends(detector, broker):
    command = [sys.executable, "-m", "beamstream.cli", "produce", "eiger", detector.endpoint, "--to", "bt/eiger"]
    options = ["--broker", broker, "--series", "1", "--stream-template", "run_{series_id}"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        detector.send(*series(2, 3, 4))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    with Consumer("bt/eiger/run_3", broker=broker, group="g", timeout_s=20) as frames:
        assert [frame.message_id for frame in frames] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dcu", "--to", "bt/eiger"], "31001"),
        (["tcp://dcu:31001", "--to", "bt"], "BEAMTIME/SOURCE"),
        (["tcp://dcu:31001", "--to", "bt/eiger", "--stream-template", "{x}"], "series_id"),
        (["tcp://dcu:31001", "--to", "bt/eiger", "--api", "dcu"], "http://"),
    ],
)
def test_the_command_refuses_what_cannot_be_meant_with_status_2(arguments, said):
    command = [sys.executable, "-m", "beamstream.cli", "produce", "eiger", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
