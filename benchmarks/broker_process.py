"""The processes of the proofs: `stream broker run`, what works against it, and a watch on its server's memory."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from beamstream.protocol.client import Server

WATCH_EVERY_S = 0.01
"""How often the server is asked for its memory [s]: at 1 GB/s, 10 MB come in that time."""

END_TIMEOUT_S = 30.0
"""How long the broker may take to end when it is asked to [s]."""


class ProofError(Exception):
    """What was to be shown is not so, or cannot be shown here; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """URL of the server, process ids of the broker and of its server."""

    url: str
    pid: int
    server_pid: int


@contextlib.contextmanager
def running_broker(memory: str, spill: Path | None = None, *options: str) -> Iterator[RunningBroker]:
    """Run a broker with its embedded server for as long as the block lasts; its warnings go to our standard error."""
    command = [sys.executable, "-m", "beamstream.cli", "--log-level", "warning", "broker", "run", "--json"]
    command += ["--memory", memory, "--port", "0", *([] if spill is None else ["--spill", str(spill)]), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise ProofError("the broker did not start; what it says stands above")
            said = json.loads(line)
            yield RunningBroker(url=said["url"], pid=process.pid, server_pid=said["server_pid"])
        finally:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


class Child:
    """A process of ours that tells what it found through a pipe."""

    def __init__(self, work: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._heard, said = context.Pipe(duplex=False)
        self._process = context.Process(target=work, args=(*arguments, said), daemon=True)
        self._process.start()
        said.close()

    def ended(self, wait_s: float) -> bool:
        """Whether it has something to tell."""
        return self._heard.poll(wait_s)

    def tell(self) -> dict[str, Any]:
        """Return the next thing that it tells."""
        try:
            said: dict[str, Any] = self._heard.recv()
        except EOFError:
            self._process.join()
            raise ProofError(f"a process ended with status {self._process.exitcode}; it says why above") from None
        return said


class MemoryWatch:
    """Asks a server for its memory all the time, in a thread of its own.

    Attributes
    ----------
    used_bytes, resident_bytes : int
        Highest reading of ``used_memory``, and of the process's resident memory [bytes].
    n_readings : int
        How often was asked.
    """

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory watch", daemon=True)
        self.used_bytes = 0
        self.resident_bytes = 0
        self.n_readings = 0

    def _info(self) -> dict[str, str]:
        text = self._server.call("INFO", "memory").decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def _run(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            self._look()

    def _look(self) -> None:
        info = self._info()
        # The server's own peak holds what happened between two looks as well.
        self.used_bytes = max(self.used_bytes, int(info["used_memory"]), int(info["used_memory_peak"]))
        self.resident_bytes = max(self.resident_bytes, int(info["used_memory_rss"]))
        self.n_readings += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._look()
        self._server.close()


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Raise `ProofError` where the file system of a folder has less room than this."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ProofError(
            f"{folder} has {free_bytes / 1e9:.1f} GB left and {needed_bytes / 1e9:.1f} GB are needed; "
            "name a folder on another disk with --folder, or take less"
        )


class Progress:
    """A line on standard error, at most twice a second; none where nobody watches."""

    def __init__(self) -> None:
        self._shown_at = 0.0
        self._live = os.isatty(sys.stderr.fileno())

    def show(self, text: str) -> None:
        """Show this in place of what was shown before."""
        if self._live and time.monotonic() - self._shown_at > 0.5:
            self._shown_at = time.monotonic()
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
