"""Where a producer puts payloads before it publishes them: into shared memory if it can be had, else on the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

from beamstream.dataset import PayloadId
from beamstream.errors import BufferFullError, SharedMemoryError, SharedMemoryUnavailableError, UsageError
from beamstream.frame import Payload
from beamstream.location import Location
from beamstream.payloads import MemoryTier
from beamstream.presence import read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

if TYPE_CHECKING:
    from beamstream.shared.writing import SegmentWriter

log = logging.getLogger(__name__)

Tier = Literal["auto", "memory", "shared"]
"""Where payloads go: ``shared``, into shared memory, or not at all; ``memory``, to the server; ``auto``, into shared
memory where the broker of this host has it."""

DEFAULT_TIER: Tier = "auto"

LOOK_AGAIN_S = 2.0
"""How long shared memory that could not be had is not asked for again [s]."""


def check_tier(text: str) -> Tier:
    """Return a tier if it is one, else raise `UsageError`."""
    if text not in get_args(Tier):
        raise UsageError(f"tier {text!r} is none of {', '.join(get_args(Tier))}")
    return cast("Tier", text)


class Storing:
    """Stores the payloads of one stream; not thread-safe.

    Parameters
    ----------
    server : Server
        The broker's server.
    keys : StreamKeys
        The stream's.
    tier : str
        Where payloads are to go.

    Raises
    ------
    SharedMemoryUnavailableError
        If they are to go into shared memory, and there is none to be had from here.
    """

    def __init__(self, server: Server, keys: StreamKeys, tier: Tier) -> None:
        self._server = server
        self._keys = keys
        self._memory = MemoryTier(server, keys)
        self._tier = tier
        self._writer: SegmentWriter | None = None
        self._look_at = 0.0
        self._locations: dict[PayloadId, Location] = {}
        if tier == "shared":
            self._shared()

    @property
    def is_shared(self) -> bool:
        """Whether payloads go into shared memory now."""
        return self._writer is not None

    def store(self, payloads: Sequence[tuple[PayloadId, Payload]], life: str) -> None:
        """Store payloads that were not stored yet since the last `settled`.

        Parameters
        ----------
        life : str
            The life of the stream that they belong to.

        Raises
        ------
        ServerError
            If one cannot be stored; calling again is safe.
        """
        left = [one for one in payloads if one[0] not in self._locations]
        if left and self._tier != "memory":
            try:
                left = self._share(left, life)
            except SharedMemoryUnavailableError as error:
                self._let_go(error)
                if self._tier == "shared":
                    raise
                left = [*payloads]  # what was put there before is gone with it
        for answer in self._memory.store(left) if left else ():
            if answer is not None:
                raise answer

    def _share(self, payloads: Sequence[tuple[PayloadId, Payload]], life: str) -> list[tuple[PayloadId, Payload]]:
        """Put payloads into shared memory; returns those that have to go to the server."""
        writer = self._shared()
        if writer is None:
            return [*payloads]
        from beamstream.shared.writing import SegmentsBusyError  # and with it NumPy

        writer.check()
        left = []
        for payload_id, payload in payloads:
            try:
                self._locations[payload_id] = writer.place(payload, life)
            except SegmentsBusyError as error:
                raise BufferFullError(self._server.shown_url, 0.0, str(error)) from error
            except SharedMemoryUnavailableError:
                raise
            except SharedMemoryError as error:
                if self._tier == "shared":
                    raise
                log.debug("%s: %s", self._keys.address, error)
                left.append((payload_id, payload))
        return left

    def _shared(self) -> SegmentWriter | None:
        """Return what puts payloads into shared memory; None where that cannot be had and need not be."""
        if self._writer is None and time.monotonic() >= self._look_at:
            from beamstream.shared.writing import SegmentWriter

            self._look_at = time.monotonic() + LOOK_AGAIN_S
            presence = read_presence(self._server)
            try:
                if presence is None or not presence.shared:
                    raise SharedMemoryUnavailableError(self._server.shown_url, "no broker there has any")
                self._writer = SegmentWriter(presence.shared, self._keys.address)
            except SharedMemoryUnavailableError as error:
                if self._tier == "shared":
                    self._look_at = 0.0
                    raise
                log.debug("%s goes through the server: %s", self._keys.address, error)
        return self._writer

    def _let_go(self, error: SharedMemoryError) -> None:
        if self._writer is not None:
            log.warning("%s: %s", self._keys.address, error)
        self.forget()
        self.close()

    def location(self, payload_id: PayloadId) -> Location | None:
        """Return where in shared memory a payload was put; None where it was not."""
        return self._locations.get(payload_id)

    def settled(self, held_id: int, useless: Sequence[PayloadId]) -> None:
        """Take note that the server has answered for all that was stored.

        Parameters
        ----------
        held_id : int
            The highest id among the messages that wait for others; 0 where none does.
        useless : sequence of PayloadId
            Those that serve nobody.

        Raises
        ------
        ServerError
            If they cannot be deleted.
        """
        keyed = [one for one in useless if one not in self._locations]
        self.forget()
        if self._writer is not None:
            self._writer.settled(held_id)
        if keyed:
            self._memory.delete(keyed)

    def forget(self) -> None:
        """Have what was stored stored again."""
        self._locations.clear()

    def close(self) -> None:
        """Give segments back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
