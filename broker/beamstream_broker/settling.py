"""Gaps and ends that nobody else looks at: the scripts look at the clock only when somebody calls them, and a producer
that was killed calls nobody any more.
"""

from __future__ import annotations

import logging
import time

from beamstream.errors import BufferFullError, ServerRefusedError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.streams import all_streams

log = logging.getLogger(__name__)

EVERY_S = 0.5
"""How often it is looked whether a gap has been open for too long [s]; patience is some seconds."""


class Settling:
    """Lets the patience of the streams of one server end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._looked_at = -EVERY_S

    def look(self) -> None:
        """Settle what waits; does nothing where it looked just now.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if time.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = time.monotonic()
        there = all_streams(self._server)
        answers = self._server.pipeline(
            [("HMGET", StreamKeys(address).state, "n_held", "finish_since_ms", "sealed") for address in there]
        )
        for address, answer in zip(there, answers, strict=True):
            if isinstance(answer, Exception):
                continue  # somebody else's key under this name; whoever needs it says so
            n_held, finish_since_ms, sealed = (int(value or 0) for value in answer)
            if n_held or (finish_since_ms and not sealed):
                try:
                    self._server.script("publish", StreamKeys(address).sequence, [0])
                except (BufferFullError, ServerRefusedError) as error:
                    log.debug("%s cannot be settled now: %s", address, error)
