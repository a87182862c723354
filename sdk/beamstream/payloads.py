"""The memory tier: payloads as strings on the server.

A payload is stored before its index entry is published. Small ones lie in the entry itself and need no tier; for shared
memory see `beamstream.shared`, for what has gone to disk `beamstream.spilled`, for all of them `beamstream.tiers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .dataset import PayloadId, Stored
from .frame import Payload
from .protocol import StreamKeys
from .protocol.client import Server
from .protocol.storing import PayloadStore

INLINE_BYTES = 8192
"""Payloads up to this size lie in the index entry [bytes]: a 2048-channel spectrum of uint32 just fits, and the index
stays small against the memory tier."""

FETCH_BYTES = 16 << 20
"""Payload bytes asked for in one round trip [bytes]: hides the round trip, small against any prefetch limit."""


class PayloadSource(Protocol):
    """Where readers get payloads from, wherever they lie."""

    def fetch(self, wanted: Sequence[Stored]) -> Sequence[Payload | None]:
        """Fetch payloads; None where one is gone."""
        ...


class MemoryTier:
    """Payloads as Redis strings; a cluster spreads them over its nodes."""

    def __init__(self, server: Server, keys: StreamKeys) -> None:
        self._server = server
        self._keys = keys
        self._store = PayloadStore(server)

    def store(self, payloads: Sequence[tuple[PayloadId, Payload]]) -> list[Exception | None]:
        """Store payloads in one round trip; of what is stored again after a failure, what was not taken."""
        return self._store.store([(self._keys.payload(*payload_id), payload) for payload_id, payload in payloads])

    def fetch(self, wanted: Sequence[PayloadId]) -> Sequence[Payload | None]:
        """Fetch payloads in one round trip; large ones are views of memory that is used again when they are gone."""
        return self._server.strings([self._keys.payload(*one) for one in wanted])

    def delete(self, wanted: Sequence[PayloadId]) -> None:
        """Delete payloads; the server gives their memory back in the background."""
        if wanted:
            self._server.call("UNLINK", *(self._keys.payload(*one) for one in wanted))
