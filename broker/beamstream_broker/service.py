"""The broker's service loop: looks after one server, whoever started it, until a signal asks it to stop."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from beamstream.errors import BufferFullError, ServerRefusedError, ServerUnavailableError
from beamstream.metrics import Snapshot
from beamstream.presence import Presence, announce, withdraw
from beamstream.protocol.client import Server
from beamstream.protocol.keys import streams_of
from beamstream.service.shell import service_shell
from beamstream.streams import list_sources

from .disk import DISK_EVERY_S, Disk
from .embedded import EmbeddedServer
from .errors import ServerDiedError
from .fetching import FetchService
from .keeping import TURN_BYTES
from .retention import MemoryUse, Retention
from .settling import Settling
from .sharing import Collecting, SharingService
from .upkeep import Ages, Upkeep

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""How often the server's memory is looked at [s]: 6 GB/s fill the 15 % above the high-water mark of 4 GiB in that."""

LOOK_SOON_S = 0.01
"""How long until the next look where the server had to let something go within the last second, or shared memory is
short [s]: a producer that is faster than the disk has filled up again what was freed, and waits."""

BUSY_FOR_S = 1.0
"""How long such a time lasts after the last time that something had to go, or a segment was lent [s]."""

SPILLING_FOR_S = 5.0
"""How long messages are said to go to disk after the last one that did [s]: slow streams have some seconds between."""

LOG_EVERY_S = 60.0
"""How often the log hears what the server does [s]."""

COUNT_EVERY_S = 1.0
"""How often streams and clients are counted for progress and metrics [s]."""


NEVER_OLD = Ages()

MAX_DEATHS, DIES_TOO_OFTEN_S = 5, 60.0
"""A server of our own that dies more often than so many times in so many seconds is not started again."""


MAX_TROUBLES = 100
"""Kinds of trouble that the log hears of; all of them are counted."""


class BrokerService:
    """Retention, the disk and metrics of one server.

    Parameters
    ----------
    server : Server
        The server.
    spill_root : Path, optional
        Folder for segments.
    embedded : EmbeddedServer, optional
        The server, where it is ours: with closed doors, which are opened when the streams on disk are back in it. If it
        dies it is started again.
    fetch : FetchService, optional
        Who serves shared memory and segments to readers that do not see them.
    sharing : SharingService, optional
        Who gives segments of shared memory to processes of this host.
    sharing_flaw : str
        Why nobody does, where nobody does.
    ages : Ages
        How old messages may become, and how long what nobody reads stays.
    """

    def __init__(
        self,
        server: Server,
        spill_root: Path | None = None,
        embedded: EmbeddedServer | None = None,
        fetch: FetchService | None = None,
        ages: Ages = NEVER_OLD,
        sharing: SharingService | None = None,
        sharing_flaw: str = "",
    ) -> None:
        self._server = server
        self._embedded = embedded
        self._settling = Settling(server)
        self._fetch = fetch
        self._upkeep = Upkeep(server, spill_root, ages)
        self._sharing = sharing
        self._sharing_flaw = sharing_flaw
        pool = None if sharing is None else sharing.pool
        self._collecting = None if pool is None else Collecting(server, pool)
        endpoint = "" if fetch is None else fetch.endpoint
        self._disk = None if spill_root is None else Disk(server, spill_root, endpoint, ages.forget_after_s, pool)
        spilling = None if self._disk is None else self._disk.spilling
        self._retention = Retention(server, spilling, turn_bytes=TURN_BYTES)
        self._memory = MemoryUse(used_bytes=0, limit_bytes=0)
        self._levels: dict[str, float] = {}
        self._n_bytes = 0
        self._disk_at = self._memory_at = 0.0
        self._counted_at = -COUNT_EVERY_S
        self._reachable = True
        self._n_lost = 0
        self._n_restarts = 0
        self._died_at: list[float] = []
        self._n_troubles = 0
        self._troubles: set[str] = set()
        self._busy_at = self._lent_at = -BUSY_FOR_S
        self._pinned_said_at = -LOG_EVERY_S
        self._n_lent = 0
        self._n_spilled = 0
        self._spilled_at = -SPILLING_FOR_S

    def run(self, ready: Callable[[], None], metrics_port: int | None) -> int:
        """Look after the server until SIGINT or SIGTERM; returns the exit status.

        Parameters
        ----------
        ready : callable
            Called once when everything is ready, signals included.
        metrics_port : int or None
            Port for Prometheus, on loopback.

        Raises
        ------
        ServerDiedError
            If an embedded server ends by itself again and again.
        """
        with service_shell("broker", self.snapshot, metrics_port, log_every_s=LOG_EVERY_S) as shell:
            self._let_in()
            ready()
            while not shell.stop.wait(self._pause_s()):
                self._revive()
                self.look()
                shell.progress.tick()
            self._leave()
            return shell.exit_status(failed=False)

    def _let_in(self) -> None:
        """Put back what is on disk, and let clients in."""
        self.look()
        if self._embedded is not None:
            self._embedded.open_doors()

    def _revive(self) -> None:
        """Start a server of our own again if it died; one that does so all the time is given up."""
        if self._embedded is None:
            return
        try:
            self._embedded.check()
        except ServerDiedError as error:
            now = time.monotonic()
            self._died_at = [at for at in self._died_at if now - at < DIES_TOO_OFTEN_S] + [now]
            if len(self._died_at) > MAX_DEATHS:
                raise
            self._n_restarts += 1
            log.error("%s; starting it again", error)
            self._embedded.restart()
            self._let_in()

    def _pause_s(self) -> float:
        """Return how long until something is to be looked at [s]; whether shared memory is short costs next to nothing
        to see, and while segments are lent that can be so at any time."""
        now = time.monotonic()
        left_s = min(self._memory_at, self._disk_at) - now
        return max(0.0, min(left_s, LOOK_SOON_S if now - self._lent_at < BUSY_FOR_S else LOOK_EVERY_S))

    def look(self) -> None:
        """Look at the server once: make room if it is full, keep what is to be kept. A lost server is waited for."""
        try:
            self._look_at_disk()
            self._look_at_memory()
            self._settling.look()
        except BufferFullError as error:
            self._note_trouble(str(error), None)  # room is made at the next look
        except (ServerUnavailableError, ServerRefusedError) as error:
            # One that was started by somebody else may come back; our own is reported by `check`.
            if self._reachable:
                self._n_lost += 1
                log.warning("%s; waiting for it", error)
            self._reachable = False
        except Exception as error:  # noqa: BLE001 (whatever one stream does to us, the others are looked after)
            self._note_trouble(f"{type(error).__name__}: {error}", error)
        else:
            if not self._reachable:
                log.info("the server at %s answers again", self._server.shown_url)
            self._reachable = True

    def _note_trouble(self, what: str, error: Exception | None) -> None:
        """Count a look that ended early; the log hears of each kind once."""
        self._n_troubles += 1
        if what not in self._troubles and len(self._troubles) < MAX_TROUBLES:
            self._troubles.add(what)
            log.error("a look at the server ended early: %s", what, exc_info=error)

    def _look_at_disk(self) -> None:
        if self._disk is None:
            self._disk_at = math.inf
        elif time.monotonic() >= self._disk_at:
            self._disk_at = time.monotonic() + LOOK_EVERY_S  # also where it ends early
            self._disk.look()
            if self._disk.busy:
                self._disk_at = time.monotonic() + DISK_EVERY_S

    def _look_at_memory(self) -> None:
        is_short = self._sharing is not None and self._is_short(self._sharing)
        now = time.monotonic()
        if now < self._memory_at and not is_short:
            return
        self._memory_at = now + (LOOK_SOON_S if now - self._busy_at < BUSY_FOR_S else LOOK_EVERY_S)
        info = read_info(self._server)
        used_bytes, limit_bytes = int(info["used_memory"]), int(info["maxmemory"])
        self._memory = MemoryUse(used_bytes=used_bytes, limit_bytes=limit_bytes)
        if self._sharing is not None and self._collecting is not None:
            self._collecting.look()
            self._sharing.budget.look(used_bytes, limit_bytes)
            self._memory = replace(
                self._memory,
                shared_excess_bytes=self._sharing.budget.excess_bytes(),
                shared_streams=self._sharing.pool.addresses(),
            )
        if self._retention.relieve(self._memory):
            if self._memory.is_full:
                self._busy_at = time.monotonic()
            if self._collecting is not None:
                self._collecting.look()
        self._upkeep.tick()
        if time.monotonic() - self._counted_at >= COUNT_EVERY_S:
            self._count(info)
            announce(self._server, self._presence())
            self._say_who_pins()

    def _is_short(self, sharing: SharingService) -> bool:
        """Whether there is too little shared memory left; takes note of whether any of it was lent meanwhile."""
        n_lent, self._n_lent = self._n_lent, sharing.pool.counts.n_lent
        if self._n_lent > n_lent:
            self._lent_at = time.monotonic()
        return sharing.budget.is_short

    def _presence(self) -> Presence:
        presence = Presence(
            host=socket.gethostname(),
            pid=os.getpid(),
            folder="",
            flaw="",
            shared_flaw=self._sharing_flaw,
            fetch="" if self._fetch is None else self._fetch.endpoint,
            owns_server=self._embedded is not None,
        )
        if self._sharing is not None:
            levels = self._sharing.levels()
            presence = replace(
                presence,
                shared=self._sharing.endpoint,
                shared_flaw="",
                pinned=self._sharing.pool.pinned,
                shared_taken_bytes=int(levels["shared_taken_bytes"]),
                shared_limit_bytes=int(levels["shared_limit_bytes"]),
            )
        disk = self._disk
        if disk is None:
            return presence
        n_spilled, now_s = disk.spilling.counts.n_spilled, time.monotonic()
        if n_spilled > self._n_spilled:
            self._n_spilled, self._spilled_at = n_spilled, now_s
        return replace(
            presence,
            folder=str(disk.root),
            flaw=disk.flaw,
            n_spilled=n_spilled,
            spilling=now_s - self._spilled_at < SPILLING_FOR_S,
            disk_free_bytes=disk.free_bytes(),
        )

    def _say_who_pins(self) -> None:
        """Tell the log once in a while whose views keep producers from shared memory."""
        pinned = "" if self._sharing is None else self._sharing.pool.pinned
        if pinned and time.monotonic() - self._pinned_said_at >= LOG_EVERY_S:
            self._pinned_said_at = time.monotonic()
            log.warning("producers go through the server: %s; let frames go, or copy what is kept of them", pinned)

    def _leave(self) -> None:
        """Write what is to be kept a last time, and say that nobody looks after the server any more."""
        try:
            if self._disk is not None:
                # Where the server stays, the segments do not.
                self._disk.close(everything=self._embedded is not None or self._sharing is not None)
            withdraw(self._server)
        except (ServerUnavailableError, ServerRefusedError) as error:
            log.warning("%s", error)

    def snapshot(self) -> Snapshot:
        """Return what was last counted; asks nobody, so it is safe from any thread."""
        counts = self._retention.counts
        events = {
            "released": counts.n_released,
            "dropped": counts.n_dropped,
            "server_lost": self._n_lost,
            "server_restarts": self._n_restarts,
            "troubles": self._n_troubles,
        }
        disk = self._disk
        if disk is not None:
            events |= disk.events()
        events |= self._upkeep.events()
        if self._fetch is not None:
            events |= self._fetch.counts.as_events()
        levels: dict[str, float] = {}
        if self._sharing is not None:
            events |= self._sharing.events()
            levels = self._sharing.levels()
        return Snapshot(
            events=events,
            payload_bytes=self._n_bytes,
            queued_bytes=0 if self._fetch is None else self._fetch.queued_bytes,
            levels={
                "server_up": float(self._reachable),
                **({} if disk is None else {"spill_stands_still": float(bool(disk.flaw))}),
                "memory_used_bytes": float(self._memory.used_bytes),
                "memory_limit_bytes": float(self._memory.limit_bytes),
                **levels,
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
