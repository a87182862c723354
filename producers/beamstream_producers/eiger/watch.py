"""Looks after a detector and its series beside the running connector, in a thread of its own, and says what is wrong.

Two questions that no message answers: whether the detector itself drops images, and whether another client of its
stream takes some. The first one its REST interface answers; the second follows: what is missing on the broker, where
all of our connectors write, and was not dropped by the detector, went somewhere else. Whatever goes wrong here is a
warning, never an error: frames come in as well without.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from beamstream.state import StreamState

from .api import ApiError, StreamApi
from .directory import SeriesDirectory

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""How often is looked [s]: an operator wants to know within seconds, and the detector's control unit is slow."""

FINISH_S = 30.0
"""How long the end of a closed series is waited for [s]: its last gaps are open for as long as their patience."""

MAX_CLOSED = 8
"""How many closed series are looked after at the same time."""

NO_OTHER_CLIENT = "each message of its stream goes to one client only: stop the other one"


@dataclass(slots=True)
class _Series:
    """A series that is looked after: how much of it is missing, how much the detector dropped, and until when."""

    series_id: int
    streams: Mapping[str, str]
    n_missing: int = 0
    n_dropped: int = 0
    n_said: int = 0
    n_noted: int | None = None
    until_s: float | None = None


class DetectorWatch:
    """Asks the detector and the broker every two seconds until it is closed.

    Parameters
    ----------
    endpoint : str
        Where the connector listens.
    api : StreamApi, optional
        The detector's REST interface; without it, what is missing is said, and not why.
    directory : SeriesDirectory, optional
        Where the series' streams are.
    every_s : float
        How often [s].

    Attributes
    ----------
    is_acquiring : bool
        Whether the detector says that it takes images.
    """

    def __init__(
        self,
        endpoint: str,
        api: StreamApi | None,
        directory: SeriesDirectory | None,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._endpoint = endpoint
        self._api = api
        self._directory = directory
        self._every_s = every_s
        self._lock = threading.Lock()
        self._open: _Series | None = None
        self._closed: list[_Series] = []
        self._known: list[str] = []
        self._last_dropped: int | None = None
        self._answers = True
        self.is_acquiring = False
        self._counts: Counter[str] = Counter()
        self._wake = threading.Event()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="eiger watch", daemon=True)
        self._thread.start()

    def begin(self, series_id: int, streams: Mapping[str, str]) -> None:
        """Look after a series from now on; its streams' names, by channel, may become known later."""
        with self._lock:
            self._open = _Series(series_id, streams)

    def end(self) -> None:
        """Look after the open series until its last gaps have settled."""
        with self._lock:
            if self._open is not None:
                self._open.until_s = time.monotonic() + FINISH_S
                self._closed = [*self._closed, self._open][-MAX_CLOSED:]
                self._open = None
        self._wake.set()

    def counters(self) -> Mapping[str, int]:
        """Return what was found: ``detector_dropped``, ``missing``, of these ``taken_elsewhere``; ``api_failures``."""
        return dict(self._counts)

    def close(self) -> None:
        """Look once more, and end; not longer than requests may take. What is to be seen should be settled by then."""
        self._ends = True
        self._wake.set()
        self._thread.join()

    # --- in the thread

    def _run(self) -> None:
        while True:
            self._look()
            if self._ends:
                return
            self._wake.wait(self._every_s)
            self._wake.clear()

    def _look(self) -> None:
        n_dropped = self._ask_detector()
        with self._lock:
            watched = [*self._closed, *([self._open] if self._open else [])]
        if n_dropped:
            self._note_dropped(watched[-1] if watched else None, n_dropped)
        for series in watched:
            states = self._directory.states([*series.streams.values()]) if self._directory is not None else []
            self._note_missing(series, max((state.n_missing for state in states), default=0))
            if states:
                self._keep_dropped(series)
            if self._is_over(series, states):
                with self._lock:
                    self._closed = [one for one in self._closed if one is not series]

    def _keep_dropped(self, series: _Series) -> None:
        """Keep with a series' streams what the detector says it dropped of it, once it has said so."""
        if self._directory is None or self._last_dropped is None:
            return
        if series.n_noted != series.n_dropped:
            kept = self._directory.note_dropped([*series.streams.values()], series.n_dropped)
            series.n_noted = series.n_dropped if kept else series.n_noted

    def _ask_detector(self) -> int:
        """Say what is wrong with the stream, once for as long as it is so; return how many more images it dropped."""
        if self._api is None or (self._ends and not self._answers):
            return 0
        n_more = 0
        try:
            problems = self._api.stream_problems(self._endpoint)
            n_more = self._more_dropped(self._api.n_dropped())
            self.is_acquiring = self._api.is_acquiring()
            self._answers = True
        except ApiError as error:
            self._counts["api_failures"] += 1
            self._answers = self.is_acquiring = False
            problems = [f"the detector is not checked: {error}"]
        for problem in problems:
            if problem not in self._known:
                log.warning("%s", problem)
        if self._known and not problems:
            log.info("the detector's stream is as it should be again")
        self._known = problems
        return n_more

    def _more_dropped(self, n_dropped: int) -> int:
        """Return how far the detector's counter has grown; arming sets it back, though not with every firmware."""
        last, self._last_dropped = self._last_dropped, n_dropped
        if last is None:
            return 0  # of a series before
        return n_dropped - last if n_dropped >= last else n_dropped

    def _note_dropped(self, series: _Series | None, n_dropped: int) -> None:
        self._counts["detector_dropped"] += n_dropped
        whose = "" if series is None else f" of series {series.series_id}"
        log.warning(
            "the detector itself dropped %d image(s)%s before sending them: its clients were slower than it was, or "
            "none was connected",
            n_dropped,
            whose,
        )
        if series is not None:
            series.n_dropped += n_dropped

    def _note_missing(self, series: _Series, n_missing: int) -> None:
        """Say what of a series came to nobody, as soon as its gaps are given up."""
        if n_missing > series.n_missing:  # what came late after all is missing no more, and has been said
            self._counts["missing"] += n_missing - series.n_missing
            series.n_missing = n_missing
        n_elsewhere = n_missing - series.n_dropped
        if n_elsewhere <= series.n_said:
            return
        if self._api is None:
            where = "came to no connector: the detector dropped them (--api asks it), or another client takes them"
        else:
            where = "were sent, and came to no connector: another client takes them, or a connector died with them"
            self._counts["taken_elsewhere"] += n_elsewhere - series.n_said
        log.warning("%d image(s) of series %d %s; %s", n_elsewhere, series.series_id, where, NO_OTHER_CLIENT)
        series.n_said = n_elsewhere

    def _is_over(self, series: _Series, states: list[StreamState]) -> bool:
        """Whether nothing more can be found out about a series: not while it is open."""
        if series.until_s is None:
            return False
        has_ended = len(states) == len(series.streams) and all(state.finished for state in states)
        return has_ended or self._directory is None or time.monotonic() >= series.until_s
