"""One amount of memory for the server and for the segments of shared memory: what one takes the other has not.

The server always has a part for its index, and more where payloads lie on it; the segments may take the rest. Each time
they grow or shrink, the server's own limit (``maxmemory``) is moved, before they grow and after they shrank.
"""

from __future__ import annotations

import logging

from beamstream.errors import ServerError
from beamstream.protocol.client import Server
from beamstream_broker.memory import HIGH_WATER, LOW_WATER
from beamstream_broker.settings import RESERVE_SHARE

from .pool import Pool, State

log = logging.getLogger(__name__)

SERVER_SHARE = 8
"""The server's part at least: an eighth, for some hundred bytes of index for each message."""

SPARE_SHARE, SPARE_BYTES = 4, 4 << 20
"""How much more than it uses the server has at least: a quarter of that, and some MiB [bytes]."""


class Budget:
    """Shares memory out.

    Parameters
    ----------
    server : Server
        The server whose limit is moved.
    memory_bytes : int or None
        How much both may take [bytes]; None: the server is not ours, and its limit is left alone.
    shared_bytes : int or None
        How much the segments may take at most [bytes]; None: what the server leaves of `memory_bytes`.
    """

    def __init__(self, server: Server, memory_bytes: int | None, shared_bytes: int | None) -> None:
        self._server = server
        self._memory_bytes = memory_bytes
        self._shared_bytes = shared_bytes
        self._n_waits = 0
        self.pool = Pool(self._limit_bytes(0), self._move_limit)

    def _limit_bytes(self, used_bytes: int) -> int:
        """Return how much the segments may take, with so much used on the server [bytes]."""
        if self._memory_bytes is None:
            return self._shared_bytes or 0
        needed_bytes = used_bytes + used_bytes // SPARE_SHARE + SPARE_BYTES
        rest_bytes = self._memory_bytes - max(self._memory_bytes // SERVER_SHARE, needed_bytes)
        return max(0, rest_bytes if self._shared_bytes is None else min(rest_bytes, self._shared_bytes))

    def look(self, used_bytes: int, limit_bytes: int) -> None:
        """Share the memory out anew.

        Parameters
        ----------
        used_bytes, limit_bytes : int
            What the server uses, and its limit, as it says [bytes]; a server that was started anew has its whole one.
        """
        self.pool.resize(self._limit_bytes(used_bytes))
        if self._memory_bytes is not None and limit_bytes != self._write_limit_bytes(self.pool.size_bytes):
            self._move_limit(self.pool.size_bytes)

    @property
    def is_short(self) -> bool:
        """Whether more than the high-water mark is taken, or a producer had to wait since `excess_bytes` was asked."""
        return self.pool.counts.n_waits > self._n_waits or self._taken_bytes() > HIGH_WATER * self.pool.limit_bytes

    def _taken_bytes(self) -> int:
        return self.pool.bytes_of(State.LENT, State.FULL, State.LEFT)

    def excess_bytes(self) -> int:
        """Return how much has to leave the segments [bytes]: 0 while less than the high-water mark is taken.

        Where a producer had to wait since the last time, a part goes in any case: segments may be too large to come
        near the mark.
        """
        is_short, taken_bytes = self.is_short, self._taken_bytes()
        self._n_waits = self.pool.counts.n_waits
        if is_short:
            return max(0, taken_bytes - int(LOW_WATER * min(self.pool.limit_bytes, taken_bytes)))
        return 0

    def _write_limit_bytes(self, shared_bytes: int) -> int:
        """Return what the server's limit is beside so much shared memory [bytes]."""
        if self._memory_bytes is None:
            raise TypeError("the server's limit is not ours")
        return self._memory_bytes - self._memory_bytes // RESERVE_SHARE - shared_bytes

    def _move_limit(self, shared_bytes: int) -> None:
        if self._memory_bytes is None:
            return
        try:
            self._server.call("CONFIG", "SET", "maxmemory", self._write_limit_bytes(shared_bytes))
        except ServerError as error:
            log.warning("the server's memory limit could not be moved, the next look does it: %s", error)
