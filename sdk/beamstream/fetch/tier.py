"""The fetch tier: payloads from disk or shared memory of the broker's host, for readers that see neither.

What the service says is not there is gone; what cannot be had now is an error, so that nobody takes it for gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from beamstream.dataset import Stored
from beamstream.errors import FetchProtocolError, FetchUnavailableError
from beamstream.frame import Payload
from beamstream.protocol import StreamKeys

from .connection import FetchConnection
from .messages import MAX_ITEMS, ItemStatus, Reply, ReplyStatus, parse_endpoint

log = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 4
"""Requests on their way at the same time: the disk reads for the next one while the last is being sent."""

BUSY_TIMEOUT_S = 5.0
"""How long a service that is busy is asked again before that is an error [s], retried as every other one."""

BUSY_PAUSE_S = 0.05
"""Pause before a busy service is asked again [s]."""

NOWHERE = "no endpoint"


class FetchTier:
    """Payloads of one stream from a fetch service; not thread-safe.

    Parameters
    ----------
    keys : StreamKeys
        The stream's.
    closed : threading.Event
        Ends every wait.
    """

    def __init__(self, keys: StreamKeys, closed: threading.Event) -> None:
        self._keys = keys
        self._closed = closed
        self._connection: FetchConnection | None = None
        self._known = ""

    def fetch(self, endpoint: str, created_ns: int, wanted: Sequence[Stored], host: str = "") -> list[Payload | None]:
        """Fetch payloads; None where the service says that it is not there.

        Parameters
        ----------
        endpoint : str
            As the stream's state names it; empty where it names none.
        created_ns : int
            When the stream was made, as its state says [ns since 1970].
        host : str
            Where the broker runs, for messages; empty where nobody says.

        Raises
        ------
        FetchUnavailableError
            If it cannot be had now; nothing is lost, and asking again is safe.
        FetchRefusedError, FetchProtocolError
            If the two sides do not understand each other.
        """
        connection = self._connected(endpoint, host)
        try:
            return self._fetch(connection, created_ns, wanted)
        except BaseException:
            self.close()
            raise

    def _connected(self, endpoint: str, host: str) -> FetchConnection:
        if self._connection is not None and endpoint == self._known:
            return self._connection
        self.close()
        if not endpoint:
            raise FetchUnavailableError(NOWHERE, f"nobody serves the files of {self._keys.address}")
        address, ticket = parse_endpoint(endpoint)
        self._connection = FetchConnection(address, ticket, self._closed, host)
        self._known = endpoint
        log.info("%s: payloads come from the fetch service at %s", self._keys.address, address)
        return self._connection

    def _fetch(self, connection: FetchConnection, created_ns: int, wanted: Sequence[Stored]) -> list[Payload | None]:
        found: list[Payload | None] = [None] * len(wanted)
        open_places = list(range(len(wanted)))
        moved_at = time.monotonic()
        while open_places:
            lists = _spread(open_places)
            replies = connection.ask(
                self._keys.address, created_ns, [[wanted[place] for place in places] for places in lists]
            )
            left = [
                place
                for places, reply in zip(lists, replies, strict=True)
                for place in self._take(reply, places, found, connection)
            ]
            if len(left) < len(open_places):
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at >= BUSY_TIMEOUT_S or self._closed.wait(BUSY_PAUSE_S):
                raise FetchUnavailableError(connection.endpoint, "the service is busy")
            open_places = left
        return found

    def _take(
        self, reply: Reply, places: Sequence[int], found: list[Payload | None], connection: FetchConnection
    ) -> Sequence[int]:
        """Put what came in its places; returns those that have to be asked for again."""
        if reply.status is ReplyStatus.BUSY:
            return places
        if reply.status is ReplyStatus.UNKNOWN_STREAM:
            log.error("%s: the fetch service has no such stream: %s", self._keys.address, reply.reason)
            return ()
        if len(reply.items) != len(places):
            raise FetchProtocolError(f"a reply of {len(reply.items)} items to a request of {len(places)}")
        again = []
        for place, (status, payload) in zip(places, reply.items, strict=True):
            if status is ItemStatus.FAILED:
                raise FetchUnavailableError(connection.endpoint, reply.reason or "its host cannot read it")
            if status is ItemStatus.DAMAGED:
                log.error("%s: %s", self._keys.address, reply.reason or "a payload of the broker is damaged")
            if status is ItemStatus.LATER:
                again.append(place)
            found[place] = payload
        return again

    def close(self) -> None:
        """Let the connection go; fetching makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _spread(places: Sequence[int]) -> list[Sequence[int]]:
    """Spread what is wanted over requests that are on their way at the same time.

    Examples
    --------
    >>> _spread([1, 2, 3, 4, 5, 6])
    [[1, 2], [3, 4], [5, 6]]
    """
    n = min(MAX_ITEMS, -(-len(places) // REQUESTS_AT_ONCE))
    return [places[begin : begin + n] for begin in range(0, len(places), n)]
