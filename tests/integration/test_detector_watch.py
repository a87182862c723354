"""What the connector finds out beside the messages: images that the detector dropped, or that another client took."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import pytest
import zmq

from beamstream import Producer
from beamstream.address import SourceAddress
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service import run_source
from beamstream.state import StreamState, read_state
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_producers.eiger import EigerSource
from beamstream_producers.eiger.api import StreamApi
from beamstream_producers.eiger.directory import SeriesDirectory
from beamstream_producers.eiger.source import silence
from beamstream_producers.eiger.watch import DetectorWatch
from beamstream_producers.formats.simplon import End, Image, Pixels, Start, encode_end, encode_image, encode_start
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions

SOURCE = SourceAddress("bt", "eiger")
EVERY_S = 0.05
GRACE_S = 0.2


class Pusher:
    """The pushing end of a detector's stream, which knows how many clients it has."""

    def __init__(self, context: zmq.Context) -> None:
        self._socket = context.socket(zmq.PUSH)
        self._socket.linger = 0
        self._socket.sndtimeo = int(1000 * PATIENCE_S)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def wait_for_clients(self, n_clients: int) -> None:
        for _ in range(n_clients):
            assert self._monitor.poll(int(1000 * PATIENCE_S)), "a client"
            self._monitor.recv_multipart()

    def send(self, *messages: list) -> None:
        for parts in messages:
            self._socket.send_multipart(parts)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()


@pytest.fixture
def pusher() -> Iterator[Pusher]:
    with zmq.Context() as context:
        pusher = Pusher(context)
        yield pusher
        pusher.close()


@pytest.fixture
def detector() -> Iterator[SimulatedEiger]:
    """A detector whose REST interface is asked; it drops what nobody takes."""
    options = SimulatedEigerOptions(size="500k", n_images=5, rate_hz=1000, buffer_images=1, drain_s=0, linger_s=0)
    with SimulatedEiger(options) as detector:
        yield detector


class Connector:
    """A connector with its watch, in a thread of this process."""

    def __init__(self, endpoint: str, api: str | None, broker: str) -> None:
        self._directory = SeriesDirectory(SOURCE, broker)
        self.watch = DetectorWatch(endpoint, StreamApi(api) if api else None, self._directory, EVERY_S)
        self.source = EigerSource(endpoint, n_series=1, grace_s=GRACE_S, directory=self._directory, watch=self.watch)
        self._status: list[int] = []
        self._thread = threading.Thread(
            target=lambda: self._status.append(run_source(self.source, SOURCE, broker=broker)), daemon=True
        )
        self._thread.start()

    def ended(self) -> None:
        self._thread.join(PATIENCE_S)
        self.close()
        assert self._status == [0]

    def close(self) -> None:
        self.watch.close()
        self._directory.close()


def series(n_images: int) -> list[list]:
    pixels = Pixels(shape=(2, 4), dtype="<u2", codec="none", payload=bytes(16))
    images = [Image(version=2, series_id=7, image_id=i, channels={"threshold_1": pixels}) for i in range(n_images)]
    start = Start(version=2, series_id=7, n_images=n_images, shape=(2, 4))
    return [encode_start(start), *map(encode_image, images)]


@pytest.mark.parametrize("with_api", [True, False])
def test_a_client_that_takes_every_second_message_is_noticed(pusher, detector, broker, caplog, with_api):
    connector = Connector(pusher.endpoint, detector.api_url if with_api else None, broker)
    with zmq.Context() as context, context.socket(zmq.PULL) as thief:
        pusher.wait_for_clients(1)
        thief.connect(pusher.endpoint)
        pusher.wait_for_clients(1)
        header, *images = series(40)
        pusher.send(header, *images)
        n_taken = sum(1 for _ in iter(lambda: thief.poll(1000) and thief.recv(), 0))
        end = encode_end(End(version=2, series_id=7))
        pusher.send(end, end)
        connector.ended()
    counters = connector.source.counters()
    assert n_taken == 20 + (1 if counters["series"] == 0 else 0)
    assert counters["images"] + n_taken == 40
    assert 0 < counters["missing"] <= n_taken
    assert "came to no connector" in caplog.text
    assert "one client only" in caplog.text
    assert counters.get("taken_elsewhere", 0) == (counters["missing"] if with_api else 0)
    assert ("--api" in caplog.text) == (not with_api)
    state = read_state(Server(broker), StreamKeys(SOURCE.stream("series_00007")))
    assert state is not None
    assert state.n_detector_dropped == (0 if with_api else None), "its own word is kept with the stream"


def test_what_the_detector_itself_drops_is_counted_and_nobody_else_is_blamed(detector, broker, caplog):
    directory = SeriesDirectory(SOURCE, broker)
    watch = DetectorWatch(detector.endpoint, StreamApi(detector.api_url), directory, EVERY_S)
    detector.arm()
    detector.trigger()  # nobody is connected, and the detector keeps a single image
    detector.wait_for_end(PATIENCE_S)
    wait_until(lambda: 0 < detector.n_dropped == watch.counters().get("detector_dropped"), "the detector's counter")
    wait_until(lambda: "the detector itself dropped" in caplog.text, "the warning")
    assert "came to no connector" not in caplog.text
    watch.close()
    directory.close()


class EndedMeanwhile(SeriesDirectory):
    """A directory whose first answer comes after the series has ended."""

    on_question: Callable[[], None] | None = None

    def states(self, streams: Iterable[str]) -> list[StreamState]:
        if self.on_question is not None:
            said, self.on_question = self.on_question, None
            said()
        return super().states(streams)


def test_a_series_that_ends_while_it_is_looked_at_is_looked_after_until_its_gaps_have_settled(broker, caplog):
    directory = EndedMeanwhile(SOURCE, broker)
    ended = threading.Event()
    with Producer(SOURCE.stream("run"), broker=broker, patience_s=0.1) as producer:
        producer.send(1, b"first")
        watch = DetectorWatch("tcp://dcu:31001", None, directory, EVERY_S)
        directory.on_question = lambda: (watch.end(), ended.set())
        watch.begin(7, {"threshold_1": "run"})
        assert ended.wait(PATIENCE_S)
        producer.finish(3)
    wait_until(lambda: watch.counters().get("missing") == 2, "the word about the missing images")
    watch.close()
    directory.close()
    assert "2 image(s) of series 7 came to no connector" in caplog.text


def test_a_stream_that_is_switched_off_is_said_once_and_when_it_is_on_again(detector, broker, caplog):
    caplog.set_level("INFO")
    watch = DetectorWatch(detector.endpoint, StreamApi(detector.api_url), None, EVERY_S)
    detector.change("stream", {"mode": "disabled"})
    wait_until(lambda: "the detector's stream is 'disabled'" in caplog.text, "the warning")
    detector.change("stream", {"mode": "enabled"})
    wait_until(lambda: "as it should be again" in caplog.text, "the word that it is over")
    watch.close()
    assert caplog.text.count("'disabled'") == 1


def test_an_interface_that_does_not_answer_is_a_warning_and_no_more(caplog):
    with zmq.Context() as context, context.socket(zmq.PULL) as nobody:
        port = nobody.bind_to_random_port("tcp://127.0.0.1")
    watch = DetectorWatch("tcp://dcu:31001", StreamApi(f"http://127.0.0.1:{port}"), None, EVERY_S)
    wait_until(lambda: watch.counters().get("api_failures", 0) > 1, "two failures")
    watch.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not checked" in caplog.text


def test_silence_while_the_detector_takes_images_points_at_another_client():
    said = silence("tcp://dcu:31001", 10.0, is_connected=True, is_acquiring=True)
    assert "taking images" in said
    assert "another client" in said
