"""The connector as a `Source`: a thin shell of socket, clock and log around the formats and the state machine.

One bad message costs itself: it is counted by reason, named in the log now and then, and the service goes on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from beamstream.service import Event, StreamClosed
from beamstream.stop import StopFlag
from beamstream_producers.formats.simplon import SimplonError, Start, decode

from .complaints import Complaints
from .endpoint import HELD_MESSAGES, PORT_V1, PORT_V2, DetectorSocket
from .naming import StreamTemplate
from .series import DEFAULT_GRACE_S, SeriesMachine
from .transitions import IGNORED_BECAUSE

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long one look at the socket waits [s]; the loop wants to hear something every 0.2 s."""

QUIET_S = 10.0
"""After how long without any message the log says what to check [s]: armed detectors send their header at once."""


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
    on_series_closed : callable, optional
        Called without arguments after each series, from the loop's thread: must return at once.
    quiet_s : float
        After how long without any message the log says what to check [s].

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
        on_series_closed: Callable[[], None] | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._socket = DetectorSocket(endpoint)
        self._machine = SeriesMachine(template=template, grace_s=grace_s, n_series=n_series)
        self._rejected: Counter[str] = Counter()
        self._complaints = Complaints()
        self._on_series_closed = on_series_closed
        self._quiet_s = quiet_s
        self._quiet_since_s: float | None = time.monotonic()

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield the events of the streams that series become, until `stop` is set or enough series are in.

        What waits in the socket when `stop` is set is still taken, up to what the socket holds at most.
        """
        while not stop.is_set() and not self._machine.is_done:
            parts = self._socket.receive(POLL_S)
            if parts is None:
                # only now: what waits in the socket may be what the grace time is for
                yield from self._told(self._machine.tick(time.monotonic()))
                self._look_around()
                yield None
            else:
                yield from self._take(parts)
        for _ in range(HELD_MESSAGES):
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
        events, ignored = self._machine.feed(message, now_s, time.time_ns())
        if ignored:
            kind = type(message).__name__.lower()
            detail = f"{kind} of series {message.series_id} is not used: {IGNORED_BECAUSE[ignored]}"
            self._complain(ignored, detail, now_s)
        elif isinstance(message, Start):
            _log_header(message)
        return self._told(events)

    def _told(self, events: list[Event]) -> list[Event]:
        """Pass events on, and tell about a series that is closed by them."""
        if self._on_series_closed is not None and any(isinstance(event, StreamClosed) for event in events):
            self._on_series_closed()
        return events

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
            log.warning("%s", silence(self._socket.endpoint, self._quiet_s, is_connected=self._socket.is_connected))


def silence(endpoint: str, quiet_s: float, *, is_connected: bool) -> str:
    """Return why nothing may have arrived since the start, and what to check."""
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
