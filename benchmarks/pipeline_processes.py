"""Processes that benchmarks run: started, heard, told, and their CPU time."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

TIMEOUT_S = 120.0
"""How long one answer of a process may take [s]: far more than any should on a busy machine."""


class BenchmarkError(Exception):
    """What was run did not do what is to be measured."""


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
