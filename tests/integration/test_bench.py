"""`stream bench` as a user runs it: complete figures, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import redis

from beamstream import Producer
from beamstream.cli.root import run
from beamstream.presence import Presence, announce
from beamstream.protocol.client import Server
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_broker.bench.disks import file_system
from beamstream_broker.bench.errors import BrokerNotIdleError
from beamstream_broker.bench.target import measure_room, somebodys_broker
from beamstream_broker.embedded import EmbeddedServer

SIZES = ("--size", "200B", "--size", "64KiB")
SHORT = (*SIZES, "--seconds", "0.1", "--groups", "2", "--memory", "128MiB")


class Marked:
    """Runs `stream bench`, and finds every process that came of it, whoever is its parent now."""

    def __init__(self) -> None:
        self._mark = f"BENCH_TEST_MARK={uuid.uuid4()}"
        self._started: list[subprocess.Popen[str]] = []
        self._seen: set[int] = set()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **dict([self._mark.split("=")])}
        process = subprocess.Popen(
            [sys.executable, "-m", "beamstream.cli", "bench", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def family(self) -> set[int]:
        """Return what has come of it and runs: processes with the mark in their environment, and their children."""
        parents, found = {}, set()
        for directory in Path("/proc").iterdir():
            try:
                if directory.name.isdecimal():
                    state, parent = (directory / "stat").read_text().rpartition(")")[2].split()[:2]
                    if state != "Z":
                        parents[int(directory.name)] = int(parent)
                        if self._mark.encode() in (directory / "environ").read_bytes():
                            found.add(int(directory.name))
            except OSError:  # ended meanwhile, or somebody else's
                continue
        # A server writes its title over its environment.
        self._seen |= found | {pid for pid, parent in parents.items() if parent in found}
        return self._seen & parents.keys()

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def marked() -> Iterator[Marked]:
    one = Marked()
    yield one
    one.end()


def test_every_tier_is_measured_beside_the_ceilings(marked: Marked, tmp_path: Path) -> None:
    if file_system(tmp_path) in ("tmpfs", "ramfs"):
        pytest.skip("the folder for temporary files is on no disk")
    output, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    process = marked.start(*SHORT, "--spill", str(tmp_path), "--json", "--output", str(output), "--plot", str(plot))
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    found = json.loads(said)
    assert json.loads(output.read_text()) == found
    assert ET.fromstring(plot.read_text()).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 (our own)

    results = {(one["tier"], one["part"], one["message_bytes"]): one for one in found["results"]}
    left = {one["what"] for one in found["left_out"]}
    expected = {("inline", "live", 200), *((tier, "live", 65536) for tier in ("memory", "shared")),
                ("disk", "written", 65536), ("disk", "read", 65536)}  # fmt: skip
    missing = expected - results.keys()
    assert missing <= {("shared", "live", 65536)}
    assert left == {"shared, 64 KiB"} if missing else not left
    for (_, part, size), one in results.items():
        assert one["n_bytes"] == one["n_messages"] * size > 0
        assert one["n_groups"] == (0 if part == "written" else 2)
        assert one["messages_per_s"] > 0
        assert one["cpu_s_per_unit"]["server"] >= 0
        assert one["cpu_s_per_unit"]["broker"] is not None
        if part == "live":
            delays = one["latency"]
            assert 0 < delays["p50_s"] <= delays["p90_s"] <= delays["p99_s"] <= delays["max_s"]
            assert delays["n_samples"] >= 2
            assert delays["rate_hz"] == pytest.approx(one["messages_per_s"] / 2)
    assert {(one["name"], one["message_bytes"]) for one in found["ceilings"]} == {
        *((name, None) for name in ("memcpy", "disk write, fsync", "disk read")),
        *((name, size) for name in ("socket pair", "redis-py SET/GET") for size in (200, 65536)),
    }
    assert all(one["bytes_per_s"] > 0 for one in found["ceilings"])
    assert found["host"]["server"].split()[0] in ("valkey", "redis")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.svg"]
    wait_until(lambda: not marked.family(), "the end of all processes")


def test_somebodys_broker_is_measured_when_it_is_named_and_nothing_stays_on_it(marked: Marked, broker: str) -> None:
    options = (*SIZES, "--seconds", "0.1", "--groups", "1", "--members", "2", "--tier", "inline", "--tier", "memory")
    process = marked.start("--broker", broker, *options, "--rate", "200", "--json")
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    found = json.loads(said)
    assert [(one["tier"], one["n_members"]) for one in found["results"]] == [("inline", 2), ("memory", 2)]
    assert {one["latency"]["rate_hz"] for one in found["results"]} == {200.0}
    assert {one["cpu_s_per_unit"]["broker"] for one in found["results"]} == {None}
    with redis.Redis.from_url(broker) as client:
        assert client.keys("*") == []


def test_a_broker_of_the_environment_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAM_BROKER", "redis://:secret@nobody")
    assert run(["bench", "--tier", "memory", "--size", "1B"]) == 2
    errors = capsys.readouterr().err
    assert "redis://:***@nobody is left alone" in errors
    assert "nothing is left to measure" in errors


@pytest.mark.parametrize("line", [["--broker", "unix:///nobody", "bench"], ["bench", "--broker", "unix:///nobody"]])
def test_one_that_is_named_on_the_command_line_is_meant(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 1
    assert "unix:///nobody" in capsys.readouterr().err


def test_a_tier_that_was_asked_for_and_cannot_be_had_is_an_error(
    broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--broker", broker, "--tier", "disk", "--size", "64KiB", "--seconds", "0.05"]) == 2
    assert "payloads of somebody's broker are not moved to disk before their time" in capsys.readouterr().err


def test_what_a_broker_shares_out_with_segments_is_not_taken_from_them(broker: str) -> None:
    server = Server(broker)
    limit_bytes, room_bytes = measure_room(server)
    assert 0.7 * limit_bytes < room_bytes < 0.8 * limit_bytes
    announce(server, Presence(host="here", pid=1, folder="", flaw="", shared="somewhere"))
    assert measure_room(server)[1] < 0.1 * limit_bytes
    server.close()


def test_a_file_that_cannot_be_written_is_found_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--plot", str(tmp_path / "nowhere" / "bench.svg")]) == 2
    assert "nothing was measured" in capsys.readouterr().err


def test_a_broker_that_is_being_written_to_is_refused_by_name(broker: str) -> None:
    stop = threading.Event()

    def keep_sending() -> None:
        message_id = 0
        with Producer("11012345/eiger/run", broker=broker) as producer:
            while not stop.wait(0.01):
                message_id += 1
                producer.send(message_id, b"x").result()

    sending = threading.Thread(target=keep_sending)
    sending.start()
    try:
        with redis.Redis.from_url(broker) as client:
            wait_until(lambda: client.keys("*:index"), "the first message")
        with pytest.raises(BrokerNotIdleError, match=r"busy: 11012345/eiger/run is being written"), \
             somebodys_broker(broker):  # fmt: skip
            pass
    finally:
        stop.set()
        sending.join()


def test_a_broker_without_room_is_refused_with_its_numbers() -> None:
    with EmbeddedServer(memory_bytes=32 << 20) as small, \
         pytest.raises(BrokerNotIdleError, match=r"full: of its 31.50 MiB .* at least 64.00 MiB are needed"), \
         somebodys_broker(small.url):  # fmt: skip
        pass


def run_into_the_middle(marked: Marked, *arguments: str) -> subprocess.Popen[str]:
    """Start a long run, and come back after its first result."""
    sizes = [word for number in range(50) for word in ("--size", f"{200 + number}B")]
    process = marked.start(*sizes, "--seconds", "0.1", "--groups", "1", "--memory", "64MiB", *arguments)
    assert process.stderr is not None
    said = []
    while not said or "inline, 1 group:" not in said[-1]:
        said.append(process.stderr.readline())
        assert said[-1], f"it has ended: {''.join(said)}"
    return process


def test_nothing_runs_on_and_nothing_stays_when_it_is_killed(marked: Marked, tmp_path: Path) -> None:
    process = run_into_the_middle(marked, "--spill", str(tmp_path))
    assert len(marked.family()) >= 7, "itself, broker and server with their guardians, producer, reader"
    assert list(tmp_path.iterdir())
    process.kill()
    wait_until(lambda: not marked.family(), "the end of all processes")
    wait_until(lambda: not list(tmp_path.iterdir()), "an empty folder")


def test_nothing_runs_on_and_nothing_stays_on_the_broker_when_it_is_interrupted(marked: Marked, broker: str) -> None:
    process = run_into_the_middle(marked, "--broker", broker)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert not marked.family()
    with redis.Redis.from_url(broker) as client:
        assert client.keys("*") == []
