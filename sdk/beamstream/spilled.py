"""Payloads that have left memory for segments on disk: the same bytes, read where the broker's state says they are."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset import PayloadId
from .errors import CorruptDataError
from .frame import Payload
from .payloads import MemoryTier, PayloadTier
from .protocol import StreamKeys
from .protocol.client import Server

if TYPE_CHECKING:
    from .segments import SegmentStream

log = logging.getLogger(__name__)


class SpilledTier:
    """Reads payloads from a stream's segments; a broker writes them."""

    def __init__(self, server: Server, keys: StreamKeys) -> None:
        self._server = server
        self._keys = keys
        self._stream: SegmentStream | None = None
        self._complained = False
        self._lock = threading.Lock()

    def fetch(self, wanted: Sequence[PayloadId]) -> list[bytes | None]:
        """Fetch by what names them; None where it is not on a disk of this host."""
        with self._lock:
            stream = self._segments()
            if stream is None:
                return [None] * len(wanted)
            return [self._read(stream, payload_id) for payload_id in wanted]

    def _segments(self) -> SegmentStream | None:
        from .segments import SegmentError, SegmentStream  # and with them NumPy, only where there is something spilled

        if self._stream is None:
            host, folder = self._server.call("HMGET", self._keys.state, "spill_host", "spill_folder")
            if folder is None:
                return None
            try:
                self._stream = SegmentStream(Path(folder.decode()))
            except (SegmentError, CorruptDataError) as error:
                self._complain(f"on {host.decode()}, here {socket.gethostname()}: {error}")
        return self._stream

    def _read(self, stream: SegmentStream, payload_id: PayloadId) -> bytes | None:
        from .segments import SegmentError

        try:
            location = stream.locate(payload_id)
            if location is None and stream.refresh():
                location = stream.locate(payload_id)
            return None if location is None else stream.read(location, payload_id[1])
        except (SegmentError, CorruptDataError) as error:
            self._complain(str(error))
            return None

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            log.error("the segments of %s cannot be read: %s", self._keys.address, why)


class TieredPayloads:
    """Memory first, then disk: readers need not care where a payload is."""

    def __init__(self, server: Server, keys: StreamKeys) -> None:
        self._memory: PayloadTier = MemoryTier(server, keys)
        self._disk = SpilledTier(server, keys)

    def store(self, payloads: Sequence[tuple[PayloadId, Payload]]) -> list[Exception | None]:
        """Store payloads in memory."""
        return self._memory.store(payloads)

    def fetch(self, wanted: Sequence[PayloadId]) -> list[bytes | None]:
        """Fetch payloads, wherever they are."""
        found = self._memory.fetch(wanted)
        missing = [place for place, payload in enumerate(found) if payload is None]
        if missing:
            for place, payload in zip(missing, self._disk.fetch([wanted[place] for place in missing]), strict=True):
                found[place] = payload
        return found

    def delete(self, wanted: Sequence[PayloadId]) -> None:
        """Delete payloads from memory; what is on disk stays."""
        self._memory.delete(wanted)
