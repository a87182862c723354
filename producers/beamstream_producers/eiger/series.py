"""From SIMPLON messages to streams: a state machine that finds its way from any message, with no socket and no clock.

A detector's PUSH socket deals its messages out among all clients and remembers nothing, so a connector may
see anything: leftovers of an aborted series, images without their header, a second end, an end before the
last images. Whatever comes, every image that belongs to the open series is delivered once, every stream that
was opened is closed once, and what is not delivered is counted with its reason (see `transitions`).

More images than promised are delivered and counted: a wrong promise is no reason to lose frames.
"""

from __future__ import annotations

from collections import Counter

from beamstream.service import Event
from beamstream_producers.formats.simplon import End, Image, Message, Start

from .naming import StreamNames, StreamTemplate
from .open_series import OpenSeries
from .transitions import TRANSITIONS, Action, Input, State

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
    n_series : int, optional
        After how many series it is done; None: never.

    Attributes
    ----------
    state : State
        Where it is.
    counters : Counter
        ``received``: all messages; ``series``, ``images``, ``ends``: those used; one counter for each reason
        why a message was not (`transitions.IGNORED_BECAUSE`). ``received`` is the sum of all these. Beside
        them, contained in others: ``frames`` delivered, ``image_beyond_expected``, ``channel_unknown``,
        ``series_closed``.
    """

    def __init__(
        self,
        *,
        template: StreamTemplate | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        n_series: int | None = None,
    ) -> None:
        self.state = State.IDLE
        self.counters: Counter[str] = Counter()
        self._names = StreamNames(template or StreamTemplate())
        self._grace_s = grace_s
        self._n_series = n_series
        self._series: OpenSeries | None = None
        self._last: OpenSeries | None = None
        self._deadline_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether as many series are closed as were asked for."""
        return self._n_series is not None and self.counters["series_closed"] >= self._n_series

    def feed(self, message: Message, now_s: float, timestamp_ns: int | None = None) -> tuple[list[Event], str]:
        """Take one message.

        Parameters
        ----------
        message : Start, Image or End
            What came.
        now_s : float
            Time of any clock that only goes forward [s].
        timestamp_ns : int, optional
            When the message came, for the frames' headers [ns since 1970, UTC].

        Returns
        -------
        (list of events, str)
            What it leads to, and the reason if the message is not used, else an empty text.
        """
        self.counters["received"] += 1
        step = TRANSITIONS[self.state, self._classify(message)]
        self.state = step.state
        events = self._act(step.action, message, now_s, timestamp_ns)
        if step.ignored:
            self.counters[step.ignored] += 1
        return events, step.ignored

    def tick(self, now_s: float) -> list[Event]:
        """Close a series that has ended and waited long enough for its images."""
        if self.state is State.ENDING and now_s >= self._deadline_s:
            return self._step(Input.GRACE_OVER)
        return []

    def stop(self) -> list[Event]:
        """Close what is open, as the service ends."""
        return self._step(Input.STOP)

    def _step(self, input_: Input) -> list[Event]:
        step = TRANSITIONS[self.state, input_]
        self.state = step.state
        return self._close(stopping=input_ is Input.STOP) if step.action is Action.CLOSE else []

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
            events += self._open(message)
        return events

    def _open(self, start: Start) -> list[Event]:
        self.counters["series"] += 1
        self._series = OpenSeries(start, self._names.take(start))
        return self._series.opened()

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
        return series.closed(stopping=stopping)

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
        if self._n_series is not None and self.counters["series"] >= self._n_series:
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
