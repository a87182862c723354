"""`stream demo` as a user runs it: all its processes, interrupted and killed, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from beamstream.testing.waiting import wait_until

ENDLESS = ("--frames", "1000000", "--rate", "50")

Start = Callable[..., subprocess.Popen[str]]


def parents() -> dict[int, int]:
    """Return every running process with its parent; zombies are not running."""
    found = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                state, parent = (directory / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                found[int(directory.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    young = {pid}
    running = parents()
    while young:
        young = {child for child, parent in running.items() if parent in young} - found
        found |= young
    return found


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def find_consumer(pid: int, verb: str) -> int:
    """Return the process that runs `stream consume VERB`."""
    (found,) = (one for one in descendants(pid) if f"consume {verb}" in command_of(one))
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `stream demo` with a small detector; whatever is left of it is ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "beamstream.cli", "demo", "--no-browser", "--size", "500k",
             "--directory", str(tmp_path / "runs"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def wait_until_written(tmp_path: Path) -> None:
    """Wait until the writer of a running demo has begun its file."""
    wait_until(lambda: list(tmp_path.glob("runs/*/*.nxs.partial")), "a file")


def test_every_frame_is_written_and_the_checksums_agree(start: Start, tmp_path: Path) -> None:
    process = start("--frames", "40", "--rate", "0", "--json")
    said, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    receipt = json.loads(said)
    assert receipt["flaws"] == []
    assert receipt["expected"] == receipt["received"] == receipt["written"] == 40
    assert receipt["file_checksum"] == receipt["checksum"]
    assert receipt["hits"] == 8
    path = Path(receipt["file"])
    assert path.is_relative_to(tmp_path)
    with h5py.File(path) as file:
        assert file["entry/data/data"].shape[0] == 40


def test_an_interrupt_hands_on_what_is_there_and_ends_with_status_130(start: Start, tmp_path: Path) -> None:
    process = start(*ENDLESS, "--json")
    wait_until_written(tmp_path)
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    receipt = json.loads(said)
    assert receipt["received"] == receipt["written"] > 0
    assert not family & parents().keys()


def test_a_killed_process_ends_the_demo_with_status_1_and_its_name(start: Start, tmp_path: Path) -> None:
    process = start(*ENDLESS)
    wait_until_written(tmp_path)
    family = descendants(process.pid)
    os.kill(find_consumer(process.pid, "bin"), signal.SIGKILL)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "the demo's bin failed: it was killed by SIGKILL" in errors
    assert "bin.log" in errors
    assert not family & parents().keys()


def test_nothing_runs_on_when_the_demo_is_killed(start: Start, tmp_path: Path) -> None:
    process = start(*ENDLESS)
    wait_until_written(tmp_path)
    family = descendants(process.pid)
    assert len(family) >= 14
    process.kill()
    wait_until(lambda: not family & parents().keys(), "the end of all processes")


def test_it_keeps_running_on_request_until_it_is_told_to_end(start: Start) -> None:
    process = start("--frames", "5", "--rate", "0", "--format", "v1", "--keep-running", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["flaws"] == []
    page = next(line for line in process.stderr if "watch it at" in line).split()[-1]
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(page) as answer:
        assert b"<title>" in answer.read()
    broker = next(line for line in process.stderr if line.startswith("still running")).split("--broker ")[1].split()[0]
    listed = subprocess.run(
        [sys.executable, "-m", "beamstream.cli", "--broker", broker, "ls", "--json"],
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    assert "demo/eiger/series_00001" in [row["stream"] for row in json.loads(listed.stdout)]
    process.terminate()
    assert process.wait(100) == 0


def test_a_place_where_nothing_can_be_written_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    process = start()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert str(tmp_path / "runs") in errors
    assert "--directory" in errors
