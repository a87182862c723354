"""Payloads that have left memory for segments on disk: the same bytes, wherever the broker's state says they are.

A reader that sees the files reads them; one that does not asks the fetch service of the broker that wrote them. What is
said to be gone by either is gone; what cannot be had now is an error that is retried, never taken for gone.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset import PayloadId, Stored
from .errors import CorruptDataError
from .frame import Payload
from .protocol import StreamKeys
from .protocol.client import Server

if TYPE_CHECKING:
    from .fetch.tier import FetchTier
    from .segments import SegmentStream

log = logging.getLogger(__name__)

MAX_ID = 2**53
"""No message id is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillNote:
    """What a stream's state says of its segments.

    Attributes
    ----------
    created_ns : int
        When the stream was made [ns since 1970].
    last_id : int
        Messages beyond this id are in no segment, as far as that is known.
    host, folder : str
        Where they lie.
    endpoint : str
        Who gives them to those who do not see the folder; empty where nobody does.
    """

    created_ns: int
    last_id: int
    host: str
    folder: Path
    endpoint: str

    @property
    def is_of_this_host(self) -> bool:
        """Whether the folder is one of this host, as far as names tell."""
        return self.host == socket.gethostname()


def read_spill_note(server: Server, keys: StreamKeys) -> SpillNote | None:
    """Read where a stream's segments are; None where it has none."""
    created_ns, entry, host, folder, endpoint = server.call(
        "HMGET", keys.state, "created_ns", "spilled_entry", "spill_host", "spill_folder", "spill_fetch"
    )
    if folder is None:
        return None
    return SpillNote(
        created_ns=int(created_ns or 0),
        last_id=MAX_ID if entry is None else int(entry.partition(b"-")[0]),
        host=(host or b"").decode("utf-8", "replace"),
        folder=Path(folder.decode("utf-8", "surrogateescape")),
        endpoint=(endpoint or b"").decode("utf-8", "replace"),
    )


class SpilledTier:
    """Reads payloads from a stream's segments; a broker writes them.

    Parameters
    ----------
    closed : threading.Event
        Ends every wait.
    """

    def __init__(self, server: Server, keys: StreamKeys, closed: threading.Event) -> None:
        self._server = server
        self._keys = keys
        self._closed = closed
        self._stream: SegmentStream | None = None
        self._service: FetchTier | None = None
        self._complained = False
        self._lock = threading.Lock()

    def fetch(self, wanted: Sequence[PayloadId]) -> list[Payload | None]:
        """Fetch by what names them; None where it is on no disk any more, or never was.

        Raises
        ------
        FetchUnavailableError
            If it is on the disk of a host that does not answer now.
        """
        with self._lock:
            note = read_spill_note(self._server, self._keys)
            if note is None:
                return [None] * len(wanted)
            stream = self._segments(note)
            found: list[Payload | None] = [None] * len(wanted)
            elsewhere = []
            for place, payload_id in enumerate(wanted):
                settled = stream is not None and self._read(stream, payload_id, found, place)
                if not settled and payload_id[0] <= note.last_id:
                    elsewhere.append(place)
            if elsewhere and (note.endpoint or stream is None):
                left = [Stored(wanted[place], None, 0) for place in elsewhere]
                asked = self._fetcher().fetch(note.endpoint, note.created_ns, left, note.host)
                for place, payload in zip(elsewhere, asked, strict=True):
                    found[place] = payload
            return found

    def _segments(self, note: SpillNote) -> SegmentStream | None:
        """Return the segments where this host sees them."""
        from .segments import SegmentError, SegmentStream  # and with them NumPy, only where there is something spilled

        if self._stream is None:
            try:
                stream = SegmentStream(note.folder)
                recorded = int(stream.recorded_state().get(b"created_ns", note.is_of_this_host and note.created_ns))
            except (SegmentError, CorruptDataError, ValueError) as error:
                self._complain(f"on {note.host}, here {socket.gethostname()}: {error}", note)
                return None
            if recorded != note.created_ns:
                stream.close()
                self._complain(f"{note.folder} holds another stream of this name here", note)
                return None
            self._stream = stream
        return self._stream

    def _read(self, stream: SegmentStream, payload_id: PayloadId, found: list[Payload | None], place: int) -> bool:
        """Read a payload; False where these files do not settle whether it is there."""
        from .segments import SegmentError

        try:
            location = stream.locate(payload_id)
            if location is None and stream.refresh():
                location = stream.locate(payload_id)
            if location is None:
                return stream.is_gone(payload_id[0])
            found[place] = stream.read(location, payload_id[1])
        except (SegmentError, CorruptDataError) as error:
            self._complain(str(error))
            return False
        return True

    def _fetcher(self) -> FetchTier:
        from .fetch.tier import FetchTier  # and with it ZeroMQ, only where files cannot be seen

        if self._service is None:
            self._service = FetchTier(self._keys, self._closed)
        return self._service

    def _complain(self, why: str, note: SpillNote | None = None) -> None:
        if not self._complained:
            self._complained = True
            level = logging.INFO if note is not None and note.endpoint else logging.ERROR
            log.log(level, "the segments of %s cannot be read here: %s", self._keys.address, why)

    def close(self) -> None:
        """Let files and connections go."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            if self._service is not None:
                self._service.close()
