"""Workers as processes of their own: added, killed and removed in the middle, and nothing lost or out of order."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.groups import list_members
from beamstream.metrics import Snapshot
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service.consuming.workers import add_up
from beamstream.testing.waiting import PATIENCE_S, wait_until

SCRIPT = Path(__file__).with_name("worker_process.py")
STREAM, OUT = Address("bt", "det", "run"), Address("bt", "det-out", "run")


class Service:
    """A service with workers, its log and its notes."""

    def __init__(self, folder: Path, broker: str, n_workers: int, flaw: str = "") -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        self._log = folder / f"{len(list(folder.glob('*.log')))}.log"
        command = [sys.executable, str(SCRIPT), broker, str(STREAM), str(self.notes), str(n_workers), flaw]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def log(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[tuple[int, int]]:
        """Return what its own workers have noted: frame and process."""
        lines = [tuple(map(int, line.split())) for line in self.notes.read_text().splitlines() if line.count(" ") == 2]
        return [(message_id, pid) for message_id, pid, parent in lines if self.process.pid in (pid, parent)]

    def workers(self) -> set[int]:
        return {pid for _, pid in self.lines()}

    def status(self) -> int:
        return self.process.wait(PATIENCE_S)


Start = Callable[..., Service]


@pytest.fixture
def start(broker: str, tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []

    def begin(n_workers: int, flaw: str = "") -> Service:
        services.append(Service(tmp_path, broker, n_workers, flaw))
        return services[-1]

    yield begin
    for service in services:
        if service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()


def test_results_are_complete_and_in_order_when_workers_are_killed_added_and_removed(start: Start, broker: str) -> None:
    with Producer(STREAM, broker=broker) as producer:
        first = start(2)
        sent = itertools.count(1)

        def send_until(condition: Callable[[], object], what: str) -> None:
            wait_until(lambda: [producer.send(next(sent), b"x") for _ in range(5)] and condition(), what)

        send_until(lambda: len(first.workers()) == 2, "both workers at work")
        os.kill(min(first.workers()), signal.SIGKILL)
        second = start(1)  # somebody else's, on another host
        send_until(lambda: len(first.workers()) == 3, "another one in its place")
        send_until(second.workers, "the one that was added")
        second.process.send_signal(signal.SIGTERM)
        send_until(lambda: second.process.poll() is not None, "the end of the one that was added")
        assert second.status() == 0
        n_frames = producer.finish()
    assert first.status() == 0, first.log()
    assert "was killed by signal 9; what it held goes to others" in first.log()
    assert re.search(r"noting .*workers restarted 1 ", first.log().splitlines()[-1])
    with Consumer(OUT, broker=broker, timeout_s=20) as consumer:
        assert [(frame.message_id, frame.late) for frame in consumer] == [(i, False) for i in range(1, n_frames + 1, 2)]
        assert {gap.reason for gap in consumer.take_gaps()} == {"declined"}
    receipt = make_receipt(Server(broker), OUT)
    assert (receipt.received + receipt.declined, receipt.n_missing, receipt.state) == (n_frames, 0, "complete")
    (members,) = [list_members(Server(broker), STREAM, "noting")]
    assert members == [], "nobody has left anything behind"


def test_ctrl_c_lets_all_workers_hand_on_what_they_have(start: Start, broker: str) -> None:
    with Producer(STREAM, broker=broker) as producer:
        service = start(2)
        for message_id in range(1, 3001):
            producer.send(message_id, b"x")
        wait_until(lambda: len(service.workers()) == 2, "both workers at work")
        os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does it: to everybody
        assert service.status() == 130, service.log()
        noted = Counter(message_id for message_id, _ in service.lines())
        assert max(noted.values()) == 1
        with Consumer(STREAM, broker=broker, group="noting") as rest:
            for _ in range(3000 - len(noted)):
                frame = rest.next(20)
                assert frame.message_id not in noted
                rest.acknowledge(frame)
    assert not any(Path(f"/proc/{pid}").exists() for pid in service.workers())


def test_workers_whose_supervisor_is_killed_end_by_themselves(start: Start, broker: str) -> None:
    with Producer(STREAM, broker=broker) as producer:
        service = start(2)
        for message_id in range(1, 201):
            producer.send(message_id, b"x")
        wait_until(lambda: len(service.workers()) == 2, "both workers at work")
        workers = service.workers()
        service.process.kill()
        service.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers' end")


@pytest.mark.parametrize(
    ("flaw", "status", "text"),
    [("make", 2, "UsageError: it is asked for"), ("open", 2, "UsageError: the geometry does not fit")],
)
def test_what_no_worker_can_do_ends_the_service_with_its_error(
    start: Start, broker: str, flaw: str, status: int, text: str
) -> None:
    with Producer(STREAM, broker=broker) as producer:
        producer.send(1, b"x")
        producer.finish()
    service = start(2, flaw)
    assert service.status() == status, service.log()
    assert text in service.log()
    assert "Traceback" not in service.log()


def test_a_frame_that_kills_its_workers_is_given_up_and_the_service_goes_on(start: Start, broker: str) -> None:
    Consumer(Producer(STREAM, broker=broker).address, broker=broker, group="noting", max_attempts=2).close()
    with Producer(STREAM, broker=broker) as producer:
        producer.send(1, b"x")
        producer.finish()
    service = start(2, "crash")
    assert service.status() == 1, service.log()
    assert service.log().count("was killed by signal 6") == 2
    assert make_receipt(Server(broker), OUT).missing == [(1, 1)]


def test_counts_of_workers_are_added_and_rates_averaged() -> None:
    total = add_up([
        Snapshot(events={"handled": 3}, payload_bytes=5, levels={"results": 2, "hit_rate": 0.5}),
        Snapshot(events={"handled": 4, "failed": 1}, payload_bytes=7, levels={"results": 3, "hit_rate": 1.0}),
        Snapshot(),
    ])  # fmt: skip
    assert total.events == {"handled": 7, "failed": 1}
    assert (total.payload_bytes, total.levels) == (12, {"results": 5, "hit_rate": 0.75})
