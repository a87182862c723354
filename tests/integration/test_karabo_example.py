"""A source from a package of its own, `examples/beamstream-karabo`: found by its entry point, and its own tests pass.

The peer is the server of the karabo-bridge package, which is in the test group; a wheel's test without it skips.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from beamstream import Consumer

EXAMPLE = Path(__file__).parents[2] / "examples" / "beamstream-karabo"
FIRST = 10_000_000_000
N_TRAINS = 30
TIMEOUT_S = 60

pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not here")
server_module = pytest.importorskip("karabo_bridge.server", reason="karabo-bridge is not installed")


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """What an installer does with a package whose module lies elsewhere: entry points, and a path to it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (points,) = project["entry-points"].values()
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[beamstream.producers]", *lines]))
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def feed_trains(server: server_module.ServerInThread, n_trains: int) -> None:
    """Feed two modules and a motor; the second module lacks every tenth train."""
    for train_id in range(FIRST, FIRST + n_trains):
        data = {
            f"SPB_DET/{module}CH0": {"image.data": np.full((2, 8, 16), train_id % 1000, "<u2")} for module in range(2)
        }
        data["SPB/MOTOR/X"] = {"position": 0.5 * (train_id - FIRST)}
        if train_id % 10 == 9:
            del data["SPB_DET/1CH0"]
        server.feed(data, {source: {"source": source, "timestamp.tid": train_id} for source in data}, timeout=TIMEOUT_S)


def produce(environment: Mapping[str, str], broker: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "beamstream.cli", "produce", "karabo", *arguments]
    return subprocess.Popen(
        [*command, "--to", "bt/spb", "--broker", broker], env=dict(environment), stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(params=[("REP", "REQ"), ("PUSH", "PULL")], ids=["asked", "pushed"])
def server_and_socket(request: pytest.FixtureRequest) -> Iterator[tuple[server_module.ServerInThread, str]]:
    with server_module.ServerInThread("tcp://127.0.0.1:*", sock=request.param[0]) as server:
        yield server, request.param[1]


def test_trains_of_a_real_bridge_become_streams_that_share_their_ids(server_and_socket, environment, broker) -> None:
    server, socket = server_and_socket
    with produce(
        environment, broker, server.endpoint, "--socket", socket, "--trains", str(N_TRAINS), "--run", "r7"
    ) as one:
        feed_trains(server, N_TRAINS)
        _, said = one.communicate(timeout=TIMEOUT_S)
    assert one.returncode == 0, said
    with Consumer("bt/spb/r7.SPB_DET_0CH0.image.data", broker=broker, timeout_s=20) as frames:
        seen = {frame.message_id: int(frame.array()[1, 7, 15]) for frame in frames}
        assert frames.metadata["karabo"] == {"source": "SPB_DET/0CH0", "key": "image.data", "first_train": FIRST}
    assert seen == {n + 1: (FIRST + n) % 1000 for n in range(N_TRAINS)}
    with Consumer("bt/spb/r7.SPB_DET_1CH0.image.data", broker=broker, timeout_s=20) as frames:
        assert [frame.message_id for frame in frames] == [n for n in range(1, N_TRAINS + 1) if n % 10]
        assert frames.state.n_missing == 3
    with Consumer("bt/spb/r7.SPB_MOTOR_X", broker=broker, timeout_s=20) as frames:
        assert [frame.metadata["position"] for frame in frames] == [0.5 * n for n in range(N_TRAINS)]


def test_ctrl_c_ends_the_run_and_what_came_is_there(environment, broker) -> None:
    with server_module.ServerInThread("tcp://127.0.0.1:*") as server:
        with produce(environment, broker, server.endpoint, "--run", "r8", "--select", "*/0CH0:image.data") as one:
            feed_trains(server, 5)
            with Consumer("bt/spb/r8.SPB_DET_0CH0.image.data", broker=broker, wait_for_stream=True) as frames:
                assert [frames.next(TIMEOUT_S).message_id for _ in range(5)] == [1, 2, 3, 4, 5]
                one.send_signal(2)
                assert list(frames) == []
            _, said = one.communicate(timeout=TIMEOUT_S)
        assert (one.returncode, "not selected 10" in said) == (130, True), said


def test_its_help_has_an_example_and_what_cannot_be_meant_is_refused(environment) -> None:
    command = [sys.executable, "-m", "beamstream.cli", "produce", "karabo"]
    helped = subprocess.run([*command, "--help"], env=dict(environment), capture_output=True, text=True, check=True)
    assert "stream produce karabo tcp://bridge:1234" in helped.stdout
    for arguments, said in ((["bridge:1"], "tcp://HOST:PORT"), (["tcp://b:1", "--run", "a/b"], "--run")):
        ended = subprocess.run(
            [*command, *arguments, "--to", "bt/spb"], env=dict(environment), capture_output=True, text=True, check=False
        )
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_its_own_tests_pass(environment) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    ran = subprocess.run(command, cwd=EXAMPLE, env=dict(environment), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
