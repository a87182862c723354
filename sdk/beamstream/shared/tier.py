"""Payloads from shared memory, for one consumer: views where this process sees the segments."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamstream.dataset import Stored
from beamstream.errors import SharedMemoryUnavailableError
from beamstream.frame import Payload
from beamstream.location import Location
from beamstream.presence import read_presence
from beamstream.protocol.client import Server

if TYPE_CHECKING:
    from .reading import SegmentReader

log = logging.getLogger(__name__)


class SharedTier:
    """Reads payloads from the segments of the broker that looks after a server.

    Parameters
    ----------
    server : Server
        Where the broker says how it is reached.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._endpoint = ""
        self._reader: SegmentReader | None = None
        self._lock = threading.Lock()

    def fetch(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        """Fetch payloads that were put into shared memory; None where one is there no more.

        Raises
        ------
        SharedMemoryUnavailableError
            If the broker is there, and does not answer.
        """
        places = [(one.location, one.n_bytes) for one in wanted if one.location is not None]
        with self._lock:
            try:
                return self._read(places)
            except SharedMemoryUnavailableError:
                self._let_go()  # the broker may be another one by now
                return self._read(places)

    def _read(self, places: Sequence[tuple[Location, int]]) -> list[Payload | None]:
        if self._reader is None:
            from .reading import open_reader  # and with it NumPy, only where there is something to be read

            presence = read_presence(self._server)
            if presence is None:  # it may be busy, or stopped: what cannot be had now is never taken for gone
                raise SharedMemoryUnavailableError(self._server.shown_url, "its broker has not been seen for a while")
            if not presence.shared:
                return [None] * len(places)  # whoever kept them is gone, and they with it
            self._reader = open_reader(presence.shared)
            self._endpoint = presence.shared
        return [*self._reader.read(places)]

    def _let_go(self) -> None:
        if self._reader is not None:
            from .reading import close_reader

            self._reader = None
            close_reader(self._endpoint)

    def close(self) -> None:
        """Let the segments go; views that somebody still has stay good."""
        with self._lock:
            self._let_go()
