"""From SIMPLON messages to streams: a state machine that finds its way from any message, with no socket and no clock.

A detector's PUSH socket deals its messages out among all clients and remembers nothing, so a connector may
see anything: leftovers of an aborted series, images without their header, a second end, an end before the
last images. Whatever comes, every image that belongs to the open series is delivered once, every stream that
was opened is closed once, and what is not delivered is counted with its reason (see `transitions`).

Where several connectors share a detector only one gets the header and one the end. So messages without a header
wait for a while (see `waiting`), and whoever drives the machine may `join` the series with what another connector
has said of it, and tell that it has ended (`end_elsewhere`).

More images than promised are delivered and counted: a wrong promise is no reason to lose frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from beamstream.service import Event
from beamstream_producers.formats.simplon import End, Image, Message, Start

from .naming import StreamNames, StreamTemplate
from .open_series import OpenSeries
from .transitions import TRANSITIONS, Action, Input, State
from .waiting import Held, SeriesKey, WaitingRoom

DEFAULT_GRACE_S = 2.0
"""How long images may come after the end of their series [s]: they do so only where a broker fans the stream out."""

MAX_AHEAD = 1_000_000
"""How far an image id may be beyond promise and highest id; more is garbage, and would make as many missing ids."""


class SeriesMachine:
    """Turns the messages of a detector into events of streams.

    Parameters
    ----------
    template : StreamTemplate, optional
        How streams are named.
    grace_s : float
        How long images may come after the end of their series [s].
    others_s : float
        How long a series with missing images stays open for other connectors that go on with it [s].
    n_series : int, optional
        After how many series it is done; None: never.
    on_ignored : callable, optional
        Called with each message that is not used, and the reason (`transitions.IGNORED_BECAUSE`).

    Attributes
    ----------
    state : State
        Where it is.
    counters : Counter
        ``received``: all messages; ``series``, ``images``, ``ends``: those used; one counter for each reason
        why a message was not (`transitions.IGNORED_BECAUSE`). ``received`` is the sum of all these and of what waits.
        Beside them, contained in others: ``frames`` delivered, ``image_beyond_expected``, ``channel_unknown``,
        ``series_closed``. Not of messages: ``series_joined``, those whose header another connector had.
    """

    def __init__(
        self,
        *,
        template: StreamTemplate | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        others_s: float = 0.0,
        n_series: int | None = None,
        on_ignored: Callable[[Message, str], None] | None = None,
    ) -> None:
        self.state = State.IDLE
        self.counters: Counter[str] = Counter()
        self._names = StreamNames(template or StreamTemplate())
        self._grace_s = grace_s
        self._others_s = others_s
        self._n_series = n_series
        self._on_ignored = on_ignored
        self._room = WaitingRoom()
        self._series: OpenSeries | None = None
        self._last: OpenSeries | None = None
        self._deadline_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether as many series are closed as were asked for."""
        return self._n_series is not None and self.counters["series_closed"] >= self._n_series

    @property
    def _n_begun(self) -> int:
        return self.counters["series"] + self.counters["series_joined"]

    @property
    def n_waiting(self) -> int:
        """How many messages wait for the header of their series."""
        return len(self._room)

    @property
    def has_room(self) -> bool:
        """Whether the next message can wait if it has to."""
        return not self._room.is_full

    @property
    def wanted(self) -> SeriesKey | None:
        """The series whose messages came without a header, to be looked for elsewhere."""
        return self._room.wanted

    @property
    def open_series(self) -> OpenSeries | None:
        """The series that is open."""
        return self._series

    def feed(self, message: Message, now_s: float, timestamp_ns: int | None = None) -> list[Event]:
        """Take one message.

        Parameters
        ----------
        message : Start, Image or End
            What came.
        now_s : float
            Time of any clock that only goes forward [s].
        timestamp_ns : int, optional
            When the message came, for the frames' headers [ns since 1970, UTC].
        """
        self.counters["received"] += 1
        self._give_up(now_s)
        return self._take(message, now_s, timestamp_ns)

    def join(self, start: Start, streams: Mapping[str, str], now_s: float) -> list[Event]:
        """Go on with a series that another connector has opened.

        Parameters
        ----------
        start : Start
            What its header said.
        streams : mapping of str to str
            The stream's name of each channel.
        now_s : float
            Time of any clock that only goes forward [s].
        """
        step = TRANSITIONS[self.state, self._classify_header(start)]
        is_open = self._series is not None and self._series.owns(start)
        if is_open or step.action not in (Action.OPEN, Action.REPLACE):
            return []
        self.state = step.state
        self.counters["series_joined"] += 1
        events = self._close(stopping=False) if step.action is Action.REPLACE else []
        return events + self._begin(OpenSeries(start, streams, joins=True), now_s)

    def end_elsewhere(self, now_s: float) -> list[Event]:
        """Note that the open series has ended: another connector has had its end."""
        series = self._series
        if series is None or self.state is State.ENDING:
            return []
        step = TRANSITIONS[self.state, self._classify_end(series)]
        self.state = step.state
        self._note_end(now_s)
        return self._close(stopping=False) if step.action is Action.CLOSE else []

    def tick(self, now_s: float) -> list[Event]:
        """Close a series that has ended and waited long enough for its images; give up messages without a header."""
        self._give_up(now_s)
        if self.state is State.ENDING and now_s >= self._deadline_s:
            return self._step(Input.GRACE_OVER)
        return []

    def stop(self) -> list[Event]:
        """Close what is open, as the service ends."""
        for held in self._room.empty():
            self._ignore(held.message, held.reason)
        return self._step(Input.STOP)

    def _step(self, input_: Input) -> list[Event]:
        step = TRANSITIONS[self.state, input_]
        self.state = step.state
        return self._close(stopping=input_ is Input.STOP) if step.action is Action.CLOSE else []

    def _take(self, message: Message, now_s: float, timestamp_ns: int | None) -> list[Event]:
        step = TRANSITIONS[self.state, self._classify(message)]
        self.state = step.state
        if step.action is Action.HOLD and not isinstance(message, Start):
            if not self._room.hold(message, step.ignored, now_s, timestamp_ns):
                self._ignore(message, step.ignored)
            return []
        events = self._act(step.action, message, now_s, timestamp_ns)
        if step.ignored:
            self._ignore(message, step.ignored)
        return events

    def _give_up(self, now_s: float) -> None:
        for held in self._room.expire(now_s):
            self._ignore(held.message, held.reason)

    def _ignore(self, message: Message, reason: str) -> None:
        self.counters[reason] += 1
        if self._on_ignored is not None:
            self._on_ignored(message, reason)

    def _act(self, action: Action, message: Message, now_s: float, timestamp_ns: int | None) -> list[Event]:
        events: list[Event] = []
        if isinstance(message, End) and action is not Action.NOTHING:
            self.counters["ends"] += 1
            self._note_end(now_s)
        if isinstance(message, Image) and action in (Action.DELIVER, Action.DELIVER_AND_CLOSE):
            events += self._deliver(message, timestamp_ns)
        if action in (Action.CLOSE, Action.DELIVER_AND_CLOSE, Action.REPLACE):
            events += self._close(stopping=False)
        if isinstance(message, Start) and action in (Action.OPEN, Action.REPLACE):
            self.counters["series"] += 1
            events += self._begin(OpenSeries(message, self._names.take(message)), now_s)
        return events

    def _begin(self, series: OpenSeries, now_s: float) -> list[Event]:
        """Open a series, and deliver what waited for it."""
        self._series = series
        self._room.forget(series.start.series_id)
        events = series.opened()
        held: list[Held] = self._room.take(series.owns)
        for one in held:
            if series.joins or one.message.series_unique_id is not None:
                events += self._take(one.message, now_s, one.timestamp_ns)
            else:
                # Its series has only a number: before that one's own header came, it was another series of this number.
                self._ignore(one.message, one.reason)
        return events

    def _deliver(self, image: Image, timestamp_ns: int | None) -> list[Event]:
        series = self._series
        if series is None:
            return []
        self.counters["images"] += 1
        n_images = series.start.n_images
        self.counters["image_beyond_expected"] += n_images is not None and image.image_id >= n_images
        events = series.produced(image, timestamp_ns)
        self.counters["frames"] += len(events)
        self.counters["channel_unknown"] += len(image.channels) - len(events)
        return events

    def _note_end(self, now_s: float) -> None:
        self._deadline_s = now_s + self._grace_s
        if self._series is not None:
            self._series.ended = True

    def _close(self, *, stopping: bool) -> list[Event]:
        series, self._series = self._series, None
        if series is None:
            return []
        self._last = series
        self.counters["series_closed"] += 1
        return series.closed(stopping=stopping, quiet_s=self._others_s)

    def _classify(self, message: Message) -> Input:
        if isinstance(message, Start):
            return self._classify_header(message)
        mine = self._series is not None and self._series.owns(message)
        last = self._last is not None and self._last.owns(message)
        if isinstance(message, End):
            if self._series is None or not mine:
                return Input.END_AGAIN if last else Input.END_ELSEWHERE
            return self._classify_end(self._series)
        if self._series is None or not mine:
            return Input.IMAGE_OF_LAST if last else Input.IMAGE_ELSEWHERE
        return self._classify_image(self._series, message)

    def _classify_header(self, start: Start) -> Input:
        series = self._series
        if series is not None and series.owns(start) and (start.series_unique_id or len(series.ids) == 0):
            return Input.HEADER_AGAIN
        if self._n_series is not None and self._n_begun >= self._n_series:
            return Input.HEADER_TOO_MANY
        return Input.HEADER

    def _classify_end(self, series: OpenSeries) -> Input:
        if self.state is State.ENDING:
            return Input.END_AGAIN
        return Input.END if series.ids.has_all(series.start.n_images) else Input.EARLY_END

    @staticmethod
    def _classify_image(series: OpenSeries, image: Image) -> Input:
        ids, n_images = series.ids, series.start.n_images
        if image.image_id in ids:
            return Input.IMAGE_AGAIN
        if image.image_id > max(n_images or 0, ids.highest_id + 1) + MAX_AHEAD:
            return Input.IMAGE_IMPLAUSIBLE
        if not image.channels.keys() & series.streams.keys():
            return Input.IMAGE_OF_NO_CHANNEL
        return Input.COMPLETING_IMAGE if ids.has_all_with(image.image_id, n_images) else Input.IMAGE
