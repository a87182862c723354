"""How a stream is ended: asked for until it is written, and on disk where the stream keeps all."""

from __future__ import annotations

import time

from beamstream.address import Address
from beamstream.errors import NotOnDiskError, StreamNotFoundError
from beamstream.presence import why_nothing_is_kept
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument
from beamstream.retry import RetryCounts, with_retries
from beamstream.stop import StopFlag

from .on_disk import read_safe
from .opening import Opening

POLL_S = 0.02
"""How often is looked whether the stream's last gaps have settled, and its end is on disk [s]."""


class Ending:
    """Ends one stream.

    Parameters
    ----------
    server : Server
        Where it is.
    address : Address
        The stream.
    opening : Opening
        What makes it again, where the server was started anew without it.
    counts : RetryCounts
        Where retries are counted.
    stop : StopFlag
        Ends the waiting.
    """

    def __init__(self, server: Server, address: Address, opening: Opening, counts: RetryCounts, stop: StopFlag) -> None:
        self._server = server
        self._address = address
        self._opening = opening
        self._counts = counts
        self._stop = stop

    def end(self, last_id: int, reason: str, next_stream: str | None, timeout_s: float | None) -> int:
        """End it, and wait until that is safe; returns the last id. Errors: see `Producer.finish`."""
        arguments: list[Argument] = [last_id, reason, next_stream or ""]
        sealed_at: float | None = None
        while True:
            try:
                end, sealed, safe = with_retries(
                    lambda _: self._ask(arguments), timeout_s=timeout_s, stop=self._stop, counts=self._counts
                )
                if safe:
                    return end
            except StreamNotFoundError:
                if not self._opening.reopen():
                    raise
                sealed = False
            sealed_at = (sealed_at or time.monotonic()) if sealed else None
            if sealed_at is not None:
                waited_s = time.monotonic() - sealed_at
                if self._stop.is_set() or (timeout_s is not None and waited_s >= timeout_s):
                    raise NotOnDiskError(str(self._address), end, waited_s, why_nothing_is_kept(self._server))
            time.sleep(POLL_S)

    def _ask(self, arguments: list[Argument]) -> tuple[int, bool, bool]:
        """Ask for the end; returns the last id, whether the end is written, and whether it is where it has to be."""
        with self._opening.missing_stream():
            end, sealed = self._server.script("finish", StreamKeys(self._address).sequence, arguments)
        safe = bool(sealed)
        if sealed and self._opening.keep == "all":
            safe = read_safe(self._server, self._address).position > end
        return int(end), bool(sealed), safe
