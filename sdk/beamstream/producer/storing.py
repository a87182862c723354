"""Where a producer puts payloads before it publishes them: into shared memory if it can be had, else on the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

import xxhash

from beamstream.errors import BufferFullError, SharedMemoryError, SharedMemoryUnavailableError, UsageError
from beamstream.location import Location
from beamstream.payloads import MemoryTier
from beamstream.presence import read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .queue import Outgoing

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
    keeps_all : bool
        Whether nothing of the stream may be lost. Then nothing goes into the shared memory of a broker that its server
        survives: entries would stay that lead nowhere, and be taken for what is safe.

    Raises
    ------
    SharedMemoryUnavailableError
        If they are to go into shared memory, and there is none to be had from here.
    """

    def __init__(self, server: Server, keys: StreamKeys, tier: Tier, *, keeps_all: bool = False) -> None:
        self._server = server
        self._keys = keys
        self._memory = MemoryTier(server, keys)
        self._tier = tier
        self._keeps_all = keeps_all
        self._writer: SegmentWriter | None = None
        self._look_at = self._elsewhere_until = 0.0
        self._locations: dict[Outgoing, Location] = {}
        if tier == "shared":
            self._shared()

    @property
    def is_shared(self) -> bool:
        """Whether payloads go into shared memory now."""
        return self._writer is not None

    def store(self, messages: Sequence[Outgoing], life: str) -> int:
        """Store the payloads of messages, as far as they were not put into shared memory and are not `settled` yet.

        Messages that have no checksum yet are sealed.

        Parameters
        ----------
        life : str
            The life of the stream that they belong to.

        Returns
        -------
        int
            How many are stored, from the first on: where shared memory has no room for more, the others have to wait
            until these are published, and so can leave it.

        Raises
        ------
        ServerError
            If one cannot be stored; calling again is safe.
        """
        if self._is_left_alone:
            self._let_go("the broker that had it is gone")
        n_stored, left = len(messages), [*messages]
        if self._tier != "memory":
            try:
                n_stored, left = self._share(messages, life)
            except SharedMemoryUnavailableError as error:
                self._let_go(error)
                if self._tier == "shared":
                    raise
        for message in left:
            if message.checksum is None:
                message.seal(xxhash.xxh3_64_intdigest(message.payload))
        for answer in self._memory.store([(one.payload_id, one.payload) for one in left]) if left else ():
            if answer is not None:
                raise answer
        return n_stored

    def _share(self, messages: Sequence[Outgoing], life: str) -> tuple[int, list[Outgoing]]:
        """Put payloads into shared memory; returns how many have a place, and which of these on the server."""
        from beamstream.shared.writing import SegmentsBusyError  # and with it NumPy

        left = []
        for n, message in enumerate(messages):
            if message in self._locations:
                continue
            writer = self._shared()
            if writer is None:
                left.append(message)
                continue
            try:
                self._locations[message] = _place(writer, message, life)
            except SegmentsBusyError as error:
                if error.is_ours or self._tier == "shared":
                    if n:
                        return n, left
                    raise BufferFullError(self._server.shown_url, 0.0, str(error)) from error
                self._elsewhere_until = time.monotonic() + LOOK_AGAIN_S
                left.append(message)
            except SharedMemoryUnavailableError:
                raise
            except SharedMemoryError as error:
                if self._tier == "shared":
                    raise
                log.debug("%s: %s", self._keys.address, error)
                left.append(message)
        return len(messages), left

    def _shared(self) -> SegmentWriter | None:
        """Return what puts payloads into shared memory; None where that cannot be had and need not be."""
        if time.monotonic() < self._elsewhere_until:
            return None
        if self._writer is None and time.monotonic() >= self._look_at:
            from beamstream.shared.writing import SegmentWriter

            self._look_at = time.monotonic() + LOOK_AGAIN_S
            presence = read_presence(self._server)
            try:
                if presence is None or not presence.shared:
                    raise SharedMemoryUnavailableError(self._server.shown_url, "no broker there has any")
                if self._keeps_all and not presence.owns_server:
                    why = "the stream keeps all, and the broker may end without its server: what it has would be lost"
                    raise SharedMemoryUnavailableError(self._server.shown_url, why)
                self._writer = SegmentWriter(presence.shared, self._keys.address)
            except SharedMemoryUnavailableError as error:
                if self._tier == "shared":
                    self._look_at = 0.0
                    raise
                log.debug("%s goes through the server: %s", self._keys.address, error)
        return self._writer

    @property
    def is_lost(self) -> bool:
        """Whether something was put into shared memory, is not settled, and is gone with the broker that had it."""
        return bool(self._locations) and self._is_left_alone

    @property
    def _is_left_alone(self) -> bool:
        return self._writer is not None and not self._writer.is_there

    def _let_go(self, why: object) -> None:
        """Have everything stored again that the server has not answered for, wherever that can be."""
        if self._writer is not None:
            log.warning("%s no longer goes into the shared memory that it went into: %s", self._keys.address, why)
        self.close()
        self.forget()
        self._look_at = 0.0

    def location(self, message: Outgoing) -> Location | None:
        """Return where in shared memory a payload was put; None where it was not."""
        return self._locations.get(message)

    def settled(self, messages: Sequence[Outgoing], held_id: int, useless: Sequence[Outgoing]) -> None:
        """Take note that the server has answered for messages that were stored.

        Parameters
        ----------
        held_id : int
            The highest id among those of them that wait for others; 0 where none does.
        useless : sequence of Outgoing
            Those of them whose payloads serve nobody.

        Raises
        ------
        ServerError
            If they cannot be deleted.
        """
        keyed = [one.payload_id for one in useless if one not in self._locations]
        located = [self._locations.pop(one) for one in messages if one in self._locations]
        if self._writer is not None:
            self._writer.settled(located, held_id)
        if keyed:
            self._memory.delete(keyed)

    def forget(self) -> None:
        """Have what was stored stored again."""
        self._locations.clear()
        if self._writer is not None:
            self._writer.forget()

    def close(self) -> None:
        """Give segments back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _place(writer: SegmentWriter, message: Outgoing, life: str) -> Location:
    """Put a payload into shared memory; its checksum, where it has none yet, is found on the way."""
    if message.checksum is not None:
        return writer.place(message.payload, life)
    hasher = xxhash.xxh3_64()
    location = writer.place(message.payload, life, hasher.update)
    message.seal(hasher.intdigest())
    return location
