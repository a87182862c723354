"""Payloads from shared memory, for one consumer: views where this process sees the segments, else by the fetch service.

Which way it is turns out where the broker's socket is tried: where nobody of this host listens there, the broker is on
another one, or has ended, which its fetch service knows. What was found out holds until that way fails.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from beamstream.dataset import Stored
from beamstream.errors import FetchUnavailableError, SharedMemoryElsewhereError, SharedMemoryUnavailableError
from beamstream.frame import Payload
from beamstream.presence import Presence, read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

if TYPE_CHECKING:
    from beamstream.fetch.tier import FetchTier

    from .reading import SharedReader

log = logging.getLogger(__name__)


class _Way(Protocol):
    def read(self, wanted: Sequence[Stored]) -> Sequence[Payload | None]: ...

    def close(self) -> None: ...


class SharedTier:
    """Reads payloads from the segments of the broker that looks after a server; safe to share between threads.

    Parameters
    ----------
    server : Server
        Where the broker says how it is reached.
    keys : StreamKeys
        The stream's.
    closed : threading.Event
        Ends every wait.
    """

    def __init__(self, server: Server, keys: StreamKeys, closed: threading.Event) -> None:
        self._server = server
        self._keys = keys
        self._closed = closed
        self._way: _Way | None = None
        self._elsewhere = ""
        self._lock = threading.Lock()

    def fetch(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        """Fetch payloads that were put into shared memory; None where one is there no more.

        Raises
        ------
        SharedMemoryUnavailableError, FetchUnavailableError
            If the broker is there, and cannot be reached, or does not answer.
        """
        with self._lock:
            try:
                return self._read(wanted)
            except FetchUnavailableError:
                self._let_go()  # whoever asks again finds out anew who is there
                raise
            except SharedMemoryUnavailableError:
                self._let_go()  # the broker may be another one by now
                return self._read(wanted)

    def _read(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        if self._way is None:
            presence = read_presence(self._server)
            if presence is None:  # it may be busy, or stopped: what cannot be had now is never taken for gone
                raise SharedMemoryUnavailableError(self._server.shown_url, "its broker has not been seen for a while")
            if not presence.shared:
                return [None] * len(wanted)  # whoever kept them is gone, and they with it
            self._way = self._find_way(presence)
        return [*self._way.read(wanted)]

    def _find_way(self, presence: Presence) -> _Way:
        if presence.shared != self._elsewhere:
            try:
                return _Here(presence.shared)
            except SharedMemoryElsewhereError as error:
                if not presence.fetch:
                    reason = f"{error.reason}; the broker on {presence.host} has it, and no fetch service"
                    raise SharedMemoryElsewhereError(error.url, reason) from error
                log.info("%s: %s", self._keys.address, error)
                self._elsewhere = presence.shared
        return _There(self._server, self._keys, presence, self._closed)

    def _let_go(self) -> None:
        if self._way is not None:
            self._way.close()
            self._way = None

    def close(self) -> None:
        """Let the segments go; views that somebody still has stay good."""
        with self._lock:
            self._let_go()


class _Here:
    """The segments themselves."""

    def __init__(self, endpoint: str) -> None:
        from .reading import SharedReader  # and with it NumPy, only where there is something to be read

        self._reader: SharedReader = SharedReader.open(endpoint)

    def read(self, wanted: Sequence[Stored]) -> Sequence[Payload | None]:
        return self._reader.read([(one.location, one.n_bytes) for one in wanted if one.location is not None])

    def close(self) -> None:
        self._reader.release()


class _There:
    """The fetch service of the broker that has the segments; it looks on its disk, too."""

    def __init__(self, server: Server, keys: StreamKeys, presence: Presence, closed: threading.Event) -> None:
        from beamstream.fetch.tier import FetchTier  # and with it ZeroMQ, only where segments cannot be seen

        self._presence = presence
        self._created_ns = int(server.call("HGET", keys.state, "created_ns") or 0)
        self._tier: FetchTier = FetchTier(keys, closed)

    def read(self, wanted: Sequence[Stored]) -> Sequence[Payload | None]:
        return self._tier.fetch(self._presence.fetch, self._created_ns, wanted, self._presence.host)

    def close(self) -> None:
        self._tier.close()
