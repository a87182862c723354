"""Where a broker's fetch service is, said in the state of each stream whose segments lie below its folder.

A broker that was started again listens elsewhere and has another ticket, and one without the service has to take back
what its predecessor said; so all streams are gone through, once at the start and then now and then.
"""

from __future__ import annotations

import time
from pathlib import Path

from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.streams import list_sources, list_streams

ANNOUNCE_EVERY_S = 5.0
"""How often all streams are gone through [s]: readers look for a lost service for a minute."""


class Announcing:
    """Says where the service is.

    Parameters
    ----------
    root : Path
        Where the broker spills to.
    endpoint : str
        What is said; empty where there is no service.
    """

    def __init__(self, server: Server, root: Path, endpoint: str) -> None:
        self._server = server
        self._root = root.absolute()
        self._endpoint = endpoint
        self._done_at = -ANNOUNCE_EVERY_S

    def tick(self) -> None:
        """Go through all streams if it is time."""
        if time.monotonic() - self._done_at < ANNOUNCE_EVERY_S:
            return
        for source in list_sources(self._server):
            keys = [StreamKeys(address) for address in list_streams(self._server, source)]
            notes = self._server.pipeline([("HMGET", one.state, "spill_folder", "spill_fetch") for one in keys])
            for one, note in zip(keys, notes, strict=True):
                if not isinstance(note, Exception) and self._is_wrong(*note):
                    self._server.script("announce", [one.state], [note[0], self._endpoint])
        self._done_at = time.monotonic()

    def _is_wrong(self, folder: bytes | None, endpoint: bytes | None) -> bool:
        if folder is None or (endpoint or b"").decode("utf-8", "replace") == self._endpoint:
            return False
        return Path(folder.decode("utf-8", "surrogateescape")).is_relative_to(self._root)
