"""What other connectors have said of a series: found on the broker, where every one of them writes.

A detector with several clients gives the header of a series to one of them and its end to one of them. Whoever had the
header made the series' streams; their metadata say which series it is. So nothing more than the broker is needed for
connectors to work together, or for one that was killed to go on in the middle of a series.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from beamstream.address import Address, SourceAddress
from beamstream.errors import BeamstreamError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_metadata, read_state
from beamstream.streams import newest_streams
from beamstream_producers.formats.simplon import Start

from .waiting import SeriesKey

log = logging.getLogger(__name__)

T = TypeVar("T")

LOST_S = 1.0
"""How long a broker that did not answer is not asked again [s]."""

N_NEWEST = 32
"""How many streams are looked at: the newest series has one for each channel."""


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """A series that a connector has opened: what its header said, and the stream's name of each channel."""

    start: Start
    streams: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a stream is: when it was made, and what its metadata say of its series."""

    created_ns: int
    simplon: Mapping[str, Any]


class SeriesDirectory:
    """Looks for series in the streams of one data source.

    Parameters
    ----------
    source : SourceAddress
        The data source that the connectors write.
    broker : str, optional
        The broker's URL.
    """

    def __init__(self, source: SourceAddress, broker: str | None = None) -> None:
        self._source = source
        self._server = Server(broker)
        self._known: dict[str, _Known] = {}
        self._ask_at_s = 0.0

    def find(self, wanted: SeriesKey) -> KnownSeries | None:
        """Return the newest series of the data source if it is this one, and open; a lost broker has none."""
        return self._asked(lambda: self._find(wanted))

    def states(self, streams: Iterable[str]) -> list[StreamState]:
        """Return where streams stand, by all connectors; those are left out of which nobody knows."""
        found = [self._asked(partial(self._state, stream)) for stream in streams]
        return [state for state in found if state is not None]

    def have_ended(self, streams: Sequence[str]) -> bool:
        """Whether other connectors have ended all of these streams; False where there are none."""
        states = self.states(streams)
        return 0 < len(streams) == len(states) and all(state.finished for state in states)

    def note_dropped(self, streams: Iterable[str], n_dropped: int) -> bool:
        """Keep with streams how many of their images the detector says it dropped; whether that could be done."""
        return self._asked(lambda: self._note_dropped(streams, n_dropped)) is not None

    def _note_dropped(self, streams: Iterable[str], n_dropped: int) -> bool:
        for stream in streams:
            if self._state(stream) is not None:
                keys = StreamKeys(self._source.stream(stream))
                self._server.script("note", [keys.state], ["set", "detector_dropped", n_dropped])
        return True

    def _asked(self, question: Callable[[], T | None]) -> T | None:
        """Ask the broker; one that is lost has no answer, and is left alone for a second: asking it may take three."""
        if time.monotonic() < self._ask_at_s:
            return None
        try:
            return question()
        except BeamstreamError as error:
            log.debug("other connectors cannot be heard of: %s", error)
            self._ask_at_s = time.monotonic() + LOST_S
            return None

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _state(self, stream: str) -> StreamState | None:
        return read_state(self._server, StreamKeys(self._source.stream(stream)))

    def _find(self, wanted: SeriesKey) -> KnownSeries | None:
        series_id, unique_id = wanted
        streams: dict[str, str] = {}
        start: Start | None = None
        for address in newest_streams(self._server, self._source, N_NEWEST):
            state = self._state(address.name)
            simplon = None if state is None else self._simplon(address, state)
            if state is None or simplon is None:
                break  # what it is has not been said yet
            if not simplon:
                continue  # not of a detector like this
            is_wanted = (simplon.get("series_id"), simplon.get("series_unique_id")) == (series_id, unique_id)
            if not is_wanted or state.finished:
                break
            start = start or _start(simplon, state)
            streams.setdefault(str(simplon.get("channel")), address.name)
        if start is None or set(streams) != set(start.channels):
            return None
        return KnownSeries(start, {channel: streams[channel] for channel in start.channels})

    def _simplon(self, address: Address, state: StreamState) -> Mapping[str, Any] | None:
        """Return what a stream's metadata say of its series, None while there are none; read once: masks are large."""
        known = self._known.get(address.name)
        if known is not None and known.created_ns == state.created_ns:
            return known.simplon
        metadata = read_metadata(self._server, StreamKeys(address))
        if metadata is None:
            return None
        simplon = metadata.get("simplon", {})
        if len(self._known) >= N_NEWEST:
            self._known.clear()
        self._known[address.name] = _Known(state.created_ns, simplon if isinstance(simplon, Mapping) else {})
        return self._known[address.name].simplon


def _start(simplon: Mapping[str, Any], state: StreamState) -> Start | None:
    """Return a header as another connector read it, without its tables; None where it cannot be one."""
    channels, config = simplon.get("channels"), simplon.get("config")
    version, series_id, unique_id = (simplon.get(key) for key in ("version", "series_id", "series_unique_id"))
    if not isinstance(channels, list) or not isinstance(config, Mapping):
        return None
    if not isinstance(version, int) or not isinstance(series_id, int):
        return None
    return Start(
        version=version,
        series_id=series_id,
        config=config,
        channels=tuple(map(str, channels)),
        n_images=state.n_expected,
        series_unique_id=None if unique_id is None else str(unique_id),
    )
