"""The broker's service loop: looks after one server, whoever started it, until a signal asks it to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beamstream.errors import ServerRefusedError, ServerUnavailableError
from beamstream.metrics import Snapshot
from beamstream.protocol.client import Server
from beamstream.protocol.keys import streams_of
from beamstream.service.shell import service_shell
from beamstream.streams import list_sources

from .retention import MemoryUse, Retention
from .spilling import Spilling

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""How often the server's memory is looked at [s]: 6 GB/s fill the 15 % above the high-water mark of 4 GiB in that."""

LOG_EVERY_S = 60.0
"""How often the log hears what the server does [s]."""

COUNT_EVERY_S = 1.0
"""How often streams and clients are counted for progress and metrics [s]."""


class BrokerService:
    """Retention and metrics of one server.

    Parameters
    ----------
    server : Server
        The server.
    check : callable
        Called at every look; raises where the server is known to be gone for good.
    spill_root : Path, optional
        Folder for segments.
    """

    def __init__(self, server: Server, check: Callable[[], None], spill_root: Path | None = None) -> None:
        self._server = server
        self._check = check
        self._spilling = None if spill_root is None else Spilling(server, spill_root)
        self._retention = Retention(server, self._spilling)
        self._memory = MemoryUse(used_bytes=0, limit_bytes=0)
        self._levels: dict[str, float] = {}
        self._n_bytes = 0
        self._counted_at = -COUNT_EVERY_S
        self._reachable = True
        self._n_lost = 0

    def run(self, announce: Callable[[], None], metrics_port: int | None) -> int:
        """Look after the server until SIGINT or SIGTERM; returns the exit status.

        Parameters
        ----------
        announce : callable
            Called once when everything is ready, signals included.
        metrics_port : int or None
            Port for Prometheus, on loopback.

        Raises
        ------
        ServerDiedError
            If an embedded server ends by itself.
        """
        with service_shell("broker", self.snapshot, metrics_port, log_every_s=LOG_EVERY_S) as shell:
            announce()
            while not shell.stop.wait(LOOK_EVERY_S):
                self._check()
                self.look()
                shell.progress.tick()
            return shell.exit_status(failed=False)

    def look(self) -> None:
        """Look at the server once: make room if it is full, count now and then. A lost server is waited for."""
        try:
            info = read_info(self._server)
            self._memory = MemoryUse(used_bytes=int(info["used_memory"]), limit_bytes=int(info["maxmemory"]))
            self._retention.relieve(self._memory)
            if time.monotonic() - self._counted_at >= COUNT_EVERY_S:
                self._count(info)
        except (ServerUnavailableError, ServerRefusedError) as error:
            # One that was started by somebody else may come back; our own is reported by `check`.
            if self._reachable:
                self._n_lost += 1
                log.warning("%s; waiting for it", error)
            self._reachable = False
        else:
            if not self._reachable:
                log.info("the server at %s answers again", self._server.shown_url)
            self._reachable = True

    def snapshot(self) -> Snapshot:
        """Return what was last counted; asks nobody, so it is safe from any thread."""
        counts = self._retention.counts
        events = {"released": counts.n_released, "dropped": counts.n_dropped, "server_lost": self._n_lost}
        spilling = self._spilling
        if spilling is not None:
            events |= {"spilled": spilling.counts.n_spilled, "gone_before_spilling": spilling.counts.n_gone}
        return Snapshot(
            events=events,
            payload_bytes=self._n_bytes,
            levels={
                "server_up": float(self._reachable),
                **({} if spilling is None else {"spill_stands_still": float(bool(spilling.flaw))}),
                "memory_used_bytes": float(self._memory.used_bytes),
                "memory_limit_bytes": float(self._memory.limit_bytes),
                **self._levels,
            },
        )

    def _count(self, info: dict[str, str]) -> None:
        self._counted_at = time.monotonic()
        self._n_bytes = int(info["total_net_input_bytes"])
        sources = list_sources(self._server)
        n_streams = sum(self._server.call("ZCARD", streams_of(source)) for source in sources)
        self._levels = {"connected_clients": float(info["connected_clients"]), "streams": float(n_streams)}


def read_info(server: Server) -> dict[str, str]:
    """Return the fields of the server's ``INFO`` about memory, clients and traffic."""
    answer: Any = server.call("INFO", "memory", "clients", "stats")
    return dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)


def find_flaws(server: Server) -> list[str]:
    """Return in words what is wrong with the settings of a server that we did not start."""
    try:
        policy = _setting(server, "maxmemory-policy")
        limit_bytes = int(_setting(server, "maxmemory"))
    except ServerRefusedError as error:
        return [f"its settings cannot be read ({error.reason}); it should have maxmemory-policy noeviction"]
    flaws = []
    if policy != "noeviction":
        flaws.append(
            f"its maxmemory-policy is {policy}: a full server throws out frames that nobody has read, without a word; "
            "set it with: CONFIG SET maxmemory-policy noeviction"
        )
    if limit_bytes == 0:
        flaws.append(
            "it has no maxmemory: it grows until the machine has no memory left, and nothing is ever released; "
            "set it with e.g.: CONFIG SET maxmemory 4gb"
        )
    return flaws


def _setting(server: Server, name: str) -> str:
    answer: list[bytes] = server.call("CONFIG", "GET", name)
    return answer[1].decode() if len(answer) > 1 else "unknown"
