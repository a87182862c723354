"""The processes of `pipeline.py`: started, heard, commanded, and their CPU time."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 120.0
"""How long one answer of a process may take [s]: far more than any should on a busy machine."""

CLOCK_TICKS_HZ = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The pipeline did not do what is to be measured."""


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program for as long as the block lasts; its warnings go to our standard error."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


def stream(*arguments: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run `stream` with these arguments."""
    return process("-m", "beamstream.cli", "--log-level", "error", *arguments)


def hear(running: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next line of JSON that a process prints."""
    if running.stdout is None or not select.select([running.stdout], [], [], TIMEOUT_S)[0]:
        raise BenchmarkError(f"{running.args!r} said nothing for {TIMEOUT_S:g} s")
    line = running.stdout.readline()
    if not line:
        raise BenchmarkError(f"{running.args!r} has ended")
    answer: dict[str, Any] = json.loads(line)
    return answer


def tell(running: subprocess.Popen[str], line: str) -> None:
    """Print a line to a process."""
    if running.stdin is not None:
        print(line, file=running.stdin, flush=True)


def cpu_s(pid: int) -> float:
    """Return the CPU time that all threads of a process have used, in user and kernel mode [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_HZ


class Detector:
    """A running `stream simulate eiger`, commanded over its REST interface."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.pid = running.pid
        where = hear(running)
        self.endpoint = str(where["stream"])
        self._host = urlsplit(where["api"]).netloc

    def ask(self, method: str, path: str) -> Any:
        """Return what a request answers."""
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise BenchmarkError(f"{method} {path}: {body.decode()}")
        return json.loads(body) if body else None

    def arm(self) -> int:
        """Begin a series; return its number."""
        return int(self.ask("PUT", "/detector/api/1.8.0/command/arm")["sequence id"])

    @contextlib.contextmanager
    def triggered(self) -> Iterator[None]:
        """Take the images while the block runs: the command answers when the last one is taken."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.ask, "PUT", "/detector/api/1.8.0/command/trigger")
            yield
            answer.result()

    @property
    def n_dropped(self) -> int:
        """Images of the last series that nobody took."""
        return int(self.ask("GET", "/stream/api/1.8.0/status/dropped")["value"])


@contextlib.contextmanager
def detector(size: str, n_frames: int) -> Iterator[Detector]:
    """Run a simulated detector that waits for its receivers, and takes images as fast as they leave."""
    ports = ("--stream-port", "0", "--api-port", "0", "--json")
    series = ("--size", size, "--frames", str(n_frames), "--rate", "0", "--wait")
    with stream("simulate", "eiger", *series, *ports) as running:
        yield Detector(running)
