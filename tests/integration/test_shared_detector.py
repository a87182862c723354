"""Several connectors on one detector: only one gets the header, only one the end, and one stream comes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import zmq

from beamstream import Consumer, codecs
from beamstream.address import SourceAddress
from beamstream.errors import StreamNotFoundError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.state import StreamState, read_state
from beamstream.streams import list_streams
from beamstream.testing.waiting import PATIENCE_S, wait_until
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

SOURCE = SourceAddress("bt", "eiger")
CHANNELS = ("threshold_1", "threshold_2")


def pixels(image_id: int) -> Pixels:
    payload = codecs.encode(np.full((16, 32), image_id, "<u2"), "bslz4")
    return Pixels(shape=(16, 32), dtype="<u2", codec="bslz4", payload=payload)


def header(version: int, series_id: int, n_images: int | None, channels: tuple[str, ...] = CHANNELS[:1]) -> list:
    config = {"nimages": n_images, "ntrigger": 1} if version == 1 and n_images is not None else {}
    unique_id = f"unique-{series_id}" if version == 2 else None
    start = Start(
        version=version,
        series_id=series_id,
        n_images=n_images,
        config=config,
        channels=channels,
        series_unique_id=unique_id,
    )
    return encode_start(start)


def image(version: int, series_id: int, image_id: int, channels: tuple[str, ...] = CHANNELS[:1]) -> list:
    return encode_image(
        Image(
            version=version,
            series_id=series_id,
            image_id=image_id,
            channels={name: pixels(image_id) for name in channels},
            start=Ticks(count=image_id, rate_hz=1000 if version == 2 else None),
            series_unique_id=f"unique-{series_id}" if version == 2 else None,
        )
    )


def end(version: int, series_id: int) -> list:
    unique_id = f"unique-{series_id}" if version == 2 else None
    return encode_end(End(version=version, series_id=series_id, series_unique_id=unique_id))


class Detector:
    """One socket for each connector, so that a test deals the messages out itself; a real detector has one for all."""

    def __init__(self, context: zmq.Context, n_connectors: int) -> None:
        self.sockets = [context.socket(zmq.PUSH) for _ in range(n_connectors)]
        self.endpoints = []
        for socket in self.sockets:
            socket.linger = 0
            socket.sndtimeo = int(1000 * PATIENCE_S)
            self.endpoints.append(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")

    def deal(self, messages: list[list]) -> None:
        """Deal messages out in turn, as a PUSH socket does."""
        for number, parts in enumerate(messages):
            self.sockets[number % len(self.sockets)].send_multipart(parts)


@pytest.fixture
def detect() -> Iterator[Callable[[int], Detector]]:
    """Make a detector for so many connectors."""
    detectors: list[Detector] = []
    with zmq.Context() as context:

        def make(n_connectors: int) -> Detector:
            detectors.append(Detector(context, n_connectors))
            return detectors[-1]

        yield make
        for detector in detectors:
            for socket in detector.sockets:
                socket.close()


class Connector:
    """`stream produce eiger` in a process of its own."""

    def __init__(self, endpoint: str, broker: str, log: Path, *options: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "beamstream.cli", "produce", "eiger", endpoint, "--to", str(SOURCE)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "--broker", broker, *options], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def log(self) -> str:
        return self._log.read_text()

    def connected(self) -> None:
        wait_until(lambda: "connected to" in self.log() or self.process.poll() is not None, "a connection")
        assert "connected to" in self.log()

    def status(self) -> int:
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def connect(broker: str, tmp_path: Path) -> Iterator[Callable[..., Connector]]:
    connectors: list[Connector] = []

    def start(endpoint: str, *options: str) -> Connector:
        connectors.append(Connector(endpoint, broker, tmp_path / f"{len(connectors)}.log", *options))
        connectors[-1].connected()
        return connectors[-1]

    yield start
    for connector in connectors:
        connector.process.kill()
        connector.process.wait()


def state_of(server: Server, stream: str) -> StreamState | None:
    return read_state(server, StreamKeys(SOURCE.stream(stream)))


def n_there(server: Server, stream: str) -> int:
    state = state_of(server, stream)
    return 0 if state is None else state.n_received + state.n_held


def is_finished(server: Server, stream: str) -> bool:
    state = state_of(server, stream)
    return state is not None and state.finished


@pytest.fixture
def client(broker: str) -> Iterator[Server]:
    server = Server(broker)
    yield server
    server.close()


@pytest.mark.parametrize("version", [1, 2])
def test_two_connectors_write_one_stream_in_order_and_it_ends_complete(version, detect, connect, client, broker):
    detector = detect(2)
    connectors = [connect(endpoint, "--series", "2") for endpoint in detector.endpoints]
    n_images = 100  # the first connector gets the headers, the second one the ends
    for series_id in (7, 8):
        messages = [header(version, series_id, n_images)]
        messages += [image(version, series_id, image_id) for image_id in range(n_images)]
        messages.append(end(version, series_id))
        detector.deal(messages)
        wait_until(lambda name=f"series_{series_id:05d}": is_finished(client, name), "the end of the series")
    assert [connector.status() for connector in connectors] == [0, 0]
    assert [address.name for address in list_streams(client, SOURCE)] == ["series_00007", "series_00008"]
    for series_id in (7, 8):
        address = SOURCE.stream(f"series_{series_id:05d}")
        receipt = make_receipt(client, address)
        assert receipt.clean
        assert (receipt.received, receipt.duplicated) == (n_images, 0)
        with Consumer(address, broker=broker) as reader:
            frames = list(reader)
        assert [frame.message_id for frame in frames] == list(range(1, n_images + 1))
        assert [int(frame.array()[0, 0]) for frame in frames] == list(range(n_images))
    assert all("joined" in connector.log() for connector in connectors[1:])


def test_an_aborted_series_ends_with_the_highest_image_that_any_connector_had(detect, connect, client):
    detector = detect(2)
    connectors = [connect(endpoint) for endpoint in detector.endpoints]
    detector.sockets[0].send_multipart(header(2, 3, 1000))
    for image_id in range(20):
        detector.sockets[image_id % 2].send_multipart(image(2, 3, image_id))
    wait_until(lambda: n_there(client, "series_00003") == 20, "all images")
    # the end goes to the connector that has not had the last image
    detector.sockets[0].send_multipart(end(2, 3))
    wait_until(lambda: is_finished(client, "series_00003"), "the end")
    state = state_of(client, "series_00003")
    assert (state.last_id, state.n_received, state.n_missing, state.reason) == (20, 20, 0, "aborted")
    for connector in connectors:
        connector.process.send_signal(signal.SIGINT)
    assert [connector.status() for connector in connectors] == [130, 130]


def test_every_channel_is_joined(detect, connect, client):
    detector = detect(2)
    connectors = [connect(endpoint, "--series", "1") for endpoint in detector.endpoints]
    detector.deal([header(2, 5, 40, CHANNELS), *(image(2, 5, number, CHANNELS) for number in range(40)), end(2, 5)])
    assert [connector.status() for connector in connectors] == [0, 0]
    for name in ("series_00005", "series_00005_threshold_2"):
        state = state_of(client, name)
        assert (state.n_received, state.n_missing, state.reason) == (40, 0, "complete")


def test_a_connector_that_was_killed_goes_on_in_the_middle_of_its_series(detect, connect, client):
    detector = detect(1)
    first = connect(detector.endpoints[0])
    detector.deal([header(2, 9, 30), *(image(2, 9, number) for number in range(10))])
    wait_until(lambda: n_there(client, "series_00009") == 10, "the first images")
    first.process.kill()
    first.process.wait()
    second = connect(detector.endpoints[0], "--series", "1")
    detector.deal([*(image(2, 9, number) for number in range(10, 30)), end(2, 9)])
    assert second.status() == 0
    state = state_of(client, "series_00009")
    assert (state.n_received, state.n_missing, state.reason) == (30, 0, "complete")


def test_a_connector_that_is_stopped_leaves_the_stream_to_the_others(detect, connect, client):
    detector = detect(2)
    stays, goes = (connect(endpoint, "--series", "1") for endpoint in detector.endpoints)
    detector.deal([header(2, 4, 2000), *(image(2, 4, number) for number in range(100))])
    wait_until(lambda: n_there(client, "series_00004") == 100, "the first images")
    goes.process.send_signal(signal.SIGINT)
    number = 100
    while goes.process.poll() is None:  # the other one goes on with the stream
        detector.sockets[0].send_multipart(image(2, 4, number))
        number += 1
        time.sleep(0.02)
    assert goes.status() == 130
    assert "is left open" in goes.log()
    assert not is_finished(client, "series_00004")
    for rest in range(number, 2000):
        detector.sockets[0].send_multipart(image(2, 4, rest))
    detector.sockets[0].send_multipart(end(2, 4))
    assert stays.status() == 0
    state = state_of(client, "series_00004")
    assert (state.n_received, state.n_missing, state.reason) == (2000, 0, "complete")


def test_leftovers_of_an_older_series_are_not_joined_while_a_newer_one_is_open(detect, connect, client):
    detector = detect(1)
    first = connect(detector.endpoints[0])
    detector.deal([header(2, 1, 10), image(2, 1, 0)])
    wait_until(lambda: n_there(client, "series_00001") == 1, "the first image")
    first.process.kill()
    first.process.wait()
    second = connect(detector.endpoints[0], "--series", "1")
    detector.deal([header(2, 2, 3), image(2, 2, 0), image(2, 1, 1), image(2, 2, 1), image(2, 2, 2), end(2, 2)])
    assert second.status() == 0
    state = state_of(client, "series_00002")
    assert (state.n_received, state.reason) == (3, "complete")
    assert n_there(client, "series_00001") == 1


def test_without_a_stream_on_the_broker_nothing_is_joined(detect, connect, client, broker):
    detector = detect(1)
    connector = connect(detector.endpoints[0])
    detector.deal([image(2, 6, 0), image(2, 6, 1)])
    wait_until(lambda: "image of series 6 is not used" in connector.log(), "the word about the images")
    with pytest.raises(StreamNotFoundError):
        Consumer(SOURCE.stream("series_00006"), broker=broker)


def test_a_series_is_ended_though_its_connections_are_cut_while_others_are_waited_for(detect, connect, broker):
    detector = detect(1)
    connector = connect(detector.endpoints[0], "--series", "1")
    with redis.Redis.from_url(broker) as killer:
        detector.deal([header(2, 3, 10), *(image(2, 3, number) for number in range(3)), end(2, 3)])
        ends_at = time.monotonic() + 3.0  # longer than others are waited for
        while time.monotonic() < ends_at:
            killer.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
            time.sleep(0.1)
    assert connector.status() == 0
    server = Server(broker)
    state = state_of(server, "series_00003")
    server.close()
    assert (state.finished, state.last_id, state.n_received, state.reason) == (True, 3, 3, "aborted")
