"""All tiers together: readers need not care where a payload is."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .dataset import Stored
from .errors import SharedMemoryUnavailableError
from .frame import Payload
from .payloads import MemoryTier
from .protocol import StreamKeys
from .protocol.client import Server
from .shared import SharedTier
from .spilled import SpilledTier


class TieredPayloads:
    """Shared memory or the server's, as the entry says; then disk.

    Parameters
    ----------
    server : Server
        The broker's server.
    keys : StreamKeys
        The stream's.
    """

    def __init__(self, server: Server, keys: StreamKeys) -> None:
        self._closed = threading.Event()
        self._memory = MemoryTier(server, keys)
        self._shared = SharedTier(server, keys, self._closed)
        self._disk = SpilledTier(server, keys, self._closed)

    def fetch(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        """Fetch payloads, wherever they are; None where a payload is gone.

        Raises
        ------
        FetchUnavailableError, SharedMemoryUnavailableError
            If one is on the disk or in the memory of a host that does not answer now.
        """
        located = [place for place, one in enumerate(wanted) if one.location is not None]
        unseen: SharedMemoryUnavailableError | None = None
        if len(located) == len(wanted):  # as nearly always, one way or the other
            found, unseen = self._fetch_shared(wanted)
        elif not located:
            found = self._fetch_keyed(wanted)
        else:
            found = [None] * len(wanted)
            keyed = [place for place, one in enumerate(wanted) if one.location is None]
            _fill(found, keyed, self._fetch_keyed([wanted[place] for place in keyed]))
            there, unseen = self._fetch_shared([wanted[place] for place in located])
            _fill(found, located, there)
        missing = [place for place, payload in enumerate(found) if payload is None]
        if missing:
            _fill(found, missing, self._disk.fetch([wanted[place].payload_id for place in missing]))
        if unseen is not None and any(found[place] is None for place in located):
            raise unseen  # not on disk, or not yet
        return found

    def _fetch_keyed(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        return [*self._memory.fetch([one.payload_id for one in wanted])]

    def _fetch_shared(
        self, wanted: Sequence[Stored]
    ) -> tuple[list[Payload | None], SharedMemoryUnavailableError | None]:
        """Fetch what is in shared memory; with nothing of it, why it cannot be had now."""
        try:
            return self._shared.fetch(wanted), None
        except SharedMemoryUnavailableError as error:
            return [None] * len(wanted), error

    def interrupt(self) -> None:
        """End every wait, from any thread; nothing can be fetched any more."""
        self._closed.set()

    def close(self) -> None:
        """Let files, connections and pages go; views of payloads stay good."""
        self.interrupt()
        self._disk.close()
        self._shared.close()


def _fill(found: list[Payload | None], places: Sequence[int], payloads: Sequence[Payload | None]) -> None:
    for place, payload in zip(places, payloads, strict=True):
        found[place] = payload
