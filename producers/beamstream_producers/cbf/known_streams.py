"""Which streams of a data source the broker has already: so that a run that was stopped goes on under the same ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beamstream.address import SourceAddress
from beamstream.errors import StreamNotFoundError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.retry import RetryCounts, with_retries
from beamstream.state import StreamState, read_metadata
from beamstream.stop import StopFlag
from beamstream.streams import stream_state

from .messages import Origin, read_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStream:
    """A stream that is there.

    Attributes
    ----------
    state : StreamState
        Where it stands.
    metadata : mapping
        Its stream metadata; empty where there are none.
    """

    state: StreamState
    metadata: Mapping[str, Any]

    @property
    def origin(self) -> Origin | None:
        """Where it is from; None where something else has made it."""
        return read_origin(self.metadata)


class KnownStreams:
    """Asks the broker.

    Parameters
    ----------
    to : SourceAddress
        The data source.
    broker : str or None
        The broker's URL.
    """

    def __init__(self, to: SourceAddress, broker: str | None) -> None:
        self._to = to
        self._server = Server(broker)
        self._counts = RetryCounts()

    def find(self, name: str, stop: StopFlag) -> KnownStream | None:
        """Return a stream; None where there is none of this name. A lost server is waited for until `stop` is set.

        Raises
        ------
        ServerError
            If the broker cannot be asked.
        EntryError
            If the stream's metadata cannot be read.
        """
        return with_retries(lambda _: self._ask(name), timeout_s=None, stop=stop, counts=self._counts)

    def _ask(self, name: str) -> KnownStream | None:
        address = self._to.stream(name)
        try:
            state = stream_state(self._server, address)
        except StreamNotFoundError:
            return None
        return KnownStream(state=state, metadata=read_metadata(self._server, StreamKeys(address)) or {})

    def close(self) -> None:
        """Close connections."""
        self._server.close()
