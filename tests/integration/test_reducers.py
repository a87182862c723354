"""Reducers: sums over a stream that are exact whatever dies, with real processes on a real server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Frame, Producer
from beamstream.cli.root import run
from beamstream.errors import StreamNotFoundError
from beamstream.groups import list_dead_letters, list_groups
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service.reducing.suspects import MAX_DEATHS
from beamstream.state import read_state
from beamstream.streams import delete_stream
from beamstream.testing.waiting import wait_until

SCRIPT = Path(__file__).with_name("reducer_process.py")
STREAM = Address("bt", "det", "run")
SUMS = Address("bt", "det-sums", "run")


class Service:
    """A running reducer and its log."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def says(self, text: str) -> None:
        with contextlib.suppress(AssertionError):  # said below, with the log as it is then
            wait_until(lambda: text in self.log() or not self.is_alive())
        assert text in self.log(), self.log()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.is_alive(), f"the end of {self.pid}")

    def status(self) -> int:
        wait_until(lambda: not self.is_alive(), f"the end of\n{self.log()}")
        return int(self._log.with_suffix(".status").read_text())


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """Where reducers are born."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as it:
        yield it


@pytest.fixture
def start(broker: str, nursery: subprocess.Popen[str], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a reducer; what is left of it is killed after the test."""
    services: list[Service] = []
    assert nursery.stdin is not None
    assert nursery.stdout is not None

    def one(*options: str) -> Service:
        log = tmp_path / f"{len(services)}.log"
        log.touch()
        nursery.stdin.write(json.dumps([str(log), str(STREAM), "--broker", broker, *options]) + "\n")
        nursery.stdin.flush()
        services.append(Service(int(nursery.stdout.readline()), log))
        return services[-1]

    yield one
    for service in services:
        service.kill()


def send(producer: Producer, ids: Iterable[int]) -> None:
    for message_id in ids:
        producer.send(message_id, message_id.to_bytes(8, "big"))


def newest(broker: str) -> Frame | None:
    state = read_state(Server(broker), StreamKeys(SUMS))
    if state is None or state.next_id == 1:
        return None
    with Consumer(SUMS, broker=broker) as results:
        return results.read(state.last_id if state.finished else state.next_id - 1)


def counted(broker: str) -> int:
    frame = newest(broker)
    return frame.metadata["n_counted"] if frame is not None else 0


def check_exact(broker: str, ids: Iterable[int]) -> Frame:
    """Check that the newest result counts each of these numbers once."""
    frame = newest(broker)
    assert frame is not None
    expected = list(ids)
    assert frame.metadata["n_counted"] == len(expected)
    assert frame.metadata["sum"] == sum(expected)
    np.testing.assert_array_equal(frame.array(), np.bincount(np.array(expected) % 16, minlength=16))
    return frame


def test_a_reducer_publishes_while_it_runs_and_at_the_end(broker, start):
    reducer = start()
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 501))
        wait_until(lambda: counted(broker) == 500, "a result while the stream is open")
        send(producer, range(501, 1001))
        producer.finish()
    assert reducer.status() == 0
    final = check_exact(broker, range(1, 1001))
    assert final.metadata["reducer"]["final"] is True
    state = read_state(Server(broker), StreamKeys(SUMS))
    assert state is not None
    assert (state.finished, state.n_missing) == (True, 0)
    (group,) = list_groups(Server(broker), STREAM)
    assert (group.n_pending, group.lag_messages) == (0, 0)
    assert group.report == {"n_counted": 1000, "n_results": state.last_id, "stream": str(SUMS), "ended": True}


def test_totals_are_exact_though_the_reducer_is_killed_at_many_moments(broker, start):
    rng = random.Random(4)
    n_kills, each = 10, 200
    with Producer(STREAM, broker=broker) as producer:
        for kill in range(n_kills):
            reducer = start("--period", "0.01")
            reducer.says("begins")
            for some in range(10):
                first = 1 + kill * each + some * 20
                send(producer, range(first, first + 20))
                time.sleep(rng.uniform(0, 0.02))  # the moment of death is what is tried; nothing is waited for
            reducer.kill()
        producer.finish()
    start()
    wait_until(lambda: (frame := newest(broker)) and frame.metadata["reducer"]["final"], "the final result")
    final = check_exact(broker, range(1, n_kills * each + 1))
    assert final.message_id > n_kills, "each of them came to publish something"
    wait_until(lambda: list_groups(Server(broker), STREAM)[0].n_pending == 0, "all acknowledged")
    (group,) = list_groups(Server(broker), STREAM)
    assert (group.n_dead, group.lag_messages) == (0, 0)


def test_late_and_missing_messages_do_not_harm_the_sums(broker, start):
    with Producer(STREAM, broker=broker, patience_s=0.05) as producer:
        send(producer, [*range(1, 50), *range(60, 100)])
        reducer = start()
        wait_until(lambda: counted(broker) == 89, "what is there is counted")
        reducer.kill()
        send(producer, [55, 57])
        start()
        wait_until(lambda: counted(broker) == 91, "what came late is counted")
        check_exact(broker, [*range(1, 50), 55, 57, *range(60, 100)])


def test_a_message_that_fails_is_counted_out_and_a_restart_counts_nothing_twice(broker, start):
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 101))
        producer.finish()
    with Consumer(STREAM, broker=broker, group="sums", max_attempts=2, redelivery_delays_s=[0.3]):
        pass
    first = start("--fail", "40")
    wait_until(lambda: counted(broker) == 99, "the others are counted")
    first.kill()
    second = start("--fail", "40")
    assert second.status() == 1, "a message was given up"
    check_exact(broker, [number for number in range(1, 101) if number != 40])
    (letter,) = list_dead_letters(Server(broker), STREAM, "sums")
    assert letter.message_id == 40


def test_a_message_that_kills_its_reducer_runs_out_of_attempts_and_its_neighbours_are_counted(broker, start):
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 101))
        producer.finish()
    with Consumer(STREAM, broker=broker, group="sums", max_attempts=1):
        pass
    deaths = 0
    while not (frame := newest(broker)) or not frame.metadata["reducer"]["final"]:
        reducer = start("--die", "40")
        wait_until(lambda: not reducer.is_alive(), "its end")  # noqa: B023
        deaths += 1
        assert deaths <= 6
    assert deaths == 2 + MAX_DEATHS, "one before anything was noted, those, and the one that ended well"
    check_exact(broker, [number for number in range(1, 101) if number != 40])
    (letter,) = list_dead_letters(Server(broker), STREAM, "sums")
    assert letter.message_id == 40
    assert "died 3 times of message 40" in letter.why


def test_a_second_one_waits_and_takes_over_and_one_that_slept_too_long_ends(broker, start):
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 101))
        active = start("--lease", "2")  # longer than a loaded machine keeps anybody from its work
        wait_until(lambda: counted(broker) == 100, "the first one at work")
        spare = start("--lease", "2")
        spare.says("waiting as its spare")
        os.kill(active.pid, signal.SIGSTOP)
        send(producer, range(101, 201))
        wait_until(lambda: counted(broker) == 200, "the spare at work")
        os.kill(active.pid, signal.SIGCONT)
        send(producer, range(201, 301))
        assert active.status() == 1
        assert "another process reduces for group sums now" in active.log()
        producer.finish()
    assert spare.status() == 0
    check_exact(broker, range(1, 301))


def test_what_the_server_forgot_of_the_group_is_counted_once(broker, start):
    """As after a crash of the server: the newest results and acknowledgements are lost."""
    server = Server(broker)
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 301))
        reducer = start()
        wait_until(lambda: counted(broker) == 300, "a result")
        reducer.kill()
        server.call("XGROUP", "SETID", StreamKeys(STREAM).index, "sums", "100-0")
        producer.finish()
    assert start().status() == 0
    check_exact(broker, range(1, 301))


def test_a_reset_begins_anew_and_holds_over_a_restart(broker, start):
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 101))
        reducer = start()
        wait_until(lambda: counted(broker) == 100, "a result")
        assert run(["parameters", "set", "bt/det", "--group", "sums", "resets=1", "--broker", broker]) == 0
        wait_until(lambda: (newest(broker) or {}).metadata["sum"] == 0, "nothing added up")
        reducer.kill()
        send(producer, range(101, 151))
        producer.finish()
        assert start().status() == 0
    frame = newest(broker)
    assert frame is not None
    assert frame.metadata["sum"] == sum(range(101, 151))
    assert frame.metadata["reducer"]["resets"] == 1
    assert frame.metadata["parameters"] == 2


def test_deleting_the_results_counts_anew_from_the_start(broker, start):
    with Producer(STREAM, broker=broker) as producer:
        send(producer, range(1, 101))
        reducer = start()
        wait_until(lambda: counted(broker) == 100, "a result")
        reducer.kill()
        delete_stream(Server(broker), SUMS)
        producer.finish()
    assert start().status() == 0
    check_exact(broker, range(1, 101))


def test_results_of_somebody_else_are_not_taken_for_its_own(broker, start):
    with Producer(STREAM, broker=broker) as producer, Producer(SUMS, broker=broker) as other:
        send(producer, range(1, 11))
        other.send(1, b"something else")
        other.flush()
        reducer = start()
        assert reducer.status() == 1
    assert "is no result that sums could go on from" in reducer.log()
    with pytest.raises(StreamNotFoundError):
        delete_stream(Server(broker), Address("bt", "det-sums", "other"))
