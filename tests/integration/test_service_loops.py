"""The service loops in processes of their own, against a real server that fills, loses connections and dies."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from beamstream import Address, Consumer, Producer
from beamstream.errors import StreamNotFoundError
from beamstream.groups import list_dead_letters, list_groups
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.state import read_state
from beamstream.streams import delete_stream, list_streams
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_broker.binary import find_binary
from beamstream_broker.embedded import EmbeddedServer

SCRIPT = Path(__file__).with_name("service_process.py")
STREAM = Address("bt", "det", "run")
LARGE_BYTES = 100_000
"""Large enough to lie under a key of its own."""


class Service:
    """A running service, its log and its notes."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._log = folder / f"{len(list(folder.glob('*.log')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def log(self) -> str:
        return self._log.read_text()

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.log() or self.process.poll() is not None, f"{text!r} in\n{self.log()}")
        assert text in self.log()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        return self.process.wait(PATIENCE_S)


Start = Callable[..., Service]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """What handlers write down."""
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def start(broker: str, notes: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a source or a handler; what is left of it is killed after the test."""
    services: list[Service] = []

    def begin(what: str, *options: str, where: str = "", broker: str = broker) -> Service:
        where = where or (str(STREAM.source_address) if what == "source" else str(STREAM))
        more = ["--notes", str(notes), "--release", str(tmp_path / "release")] if what == "handler" else []
        services.append(Service(tmp_path, [what, where, "--broker", broker, *more, *options]))
        return services[-1]

    yield begin
    for service in services:
        service.process.kill()
        service.process.wait()


def noted(notes: Path, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in notes.read_text().splitlines() if line.split()[0] == word]


def seen(notes: Path) -> Counter[int]:
    return Counter(int(message_id) for message_id, _ in noted(notes, "message"))


def fill(broker: str, n: int, *, address: Address = STREAM, payload_bytes: int = 0, finish: bool = True) -> None:
    with Producer(address, broker=broker) as producer:
        for message_id in range(1, n + 1):
            producer.send(message_id, message_id.to_bytes(8, "big") + bytes(payload_bytes))
        if finish:
            producer.finish()


def n_received(broker: str, address: Address = STREAM) -> int:
    state = read_state(Server(broker), StreamKeys(address))
    return state.n_received if state else 0


def report_of(broker: str, address: Address = STREAM) -> dict:
    (group,) = list_groups(Server(broker), address)
    return dict(group.report or {})


def cut_connections(broker: str) -> int:
    """Cut everybody's connection but the one that this is said on; returns how many there were."""
    with redis.Redis.from_url(broker) as client:
        return int(client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_both_loops_hand_on_what_they_have(start, broker, notes, number, status):
    source, handler = start("source"), start("handler", "--follow")
    wait_until(lambda: len(seen(notes)) > 100, "a hundred messages")
    source.send(number)
    assert source.status() == status
    assert handler.status() == 0
    receipt = make_receipt(Server(broker), STREAM)
    assert receipt.state == "aborted"
    assert receipt.n_missing == 0
    assert seen(notes) == dict.fromkeys(range(1, receipt.received + 1), 1)
    assert noted(notes, "close") == [["aborted"]]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_handler_that_was_stopped_is_gone_on_with_and_closed_by_the_next(start, broker, notes, number, status):
    fill(broker, 20, finish=False)
    first = start("handler")
    wait_until(lambda: len(seen(notes)) == 20, "all messages")
    first.send(number)
    assert first.status() == status
    assert noted(notes, "close") == [["early"]]
    Producer(STREAM, broker=broker).finish(20)
    assert start("handler").status() == 0
    assert noted(notes, "close") == [["early"], ["complete"]]
    assert seen(notes) == dict.fromkeys(range(1, 21), 1)


def test_the_second_interrupt_ends_a_handler_that_is_stuck(start, broker, notes):
    fill(broker, 3)
    handler = start("handler", "--stuck", "2")
    wait_until(lambda: noted(notes, "stuck"), "the handler to be stuck")
    handler.send(signal.SIGINT)
    handler.says("a second Ctrl-C ends at once")
    handler.send(signal.SIGINT)
    assert handler.status() == 130
    assert noted(notes, "close") == []


def test_the_second_interrupt_ends_a_source_whose_server_is_dead(start, tmp_path, notes):
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        source = start("source", broker=server.url)
        source.says("opened")
        wait_until(lambda: n_received(server.url) > 10, "messages")
    source.says("trying again")
    source.send(signal.SIGINT)
    source.says("source closed")  # now it would drain
    source.send(signal.SIGINT)
    assert source.status() == 130


def test_a_source_whose_server_is_dead_ends_after_the_drain_timeout(start):
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        source = start("source", "--drain-timeout", "0.5", broker=server.url)
        wait_until(lambda: n_received(server.url) > 10, "messages")
    source.says("trying again")
    source.send(signal.SIGTERM)
    assert source.status() == 1
    assert "could not be finished" in source.log()


# --- handlers that fail ---------------------------------------------------------------------------------------------


def test_what_a_handler_cannot_handle_goes_to_the_dead_letters_with_the_traceback(start, broker, notes):
    fill(broker, 100)
    with Consumer(STREAM, broker=broker, group="recording", redelivery_delays_s=[0.2]):
        pass  # makes the group: the delays are its own, not the service's
    handler = start("handler", "--fail", "7", "--fail", "100")
    assert handler.status() == 1
    for i in ("7", "100"):  # one after the other each, but the two may overtake one another
        assert [attempt for failed, attempt in noted(notes, "fail") if failed == i] == ["1", "2", "3", "4", "5"]
    assert sorted(seen(notes)) == [i for i in range(1, 100) if i != 7]
    letters = list_dead_letters(Server(broker), STREAM, "recording")
    assert [letter.message_id for letter in letters] == [7, 100]
    assert "Traceback" in letters[0].why
    assert "ValueError: no use for message 7" in letters[0].why
    assert noted(notes, "close") == [["complete"]]


def test_a_commit_that_fails_gives_everything_in_it_back(start, broker, notes):
    fill(broker, 10)
    handler = start("handler", "--fail-commits", "1")
    assert handler.status() == 0
    assert set(seen(notes)) == set(range(1, 11))
    assert max(int(n) for _, n in noted(notes, "message")) == 2
    assert "the disk is on fire" in handler.log()
    (group,) = list_groups(Server(broker), STREAM)
    assert (group.n_pending, group.n_dead) == (0, 0)


def test_a_handler_without_room_is_waited_for_and_no_attempt_is_lost(start, broker, notes, tmp_path):
    fill(broker, 20)
    for n in range(1, 7):  # more restarts than a message has attempts
        handler = start("handler", "--hold", "5")
        wait_until(lambda n=n: len(noted(notes, "open")) == n and noted(notes, "hold")[n - 1 :], "the hold")
        handler.send(signal.SIGTERM)
        assert handler.status() == 0
    assert {n for _, n in noted(notes, "hold")} == {"1"}
    handler = start("handler", "--hold", "5")
    wait_until(lambda: len(noted(notes, "hold")) >= 7, "the last hold")
    (tmp_path / "release").touch()
    assert handler.status() == 0
    assert seen(notes) == dict.fromkeys(range(1, 21), 1)


def test_a_stream_that_cannot_be_opened_costs_its_messages_no_attempt(start, broker, notes):
    fill(broker, 3)
    for _ in range(6):
        handler = start("handler", "--cannot-open")
        assert handler.status() == 1
        assert "the place is taken" in handler.log()
    assert start("handler").status() == 0
    assert sorted(noted(notes, "message")) == [["1", "1"], ["2", "1"], ["3", "1"]]


# --- killed ---------------------------------------------------------------------------------------------------------


def test_a_killed_handlers_messages_are_all_handled_by_its_successor(start, broker, notes):
    fill(broker, 2000)
    first = start("handler")
    wait_until(lambda: len(seen(notes)) > 300, "messages")
    first.process.kill()
    first.process.wait()
    assert start("handler").status() == 0
    assert set(seen(notes)) == set(range(1, 2001))
    assert noted(notes, "close") == [["complete"]]
    (group,) = list_groups(Server(broker), STREAM)
    assert (group.n_pending, group.lag_messages, group.n_dead) == (0, 0, 0)


def test_a_handler_killed_before_it_could_close_is_closed_by_its_successor(start, broker, notes):
    fill(broker, 5)
    assert start("handler", "--die-at-end").status() == -signal.SIGKILL
    assert start("handler").status() == 0
    assert seen(notes) == dict.fromkeys(range(1, 6), 1)
    assert noted(notes, "close") == [["complete"]]
    before = notes.read_text()
    assert start("handler").status() == 0
    assert notes.read_text() == before  # closed once is closed


# --- the server -----------------------------------------------------------------------------------------------------


def test_cut_connections_lose_and_repeat_nothing(start, broker, notes):
    source, handler = start("source"), start("handler", "--follow")
    for n in range(1, 11):
        wait_until(lambda n=n: len(seen(notes)) > 50 * n, f"{50 * n} messages")
        wait_until(lambda: cut_connections(broker), "connections, made again after the cut before")
    source.send(signal.SIGTERM)
    assert (source.status(), handler.status()) == (0, 0)
    receipt = make_receipt(Server(broker), STREAM)
    assert (receipt.n_missing, receipt.duplicated, receipt.state) == (0, 0, "aborted")
    assert set(seen(notes)) == set(range(1, receipt.received + 1))
    assert report_of(broker)["ended"] is True


class DurableServer:
    """A server that keeps what it acknowledged, as an operator may run one; killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder}/durable.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(find_binary().path), "--port", "0", "--unixsocket", str(self._folder / "durable.sock"),
             "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _answers(client), "the server")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableServer]:
    server = DurableServer(tmp_path_factory.mktemp("s"))
    server.start()
    yield server
    server.kill()


def test_a_server_that_dies_and_comes_back_is_waited_for(start, durable, notes):
    source = start("source", broker=durable.url)
    handler = start("handler", "--follow", where="bt/det", broker=durable.url)
    wait_until(lambda: len(seen(notes)) > 100, "messages")
    durable.kill()
    source.says("trying again")
    handler.says("trying again")
    durable.start()
    n_before = len(seen(notes))
    wait_until(lambda: len(seen(notes)) > n_before + 100, "further messages")
    source.send(signal.SIGTERM)
    assert source.status() == 0
    wait_until(lambda: noted(notes, "close"), "the end of the stream")
    durable.kill()  # while the handler looks for further streams
    handler.says("trying again")
    durable.start()
    handler.send(signal.SIGTERM)
    assert handler.status() == 0
    receipt = make_receipt(Server(durable.url), STREAM)
    assert (receipt.n_missing, receipt.state) == (0, "aborted")
    assert set(seen(notes)) == set(range(1, receipt.received + 1))


def test_what_a_source_still_has_goes_to_a_server_that_comes_back_empty(start, tmp_path, notes):
    address = tmp_path / "s"
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=address) as server:
        source = start("source", broker=server.url)
        handler = start("handler", "--follow", where="bt/det", broker=server.url)
        wait_until(lambda: len(seen(notes)) > 50, "messages")
    source.says("trying again")
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=address) as server:
        source.says("what was in it is lost, the rest follows")
        n_before = len(seen(notes))
        wait_until(lambda: len(seen(notes)) > n_before + 50, "further messages")
        source.send(signal.SIGTERM)
        assert source.status() == 0
        wait_until(lambda: ["aborted"] in noted(notes, "close"), "the end of the stream")
        handler.send(signal.SIGTERM)
        assert handler.status() == 1  # a stream was lost on the way
        receipt = make_receipt(Server(server.url), STREAM)
    (gap,) = noted(notes, "gap")
    assert receipt.missing == [(1, int(gap[1]))]
    assert set(range(int(gap[1]) + 1, receipt.missing[0][1] + receipt.received + 1)) <= set(seen(notes))


def test_a_full_server_holds_the_source_back_until_there_is_room(start):
    with EmbeddedServer(memory_bytes=24 << 20) as server:
        source = start("source", "--n", "300", "--payload-bytes", str(LARGE_BYTES), broker=server.url)
        source.says("full")
        fuller = n_received(server.url)
        assert fuller < 300
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 200 << 20)
        assert source.status() == 0
        receipt = make_receipt(Server(server.url), STREAM)
        assert (receipt.received, receipt.n_missing, receipt.clean) == (300, 0, True)


# --- several streams, and none --------------------------------------------------------------------------------------


def test_streams_that_come_later_are_taken_when_followed(start, broker, notes):
    handler = start("handler", "--follow", where="bt/det")
    for name in ("one", "two"):
        fill(broker, 3, address=Address("bt", "det", name))
        wait_until(lambda name=name: [f"bt/det/{name}"] in noted(notes, "open"), f"stream {name}")
    wait_until(lambda: len(noted(notes, "close")) == 2, "both ends")
    handler.send(signal.SIGTERM)
    assert handler.status() == 0


def test_a_stream_that_nobody_ends_does_not_keep_others_waiting(start, broker, notes):
    fill(broker, 2, address=Address("bt", "det", "forgotten"), finish=False)
    handler = start("handler", "--follow", where="bt/det")
    wait_until(lambda: sum(seen(notes).values()) == 2, "the open stream")
    fill(broker, 3, address=Address("bt", "det", "next"))
    wait_until(lambda: sum(seen(notes).values()) == 5, "the stream after it")
    with Producer("bt/det/forgotten", broker=broker) as late:
        late.send(3, b"at last")
        late.finish()
    wait_until(lambda: len(noted(notes, "close")) == 3, "the end of both")
    handler.send(signal.SIGTERM)
    assert handler.status() == 0
    assert noted(notes, "close") == [["early"], ["complete"], ["complete"]]
    assert seen(notes)[3] == 2


def test_a_stream_that_is_deleted_while_it_is_read_ends_with_a_clear_error(start, broker, notes):
    fill(broker, 5, finish=False)
    handler = start("handler")
    wait_until(lambda: len(seen(notes)) == 5, "messages")
    delete_stream(Server(broker), STREAM)
    assert handler.status() == 1
    assert "StreamNotFoundError: bt/det/run: no such stream" in handler.log()
    assert "Traceback" not in handler.log()
    assert noted(notes, "close") == [["early"]]


def test_a_service_that_follows_goes_on_when_a_stream_is_deleted_and_says_so_at_the_end(start, broker, notes):
    fill(broker, 5, finish=False)
    handler = start("handler", "--follow", where="bt/det")
    wait_until(lambda: len(seen(notes)) == 5, "messages")
    delete_stream(Server(broker), STREAM)
    handler.says("it was deleted")
    fill(broker, 6)
    wait_until(lambda: noted(notes, "close") == [["early"], ["complete"]], "the stream that was made again")
    handler.send(signal.SIGTERM)
    assert handler.status() == 1


def test_a_stream_that_is_not_there_is_an_error_unless_it_is_waited_for(start, broker, notes):
    fill(broker, 1, address=Address("bt", "det", "run1"))
    missing = start("handler")
    assert missing.status() == 1
    assert "did you mean bt/det/run1?" in missing.log()
    waiting = start("handler", "--follow")
    wait_until(lambda: waiting.process.poll() is None and list_streams(Server(broker), STREAM.source_address), "it")
    fill(broker, 2)
    assert waiting.status() == 0
    assert len(seen(notes)) == 2
    with pytest.raises(StreamNotFoundError):
        Consumer("bt/det/nothing", broker=broker)


# --- metrics --------------------------------------------------------------------------------------------------------


def test_the_metrics_port_serves_what_is_declared(start, broker, notes):
    handler = start("handler", "--follow", "--metrics-port", "0", where="bt/det")
    handler.says("metrics at ")
    url = re.search(r"http://127\.0\.0\.1:\d+/metrics", handler.log())
    fill(broker, 5)
    wait_until(lambda: noted(notes, "close"), "the end")
    assert url is not None
    with urllib.request.urlopen(url[0], timeout=10) as answer:  # noqa: S310 (an address that we were just told)
        text = answer.read().decode()
    assert 'beamstream_events_total{event="handled",service="recording"} 5.0' in text
    assert 'beamstream_payload_bytes_total{service="recording"} 40.0' in text
    assert 'beamstream_queued_bytes{service="recording"} 0.0' in text
    assert 'beamstream_level{quantity="noted",service="recording"} 5.0' in text


def test_a_metrics_port_in_use_is_a_clear_error(start, broker):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        source = start("source", "--metrics-port", str(port))
        assert source.status() == 1
    assert f"UsageError: cannot serve metrics on port {port}: Address already in use" in source.log()
    assert not list_streams(Server(broker), STREAM.source_address)
