"""Keeping all: streams that say so go to disk as they come, and their producers are told how far that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from beamstream.address import Address
from beamstream.errors import CorruptDataError, ServerRefusedError, StreamNotFoundError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import read_state
from beamstream.streams import all_streams

from .spilling import Spilling

log = logging.getLogger(__name__)

FIND_EVERY_S = 0.2
"""How often streams that keep all are looked for [s]: the first messages of a new one wait so long for their fsync."""

LOOK_EVERY_S = 0.02
"""How often those that were found are looked at [s]."""

TURN_BYTES = 64 << 20
"""What one stream writes before it is another one's turn [bytes]: a fifth of a second of disk."""

ALL_BYTES = 1 << 62
"""More than any stream has [bytes]."""


class Keeping:
    """Writes the streams of one server to disk that keep all."""

    def __init__(self, server: Server, spilling: Spilling) -> None:
        self._server = server
        self._spilling = spilling
        self._streams: dict[Address, int] = {}
        self._found_at = -FIND_EVERY_S

    @property
    def busy(self) -> bool:
        """Whether there is a stream to be looked at soon again."""
        return bool(self._streams)

    def look(self) -> None:
        """Write what is new.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if time.monotonic() - self._found_at >= FIND_EVERY_S:
            self._streams = self._find()
            self._found_at = time.monotonic()
        for address, created_ns in list(self._streams.items()):
            try:
                self._spilling.spill(address, created_ns, TURN_BYTES)
            except (StreamNotFoundError, CorruptDataError, ServerRefusedError) as error:
                log.debug("%s is left out: %s", address, error)
                del self._streams[address]

    def keep(self, keeps: Sequence[str]) -> None:
        """Write everything that is not on disk yet of the streams that keep so.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        for address, created_ns in self._find(keeps).items():
            try:
                self._spilling.spill(address, created_ns, ALL_BYTES)
            except (StreamNotFoundError, CorruptDataError, ServerRefusedError) as error:
                log.error("%s is not kept: %s", address, error)

    def _find(self, keeps: Sequence[str] = ("all",)) -> dict[Address, int]:
        found = {}
        there = all_streams(self._server)
        for address in there:
            try:
                state = read_state(self._server, StreamKeys(address))
            except (CorruptDataError, ServerRefusedError) as error:
                log.debug("%s is left out: %s", address, error)
                continue
            if state is not None and state.keep in keeps and not (state.finished and state.is_on_disk):
                found[address] = state.created_ns
        self._spilling.keep_only(there)
        return found
