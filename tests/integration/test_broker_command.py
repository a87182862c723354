"""`stream broker run` as a user runs it: a process that says where it is, serves, and ends when told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import redis

from beamstream import Consumer, Producer
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.testing.ports import free_port
from beamstream_broker.embedded import EmbeddedServer

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `stream broker run` with some arguments; ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, stderr: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "beamstream.cli", "broker", "run", *arguments],
            stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment,
        )  # fmt: skip
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a process started with --json says when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, said = process.communicate()
        pytest.fail(f"it ended without a word on stdout: {said}")
    answer: dict[str, Any] = json.loads(line)
    return answer


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_says_where_it_is_and_ends_when_told_to(start: Start, number: signal.Signals, status: int) -> None:
    process = start("--port", "0", "--memory", "64MiB", "--json")
    where = ready(process)
    assert where["pid"] == process.pid
    for url in (where["url"], where["tcp_url"]):
        assert Server(url).check().startswith("valkey")
    process.send_signal(number)
    assert process.wait(30) == status
    assert not Path(where["url"].removeprefix("unix://")).exists()
    assert not Path(f"/proc/{where['server_pid']}").exists()


def test_people_are_told_the_urls_and_the_next_command(start: Start) -> None:
    process = start("--port", "0", "--memory", "64MiB")
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(5)]
    assert "64.00 MiB" in said[0]
    assert "unix:///" in said[1]
    assert "redis://127.0.0.1:" in said[2]
    assert "fetch service    tcp://127.0.0.1:" in said[3]
    assert said[4].startswith("next, e.g.:  stream --broker unix:///")


def test_a_port_in_use_ends_it_with_status_1_and_a_way_out(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--port", str(taken.getsockname()[1]), "--memory", "64MiB")
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "already in use" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--memory", "much"], "'much' is no amount of memory"),
        (["--memory", "1KiB"], "needs at least"),
        (["--host", "0.0.0.0"], "without a password"),  # noqa: S104
        (["--port", "70000"], "70000 is no TCP port"),
        (["--password-file", "/nowhere/secret"], "cannot read the password"),
    ],
)
def test_misuse_ends_it_with_status_2_and_names_the_offender(start: Start, arguments: list[str], word: str) -> None:
    process = start(*arguments)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert word in said


def test_a_password_is_read_from_a_file_and_never_printed(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    process = start("--port", "0", "--memory", "64MiB", "--password-file", str(secret), "--json")
    where = ready(process)
    assert "sesame" not in json.dumps(where)
    with redis.Redis.from_url(where["tcp_url"]) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(where["tcp_url"], password="open sesame") as friend:  # noqa: S106
        assert friend.ping()


def test_a_server_that_dies_is_started_again_and_one_that_dies_all_the_time_given_up(start: Start) -> None:
    process = start("--port", "0", "--memory", "64MiB", "--json")
    said = ready(process)
    pids = [said["server_pid"]]
    for url in (said["url"], said["tcp_url"]) * 3:
        os.kill(pids[-1], signal.SIGKILL)
        while len(pids) < 6 and (pid := server_pid(url)) in (None, pids[-1]):
            time.sleep(0.01)
        pids.append(pid)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 1
    assert log.count("starting it again") == 5
    assert "killed by SIGKILL" in log


def server_pid(url: str) -> int | None:
    """Return the process id of the server that answers there; None where none does."""
    try:
        with redis.Redis.from_url(url) as client:
            return int(client.info("server")["process_id"])
    except redis.RedisError:
        return None


def test_a_server_that_is_there_is_looked_after_and_left_running(start: Start, server: EmbeddedServer) -> None:
    process = start("--broker", server.url, "--json")
    assert ready(process) == {
        "url": server.url,
        "tcp_url": None,
        "fetch_url": None,
        "pid": process.pid,
        "server_pid": None,
    }
    process.terminate()
    assert process.wait(30) == 0
    server.check()


def test_a_server_that_evicts_is_warned_about_in_words(start: Start) -> None:
    with EmbeddedServer(memory_bytes=64 * 1024**2) as other:
        with redis.Redis.from_url(other.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", "0")
        process = start("--broker", other.url)
        assert process.stderr is not None
        said = process.stderr.readline() + process.stderr.readline()
    assert "allkeys-lru: a full server throws out frames" in said
    assert "no maxmemory" in said


def test_a_broker_that_does_not_answer_ends_it_with_status_1(start: Start, tmp_path: Path) -> None:
    process = start("--broker", f"unix://{tmp_path}/nobody.sock")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "no server answers" in said


def test_memory_streams_and_clients_are_exported(start: Start) -> None:
    port = free_port()
    process = start("--port", "0", "--memory", "64MiB", "--metrics-port", str(port), "--json")
    where = ready(process)
    Producer("bt/source/one", broker=where["url"]).close()
    wanted = {
        # from here on writing is refused: a sixty-fourth is kept in reserve
        'beamstream_level{quantity="memory_limit_bytes",service="broker"} 6.6060288e+07',
        'beamstream_level{quantity="streams",service="broker"} 1.0',
        'beamstream_level{quantity="server_up",service="broker"} 1.0',
    }
    seen: set[str] = set()
    while not wanted <= seen:  # the time limit of every test ends this
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                seen = set(answer.read().decode().splitlines())
        except ConnectionError:
            assert process.poll() is None


def test_more_than_the_memory_goes_through_and_a_required_group_gets_all_of_it(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        url = ready(start("--port", "0", "--memory", "64MiB", "--json", stderr=log))["url"]
    address, n_messages, payload = "bt/source/long", 200, os.urandom(1024**2)
    with Producer(address, broker=url, queue_bytes=8 * 1024**2) as producer:
        received: list[int] = []

        def consume() -> None:
            with Consumer(address, broker=url, group="write", required=True) as frames:
                received.extend(frame.message_id for frame in frames)

        consumer = threading.Thread(target=consume)
        consumer.start()
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, payload)
        producer.finish(n_messages)
        consumer.join()
    assert received == list(range(1, n_messages + 1))
    receipt = make_receipt(Server(url), producer.address)
    assert receipt.n_missing == receipt.dropped == 0
