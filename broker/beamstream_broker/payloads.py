"""Payloads that are still in memory, as the broker reads them for the disk: in its own segments, or on the server."""

from __future__ import annotations

from collections.abc import Sequence

from beamstream.dataset import Stored
from beamstream.frame import Payload
from beamstream.payloads import MemoryTier
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .sharing import Pool


class BufferedPayloads:
    """Payloads of one stream.

    Parameters
    ----------
    server : Server
        The server.
    keys : StreamKeys
        The stream's.
    pool : Pool or None
        The segments, where the broker keeps any.
    """

    def __init__(self, server: Server, keys: StreamKeys, pool: Pool | None) -> None:
        self._memory = MemoryTier(server, keys)
        self._pool = pool

    def fetch(self, wanted: Sequence[Stored]) -> list[Payload | None]:
        """Fetch payloads; None where one has left memory. Those in shared memory are not copied.

        Raises
        ------
        ServerError
            If they cannot be had now.
        """
        keyed = iter(self._memory.fetch([one.payload_id for one in wanted if one.location is None]))
        places = [(one.location, one.n_bytes) for one in wanted if one.location is not None]
        shared = iter([None] * len(places) if self._pool is None else self._pool.read(places))
        return [next(keyed) if one.location is None else next(shared) for one in wanted]
