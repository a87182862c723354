"""A lease: one process at a time does something, another waits to take its place.

It keeps a second one from beginning, which is enough for almost all; a process that was stopped for longer than its
lease and goes on must be caught where it does harm, by whoever uses this.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid

from beamstream.errors import BeamstreamError
from beamstream.protocol.client import Server

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""After which silence a lease goes to another process [s]; as long as a member of a group may be silent."""

LOOK_EVERY_S = 0.1
"""How often one that waits looks whether it is free [s]."""

RENEWALS = 5
"""How often within that time it is prolonged."""


class Lease:
    """A lease under a key.

    Parameters
    ----------
    server : Server
        Where.
    key : str
        What it is about.
    lease_s : float
        After which silence it is lost [s].
    """

    def __init__(self, server: Server, key: str, lease_s: float = LEASE_S) -> None:
        self._server = server
        self._key = key
        self._lease_ms = int(lease_s * 1000)
        self.who = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.owner = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether it is this process's, as far as that is known."""
        return self.owner == self.who

    def take(self, wait_s: float = 0.0) -> bool:
        """Take it if nobody has it, or lets it go within `wait_s` [s]; it is prolonged until `give_up`.

        `owner` says who has it otherwise.
        """
        ends_at = time.monotonic() + wait_s
        self._ask(self._lease_ms)
        while not self.held and time.monotonic() < ends_at:
            self._stop.wait(min(LOOK_EVERY_S, wait_s))
            self._ask(self._lease_ms)
        if self.held and self._thread is None:
            self._thread = threading.Thread(target=self._keep, name=f"lease {self._key}", daemon=True)
            self._thread.start()
        return self.held

    def give_up(self) -> None:
        """Let it go, so that another one need not wait."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.held:
            try:
                self._ask(0)
            except BeamstreamError as error:
                log.debug("the lease %s lapses by itself: %s", self._key, error)
        self.owner = ""

    def _ask(self, lease_ms: int) -> None:
        self.owner = self._server.script("lease", [self._key], [self.who, lease_ms]).decode("utf-8", "replace")

    def _keep(self) -> None:
        while not self._stop.wait(self._lease_ms / 1000 / RENEWALS) and self.held:
            try:
                self._ask(self._lease_ms)
            except BeamstreamError as error:
                log.debug("the lease %s is not prolonged: %s", self._key, error)
