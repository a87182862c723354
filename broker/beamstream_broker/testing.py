"""For tests: `stream broker run` as users run it, to be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from beamstream.errors import ServerUnavailableError
from beamstream.testing.ports import free_port
from beamstream.testing.waiting import PATIENCE_S, wait_until

__all__ = ["BrokerProcess"]


class BrokerProcess:
    """`stream broker run` in a process and a working directory of its own, without the user's settings.

    Parameters
    ----------
    folder
        Its working directory, with its log (``broker.log``) and, if it runs a server, its socket (``b.sock``).
    options
        More of its command line.
    attach
        URL of a server that is there; without one it runs its own.
    memory
        What a server of its own may take.

    Attributes
    ----------
    url : str
        The server's, the same after each start.
    pid, server_pid : int
        The broker, and a server of its own (0: it has none).
    """

    def __init__(self, folder: Path, *options: str, attach: str = "", memory: str = "64MiB") -> None:
        self.folder = folder
        self.url = attach or f"unix://{folder}/b.sock"
        self.pid = self.server_pid = 0
        self._options = [*options]
        own = ["--memory", memory, "--port", "0", "--socket", str(folder / "b.sock")]
        self._where = ["--broker", attach] if attach else own
        self._metrics_port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Run it; returns when it is ready.

        Raises
        ------
        ServerUnavailableError
            If it ends without having been ready, with its log.
        """
        self._metrics_port = free_port()
        command = [sys.executable, "-m", "beamstream.cli", "broker", "run", "--json", *self._where, *self._options]
        command += ["--metrics-port", str(self._metrics_port), *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
        with (self.folder / "broker.log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        said = self._process.stdout.readline() if self._process.stdout else ""
        if not said:
            self._reap()
            raise ServerUnavailableError(self.url, f"the broker did not start: {self.log()}")
        self.pid, self.server_pid = self._process.pid, json.loads(said)["server_pid"] or 0

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker, not to its server."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the broker, if it runs; its server goes with it."""
        if self._process is None:
            return
        self._process.kill()
        self._reap()
        if self.server_pid:
            wait_until(lambda: not Path(f"/proc/{self.server_pid}").exists(), f"the end of server {self.server_pid}")

    def stop(self) -> int:
        """Ask it to end; returns its exit status."""
        self.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        process, self._process = self._process, None
        if process is None:
            raise RuntimeError("the broker does not run")
        status = process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()
        return status

    def log(self) -> str:
        """Return what it has logged since the first start."""
        return (self.folder / "broker.log").read_text("utf-8")

    def metric(self, event: str) -> float:
        """Return how often something happened, by its metrics: the sum over what they tell apart."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if f'event="{event}"' in line)
