"""The sign that somebody reads a stream, for readers without a group, of which the server knows nothing."""

from __future__ import annotations

import logging
import time

from beamstream.errors import ServerRefusedError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

log = logging.getLogger(__name__)

SIGN_EVERY_S = 30.0
"""How often a reader says that it is there [s]: often, against the day after which an index leaves."""


class Sign:
    """Says it now and then."""

    def __init__(self, server: Server, keys: StreamKeys) -> None:
        self._server = server
        self._keys = keys
        self._said_at = -SIGN_EVERY_S

    def tick(self) -> None:
        """Say it if it is time.

        Raises
        ------
        ServerUnavailableError
            If the server is lost.
        """
        now = time.monotonic()
        if now - self._said_at >= SIGN_EVERY_S:
            self._said_at = now
            try:
                self._server.script("seen", [self._keys.state], [])
            except ServerRefusedError as error:  # one who may only read, reads all the same
                log.debug("%s: the sign of a reader is refused: %s", self._keys.address, error)
