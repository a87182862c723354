"""`stream consume monitor` as a process: what it prints, what it serves, how it ends, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from beamstream import Address, Producer
from beamstream.errors import AddressError, BeamstreamError, ServerUnavailableError, UsageError
from beamstream.offline.errors import NoRecordingError
from beamstream_consumers.monitor import monitor
from beamstream_consumers.monitor.serving import has_desktop
from beamstream_consumers.monitor.web.errors import MonitorAccessError, MonitorAddressError

ADDRESS = Address("11012345", "eiger", "run_001")
SOURCE = "11012345/eiger"
PATIENCE_S = 60.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-u", "-m", "beamstream.cli", "consume", "monitor", *options]
        started.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate(timeout=PATIENCE_S)[1]
    return json.loads(line)  # type: ignore[no-any-return]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=PATIENCE_S)
    return process.returncode, error


def picture_at(link: str, source: str) -> dict[str, Any]:
    """Open a link as a browser does, and return the first picture's header."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(link, timeout=PATIENCE_S) as answer:
        assert answer.status == 200
        page = answer.url
    assert "token" not in page
    cookies = "; ".join(f"{one.name}={one.value}" for one in jar)
    wish = {"t": "pane", "pane": 0, "source": source, "kind": "frame", "rect": [0, 0, 64, 64], "canvas": [64, 64],
            "masked": True, "pool": "max", "full": False, "roi": None, "at": None}  # fmt: skip
    url = page.replace("http", "ws", 1) + "ws"
    with connect(url, additional_headers={"Cookie": cookies}, max_size=None, proxy=None) as socket:
        socket.send(json.dumps(wish))
        while isinstance(message := socket.recv(timeout=PATIENCE_S), str):
            pass
    length = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + length])  # type: ignore[no-any-return]


def test_it_serves_a_stream_until_ctrl_c(broker: str, start: Start) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send_array(1, np.full((64, 64), 7, "<u2"))
        producer.flush()
        process = start(SOURCE, "--broker", broker, "--port", "0", "--json")
        served = said(process)
        assert served["sources"] == [SOURCE]
        header = picture_at(served["urls"]["viewer"], SOURCE)
        assert (header["stream"], header["id"], header["full"]) == ("run_001", 1, [64, 64])
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 130


def test_people_are_told_the_links_and_how_to_reach_them_from_elsewhere(broker: str, start: Start) -> None:
    process = start(SOURCE, "--broker", broker, "--port", "0", "--allow-control", "--no-browser")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert lines[0] == f"Monitor of {SOURCE}:\n"
    assert "/?token=" in lines[1]
    assert "(may change things)" in lines[2]
    assert "ssh -N -L" in lines[3]
    process.terminate()
    assert ended(process)[0] == 0


def test_a_recording_is_shown_through_a_socket(captured_data: Path, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    process = start(str(captured_data / "cbf_pilatus300k_albis"), "--uds", str(path), "--json")
    served = said(process)
    assert (served["port"], served["socket"]) == (None, str(path))
    assert path.is_socket()
    process.terminate()
    assert ended(process)[0] == 0
    assert not path.exists()


def test_a_stream_that_is_not_there_fails_the_command(broker: str, start: Start) -> None:
    status, error = ended(start("11012345/eiger/run_9", "--broker", broker, "--port", "0"))
    assert (status, "no such stream" in error, "Traceback" in error) == (1, True, False)


@pytest.mark.parametrize(
    ("where", "options", "error", "words"),
    [
        ([SOURCE], {"broker": "unix:///nobody"}, ServerUnavailableError, "nobody"),
        ([SOURCE, SOURCE], {}, UsageError, "named twice"),
        (["redis://a/b/c", "redis://d/e/f"], {}, UsageError, "2 brokers"),
        (["./nothing.h5"], {}, NoRecordingError, "nothing.h5"),
        (["./a.h5", "./b.h5"], {}, UsageError, "one recording"),
        (["./a.h5"], {"allow_control": True}, UsageError, "leave it out"),
        (["./a.h5"], {"terminal": True}, UsageError, "--terminal"),
        (["only-one-part"], {}, AddressError, "only-one-part"),
        ([SOURCE], {"auth": "none", "host": "192.0.2.1"}, MonitorAccessError, "everybody"),
        ([SOURCE], {"token": "secret"}, MonitorAccessError, "16 to 128"),
        ([SOURCE], {"host": "192.0.2.1"}, MonitorAddressError, "--host"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(
    where: list[str], options: dict[str, Any], error: type[BeamstreamError], words: str
) -> None:
    with pytest.raises(error, match=words):
        monitor(where, **{"port": 0, **options})


def test_a_browser_is_opened_where_somebody_sees_it() -> None:
    assert has_desktop({"DISPLAY": ":0"})
    assert has_desktop({"WAYLAND_DISPLAY": "wayland-0"})
    assert not has_desktop({})
    assert not has_desktop({"DISPLAY": ""})
    assert not has_desktop({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"})
