"""Faults on request: what the simulator says that it did is what arrives, and the connector accounts for all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zmq

from beamstream_producers.formats.simplon import End, Image, SimplonError, Start, decode
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.sim.acquisition import State
from beamstream_producers.sim.faults import Faults

PROOF = Path(__file__).parents[2] / "benchmarks" / "detector_faults.py"
TIMEOUT_S = 60
EVERYTHING = (
    "drop=0.1,duplicate=0.1,reorder=0.1,renumber=0.1,stall=0.01,garbage=0.1,abort=0.3,restart=0.3,late-header=0.3,"
    "header-again=0.3,two-ends=0.3,no-end=0.3,second-client=0.5"
)


@pytest.mark.skipif(not PROOF.exists(), reason="the benchmarks are not part of an installation")
def test_whatever_the_detector_does_every_message_is_accounted_for() -> None:
    command = [
        sys.executable,
        str(PROOF),
        "--seeds",
        "8",
        "--at-once",
        "4",
        "--series",
        "4",
        "--images",
        "20",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["n_seeds"], found["n_failed_seeds"]) == (8, 0)
    assert found["detector"]["messages"] - found["detector"]["stolen"] == found["connector"]["received"]


def receive(socket: zmq.Socket[bytes], n_messages: int) -> Counter[str]:
    """Receive so many messages and count them by kind."""
    names = {Start: "starts", Image: "images", End: "ends"}
    counts: Counter[str] = Counter()
    for _ in range(n_messages):
        parts = socket.recv_multipart()
        try:
            counts[names[type(decode(parts))]] += 1
        except SimplonError:
            counts["garbage"] += 1
    return counts


@pytest.fixture
def receiver() -> Any:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvhwm = 0
        socket.rcvtimeo = TIMEOUT_S * 1000
        yield socket


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_command_says_exactly_what_left(receiver: zmq.Socket[bytes], version: str) -> None:
    command = [
        sys.executable,
        "-m",
        "beamstream.cli",
        "simulate",
        "eiger",
        "--size",
        "500k",
        "--format",
        version,
        "--json",
    ]
    command += ["--stream-port", "0", "--api-port", "0", "--auto", "--series", "8", "--frames", "20", "--rate", "0"]
    command += ["--wait", "--seed", "5", "--faults", EVERYTHING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            receiver.connect(json.loads(process.stdout.readline())["stream"])
            said, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    *series, last = [json.loads(line) for line in said.splitlines()]
    total = last["total"]
    assert len(series) == total["series"] == 8
    received = receive(receiver, total["messages"] - total["stolen"])
    assert not receiver.poll(0)
    assert received["images"] == total["sent"] + total["duplicated"] + total["stale"] - total["stolen_images"]
    assert received["garbage"] <= total["garbage"]
    assert total["taken"] == total["sent"] + total["stale"] + total["dropped"]
    assert sum(one["messages"] for one in series) == total["messages"]
    assert all(one["taken"] == one["sent"] + one["dropped"] + one["held"] for one in series)
    assert total["stolen"] > 0
    assert total["restarted"] > 0
    assert 1 in [one["series"] for one in series[1:]], "series are counted from the first one again after a restart"


def test_faults_that_cannot_be_meant_are_misuse_and_told_in_one_line() -> None:
    command = [sys.executable, "-m", "beamstream.cli", "simulate", "eiger", "--faults", "dorp=0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert "did you mean 'drop'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_faults_that_there_are_can_be_listed() -> None:
    command = [sys.executable, "-m", "beamstream.cli", "simulate", "eiger", "--faults", "list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0
    assert "second-client" in done.stdout


def detector_with(**faults: float) -> SimulatedEiger:
    return SimulatedEiger(
        SimulatedEigerOptions(size="500k", n_images=20, rate_hz=0, wait=True, faults=Faults(**faults), seed=3)
    )


def test_what_the_detector_drops_stands_in_its_status(receiver: zmq.Socket[bytes]) -> None:
    with detector_with(drop=0.3) as detector:
        receiver.connect(detector.endpoint)
        assert detector.wait_for_receiver(TIMEOUT_S)
        detector.arm()
        detector.trigger()
        assert detector.wait_for_end(TIMEOUT_S)
        assert 0 < detector.n_dropped == detector.journal.reports[0].counts["dropped"] < 20
        assert detector.n_sent + detector.n_dropped == 20


def test_after_a_restart_the_detector_is_idle_and_counts_its_series_from_the_first_one(
    receiver: zmq.Socket[bytes],
) -> None:
    with detector_with(restart=1) as detector:
        receiver.connect(detector.endpoint)
        for _ in range(3):
            assert detector.wait_for_receiver(TIMEOUT_S)
            assert detector.arm() == 1
            detector.trigger()
            assert detector.state is State.IDLE
        assert detector.journal.total()["restarted"] == 3
