"""Orphans: payloads in memory that no entry leads to, and that nobody would ever delete.

A producer stores a payload and then publishes it; one that is killed in between leaves the payload. The keys are gone
through in small steps, and what has lain there for `GRACE_S` without an entry, or without a message that waits for a
gap or for parts, is deleted by one script that looks and deletes in one. A producer that cannot publish for so long
stores its payloads again (see `beamstream.producer.sender`), which begins the grace anew.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Sequence

from beamstream.address import Address
from beamstream.errors import AddressError, ServerRefusedError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

log = logging.getLogger(__name__)

GRACE_S = 60
"""How long a payload may lie without an entry [s]: twice what a producer takes for safe between the two steps."""

STEP_EVERY_S = 0.25
"""How often a step is taken [s]."""

STEP_KEYS = 256
"""Keys looked at in one step: about a millisecond in which the server does nothing else; 100,000 take 100 s."""

_KEY = re.compile(r"bs1:p:(?P<address>[^:]+):(?P<id>\d{1,16}):(?P<checksum>[0-9a-f]{16})(?::(?P<part>\d{1,4}))?")


class Orphans:
    """Deletes the orphans of one server.

    Parameters
    ----------
    server : Server
        The server.
    grace_s : int
        How long a payload may lie without an entry [s].

    Attributes
    ----------
    n_freed, freed_bytes, n_rounds : int
        What was deleted [payloads, bytes]; how often all keys were gone through.
    """

    def __init__(self, server: Server, grace_s: int = GRACE_S) -> None:
        self.n_freed = 0
        self.freed_bytes = 0
        self.n_rounds = 0
        self._server = server
        self._grace_s = grace_s
        self._cursor = b"0"
        self._stepped_at = -STEP_EVERY_S

    def tick(self) -> None:
        """Take a step if it is time.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if time.monotonic() - self._stepped_at >= STEP_EVERY_S:
            self._stepped_at = time.monotonic()
            self.step()

    def step(self) -> None:
        """Look at the next keys; see `tick`."""
        self._cursor, keys = self._server.call("SCAN", self._cursor, "MATCH", "bs1:p:*", "COUNT", STEP_KEYS)
        self.n_rounds += self._cursor == b"0"
        by_stream: defaultdict[Address, list[re.Match[str]]] = defaultdict(list)
        for key in keys:
            match = _KEY.fullmatch(key.decode("ascii", "replace"))
            if match is None:
                continue
            try:
                by_stream[Address.parse(match["address"])].append(match)
            except AddressError:
                continue  # somebody else's key
        for address, found in by_stream.items():
            try:
                self._free(address, found)
            except ServerRefusedError as error:
                log.debug("the payloads of %s are passed over: %s", address, error)

    def _free(self, address: Address, found: Sequence[re.Match[str]]) -> None:
        n_freed, freed_bytes = self._server.script(
            "orphans",
            [*StreamKeys(address).sequence, *(one[0] for one in found)],
            [self._grace_s, *(text for one in found for text in (one["id"], one["part"] or "0", one["checksum"]))],
        )
        if n_freed:
            self.n_freed += n_freed
            self.freed_bytes += freed_bytes
            log.warning("%s: %d payload(s) that no entry leads to were deleted", address, n_freed)
