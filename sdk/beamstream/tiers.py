"""All tiers together: readers need not care where a payload is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

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
        found: list[Payload | None] = [None] * len(wanted)
        keyed = [place for place, one in enumerate(wanted) if one.location is None]
        located = [place for place, one in enumerate(wanted) if one.location is not None]
        unseen: SharedMemoryUnavailableError | None = None
        _fill(found, wanted, keyed, lambda some: self._memory.fetch([one.payload_id for one in some]))
        try:
            _fill(found, wanted, located, self._shared.fetch)
        except SharedMemoryUnavailableError as error:
            unseen = error
        missing = [place for place, payload in enumerate(found) if payload is None]
        _fill(found, wanted, missing, lambda some: self._disk.fetch([one.payload_id for one in some]))
        if unseen is not None and any(found[place] is None for place in located):
            raise unseen  # not on disk, or not yet
        return found

    def interrupt(self) -> None:
        """End every wait, from any thread; nothing can be fetched any more."""
        self._closed.set()

    def close(self) -> None:
        """Let files, connections and pages go; views of payloads stay good."""
        self.interrupt()
        self._disk.close()
        self._shared.close()


def _fill(
    found: list[Payload | None],
    wanted: Sequence[Stored],
    places: Sequence[int],
    fetch: Callable[[Sequence[Stored]], Sequence[Payload | None]],
) -> None:
    if places:
        for place, payload in zip(places, fetch([wanted[place] for place in places]), strict=True):
            found[place] = payload
