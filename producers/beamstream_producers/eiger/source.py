"""The connector as a `Source`: a thin shell of socket, clock and log around the formats and the state machine.

One bad message costs itself: it is counted by reason, named in the log now and then, and the service goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from beamstream.service import Event, StreamClosed, StreamOpened
from beamstream.stop import StopFlag
from beamstream_producers.complaints import Complaints
from beamstream_producers.formats.simplon import Message, SimplonError, Start, decode

from .directory import SeriesDirectory
from .endpoint import PORT_V1, PORT_V2, DetectorSocket
from .naming import StreamTemplate
from .series import DEFAULT_GRACE_S, SeriesMachine
from .transitions import IGNORED_BECAUSE
from .watch import DetectorWatch

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long one look at the socket waits [s]; the loop wants to hear something every 0.2 s."""

LOOK_EVERY_S = 0.02
"""How often a series whose header did not come here is looked for [s]: 180 images of an Eiger 500k wait then."""

ENDED_EVERY_S = 1.0
"""How often, while nothing comes, is asked whether another connector has had the end [s]."""

OTHERS_S = 2.0
"""How long a series of which images are missing is left to other connectors that go on with it [s]."""

UNKNOWN_SHAPE, UNKNOWN_ITEMSIZE = (2200, 2100), 4
"""What an image is taken for where its header does not say: an EIGER2 4M of 32 bits."""

MOST_LEFT = 10_000
"""Most messages that are still taken out of the socket once the service is to stop."""

QUIET_S = 10.0
"""After how long without any message the log says what to check [s]: armed detectors send their header at once."""


_OF_SERIES = (StreamOpened, StreamClosed)


class EigerSource:
    """Brings in the stream of a DECTRIS detector; a `beamstream.service.Source`.

    Connects when it is made, so that a detector armed right afterwards is heard.

    Parameters
    ----------
    endpoint : str
        ``tcp://dcu:31001`` (stream v2) or ``tcp://dcu:9999`` (v1); the version is told by what arrives.
    template : StreamTemplate, optional
        How streams are named.
    n_series : int, optional
        Ends after this many series; None: when it is stopped.
    grace_s : float
        How long images may come after the end of their series [s].
    quiet_s : float
        After how long without any message the log says what to check [s].
    directory : SeriesDirectory, optional
        Where other connectors of this detector are heard of; without it, this one takes itself for the only one.
    watch : DetectorWatch, optional
        Is told of the series. Both are closed by who made them, when everything has been sent.

    Raises
    ------
    UsageError
        If the endpoint is none.
    """

    name = "eiger"

    def __init__(
        self,
        endpoint: str,
        *,
        template: StreamTemplate | None = None,
        n_series: int | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        quiet_s: float = QUIET_S,
        directory: SeriesDirectory | None = None,
        watch: DetectorWatch | None = None,
    ) -> None:
        self._socket = DetectorSocket(endpoint)
        self._machine = SeriesMachine(
            template=template,
            grace_s=grace_s,
            others_s=0.0 if directory is None else OTHERS_S,
            n_series=n_series,
            on_ignored=self._complain_of,
        )
        self._directory = directory
        self._look_at_s = 0.0
        self._ask_at_s = 0.0
        self._rejected: Counter[str] = Counter()
        self._complaints = Complaints()
        self._watch = watch
        self._quiet_s = quiet_s
        self._quiet_since_s: float | None = time.monotonic()

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield the events of the streams that series become, until `stop` is set or enough series are in.

        What waits in the socket when `stop` is set is still taken, up to what the socket holds at most.
        """
        while not stop.is_set() and not self._machine.is_done:
            parts = self._receive()
            if parts is None:
                # only now: what waits in the socket may be what the grace time is for
                yield from self._told(self._machine.tick(time.monotonic()))
                yield from self._told(self._ended_elsewhere())
                self._look_around()
                yield None
            else:
                yield from self._take(parts)
            if self._machine.n_waiting:
                yield from self._told(self._join())
        for _ in range(MOST_LEFT):
            parts = None if self._machine.is_done else self._socket.receive(0)
            if parts is None:
                break
            yield from self._take(parts)
        yield from self._told(self._machine.stop())

    def counters(self) -> Mapping[str, int]:
        """Return what was counted: `SeriesMachine.counters`, ``rejected`` and that by kind of error."""
        rejected = dict(self._rejected)
        counts = dict(self._machine.counters)
        n_rejected = sum(rejected.values())
        return {
            **counts,
            "received": counts.get("received", 0) + n_rejected,
            "rejected": n_rejected,
            **{f"rejected_{kind}": count for kind, count in rejected.items()},
            **(self._watch.counters() if self._watch is not None else {}),
        }

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _take(self, parts: list[memoryview]) -> list[Event]:
        """Return the events of one message; a bad one has none."""
        self._quiet_since_s = None
        now_s = time.monotonic()
        try:
            message = decode(parts)
        except SimplonError as error:
            self._rejected[error.kind] += 1
            self._complain(f"rejected_{error.kind}", f"a message is refused: {error}", now_s)
            return []
        events = self._machine.feed(message, now_s, time.time_ns())
        if isinstance(message, Start) and events:
            self._socket.hold(image_bytes(message))
            _log_header(message)
        return self._told(events)

    def _receive(self) -> list[memoryview] | None:
        """Return the next message; none while so many wait for their header that the detector has to keep it."""
        if self._machine.has_room:
            return self._socket.receive(LOOK_EVERY_S if self._machine.n_waiting else POLL_S)
        time.sleep(LOOK_EVERY_S)
        return None

    def _join(self) -> list[Event]:
        """Go on with the series that messages wait for, if another connector has had its header."""
        now_s = time.monotonic()
        wanted = self._machine.wanted
        if self._directory is None or wanted is None or now_s < self._look_at_s:
            return []
        found = self._directory.find(wanted)
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        if found is None:
            return []
        log.info("series %d is another connector's, or an earlier one of this one's: joined", wanted[0])
        self._socket.hold(image_bytes(found.start))
        return self._machine.join(found.start, found.streams, now_s)

    def _ended_elsewhere(self) -> list[Event]:
        """End the open series if another connector has had its end."""
        series, now_s = self._machine.open_series, time.monotonic()
        if self._directory is None or series is None or now_s < self._ask_at_s:
            return []
        self._ask_at_s = now_s + ENDED_EVERY_S
        if not self._directory.have_ended([*series.names.values()]):
            return []
        return self._machine.end_elsewhere(now_s)

    def _told(self, events: list[Event]) -> list[Event]:
        """Pass events on, and tell the watch about series that begin and end with them."""
        if self._watch is not None and any(type(event) in _OF_SERIES for event in events):
            if any(isinstance(event, StreamClosed) for event in events):
                self._watch.end()
            series = self._machine.open_series
            if series is not None and any(isinstance(event, StreamOpened) for event in events):
                self._watch.begin(series.start.series_id, series.names)
        return events

    def _complain_of(self, message: Message, reason: str) -> None:
        kind = type(message).__name__.lower()
        detail = f"{kind} of series {message.series_id} is not used: {IGNORED_BECAUSE[reason]}"
        self._complain(reason, detail, time.monotonic())

    def _complain(self, reason: str, detail: str, now_s: float) -> None:
        line = self._complaints.note(reason, detail, now_s)
        if line is not None:
            log.warning("%s", line)

    def _look_around(self) -> None:
        """Log what there is to say about the connection while nothing comes."""
        for is_made in self._socket.link_changes():
            said = "connected to" if is_made else "lost the connection, trying again:"
            log.info("%s %s", said, self._socket.endpoint)
        if self._quiet_since_s is not None and time.monotonic() - self._quiet_since_s >= self._quiet_s:
            self._quiet_since_s = None
            is_acquiring = self._watch is not None and self._watch.is_acquiring
            said = silence(
                self._socket.endpoint,
                self._quiet_s,
                is_connected=self._socket.is_connected,
                is_acquiring=is_acquiring,
            )
            log.warning("%s", said)


def image_bytes(start: Start) -> int:
    """Return how large an image of a series is at most [bytes]: all its channels, 4 bytes a pixel if nobody says."""
    itemsize = np.dtype(start.dtype).itemsize if start.dtype else UNKNOWN_ITEMSIZE
    return math.prod(start.shape or UNKNOWN_SHAPE) * itemsize * len(start.channels)


def silence(endpoint: str, quiet_s: float, *, is_connected: bool, is_acquiring: bool) -> str:
    """Return why nothing may have arrived since the start, and what to check."""
    if is_connected and is_acquiring:
        return (
            f"connected to {endpoint}, but nothing arrived for {quiet_s:.0f} s, and the detector is taking images: "
            "another client of its stream takes them (each goes to one client only), or exposures are that long"
        )
    if is_connected:
        return (
            f"connected to {endpoint}, but nothing arrived for {quiet_s:.0f} s: is the detector armed and triggered? "
            "Does another client take the messages (each goes to one client only)?"
        )
    return (
        f"nobody answered at {endpoint} for {quiet_s:.0f} s: is the detector's stream enabled "
        "(stream/api/1.8.0/config/mode; initialize disables it), and is config/format right for the port: "
        f"cbor is sent on {PORT_V2}, legacy on {PORT_V1}?"
    )


def _log_header(start: Start) -> None:
    promised = "any number of" if start.n_images is None else start.n_images
    log.info("series %d begins: %s image(s), stream v%d", start.series_id, promised, start.version)
    for note in start.notes:
        log.info("series %d: %s", start.series_id, note)
