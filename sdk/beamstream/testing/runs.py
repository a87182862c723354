"""Runs of a source as the loop runs it: in a thread, with a watch over it that a source which hangs cannot stop.

The source is made, read and closed in one thread; messages are fed to it from a second one, its counters are read from
a third one, as for metrics, and «sent» is said from a fourth one, as by the producer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

from beamstream.address import Address
from beamstream.service import Event, Produced, Source, StreamOpened
from beamstream.state import StreamState
from beamstream.stop import Stop

from .errors import ConformanceError
from .events import CounterChecker, EventChecker

SILENT_S = 5.0
"""After how long without an event and without None a source counts as hanging [s]: 25 times what is demanded, so that
a busy machine does not fail a good source."""

END_S = 10.0
"""How long a source may go on after it was asked to stop [s]."""

SETTLE_S = 0.5
"""After how long without an event what was fed counts as having come [s]."""

MOST_MESSAGES = 1000
"""After how many messages a run is stopped: a source that makes up its own may have no end."""

FEED_S = 60.0
"""How long the test's own `feed` may take [s]."""

COUNTERS_EVERY_S = 0.01
"""How often the counters are read from outside [s]."""


def _feed_nothing() -> None:
    """Feed nothing: the source finds what it needs by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A source that is looked at, and how it gets something to do.

    Attributes
    ----------
    make_source : callable
        Makes a new source, as a command does; called for each run, from the thread that reads it.
    feed : callable
        Lets messages come to the source that was made last: at least two, the same number at every call. Called from
        another thread once the source is made, and never twice at a time. Nothing to do where files are there already.
    settle_s : float
        After how long without an event what was fed counts as having come [s]; then the source is asked to stop.
    """

    make_source: Callable[[], Source]
    feed: Callable[[], None] = _feed_nothing
    settle_s: float = SETTLE_S


@dataclass(slots=True)
class Run:
    """What a source did, from being made to being closed.

    Attributes
    ----------
    name : str
        What the source is called.
    checker, counters : EventChecker, CounterChecker
        What came, and what was counted.
    idle_s : list of float
        How long each None took [s].
    was_resumable : bool
        Whether a stream was opened with `on_open` that may have been there before.
    """

    name: str = "?"
    checker: EventChecker = field(default_factory=lambda: EventChecker("?"))
    counters: CounterChecker = field(default_factory=lambda: CounterChecker("?"))
    idle_s: list[float] = field(default_factory=list)
    was_resumable: bool = False

    @property
    def messages(self) -> list[Produced]:
        """The messages that came."""
        return self.checker.messages


Stopping = Callable[[Run], bool]
"""Asked before each event whether the source is to stop."""


def fresh_state(next_id: int = 1) -> StreamState:
    """Return the state of a stream that has everything below `next_id`, and nothing else."""
    return StreamState(
        next_id=next_id, n_received=next_id - 1, released_id=1, created_ns=time.time_ns(), n_duplicate=0, n_retried=0,
        n_conflict=0, n_late=0, n_missing=0, n_refused=0, n_dropped=0, n_held=0, total_bytes=0, memory_bytes=0,
        finished=False, last_id=0, n_expected=None, reason="", next_stream=None, keep="overflow", spilled_position=0,
        n_spilled=0,
    )  # fmt: skip


class _Feeding:
    """What is fed, from a thread of its own."""

    def __init__(self, feed: Callable[[], None]) -> None:
        self._feed = feed
        self._error: BaseException | None = None
        self.done_at: float | None = None
        self._began_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._feed()
        except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits)
            self._error = error
        self.done_at = time.monotonic()

    def check(self) -> None:
        """Raise what `feed` raised."""
        if self._error is not None:
            raise self._error

    def finish(self, source: str) -> None:
        """Wait until it has returned: it may be feeding a source that has ended early, and then it may fail."""
        self._thread.join(max(0.0, self._began_at + FEED_S - time.monotonic()))
        if self._thread.is_alive():
            raise ConformanceError(source, f"the test's feed() has not returned within {FEED_S:.0f} s")


class _Telling:
    """Says «sent», from a thread of its own that the source must not keep."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sent", daemon=True)
        self._thread.start()

    def tell(self, message: Produced) -> None:
        """Say that a message is safe."""
        if message.on_sent is not None:
            self._calls.put(message.on_sent)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 (it is what is looked for)
                self._error = error

    def finish(self, source: str) -> None:
        """Wait until all is said, and see how it was taken."""
        self._calls.put(None)
        self._thread.join(SILENT_S)
        if self._thread.is_alive():
            raise ConformanceError(source, f"on_sent keeps its thread for {SILENT_S:.0f} s; take note, and return")
        if self._error is not None:
            what = f"on_sent raises {self._error!r}; it is called by another thread, even after close()"
            raise ConformanceError(source, what) from self._error


class Runner:
    """One run of a source.

    Parameters
    ----------
    subject : Subject
        What is run.
    stopping : callable, optional
        When to ask the source to stop, beside the end of what is fed.
    next_id : int
        Where streams stand that are opened.
    feeds : bool
        Whether to feed anything; if not, the source is asked to stop by `stopping` only.
    """

    def __init__(
        self, subject: Subject, *, stopping: Stopping | None = None, next_id: int = 1, feeds: bool = True
    ) -> None:
        self._subject = subject
        self._stopping = stopping
        self._next_id = next_id
        self._feeds = feeds
        self._run = Run()
        self._stop = Stop()
        self._source: Source | None = None
        self._asked_at: float | None = None
        self._stopped_at: float | None = None
        self._closing_at: float | None = None
        self._failed: BaseException | None = None
        self._feeding: _Feeding | None = None
        self._telling = _Telling()

    def run(self) -> Run:
        """Make the source, read it to its end, close it, and look at everything.

        Raises
        ------
        ConformanceError
            If it does something wrong.
        Exception
            What `make_source` or `feed` raised.
        """
        reading = threading.Thread(target=self._read, name="source", daemon=True)
        reading.start()
        try:
            self._watch(reading)
        finally:
            self._stop.set()
        if self._feeding is not None:
            self._feeding.finish(self._run.name)
        self._telling.finish(self._run.name)
        if self._failed is not None:
            raise self._failed
        self._run.checker.finish()
        return self._run

    def _watch(self, reading: threading.Thread) -> None:
        """Read the counters from outside until the source has ended; give up on one that hangs."""
        from_outside: CounterChecker | None = None
        while reading.is_alive():
            reading.join(COUNTERS_EVERY_S)
            if self._source is not None:
                from_outside = from_outside or CounterChecker(self._run.name)
                from_outside.check(self._counters(self._source))
            if _is_over(self._closing_at, SILENT_S):
                raise self._error(f"close() takes more than {SILENT_S:.0f} s")
            if _is_over(self._stopped_at, END_S):
                raise self._error(f"has not ended {END_S:.0f} s after it was asked to; look at stop.is_set()")
            if _is_over(self._asked_at, SILENT_S):
                raise self._error(f"says nothing for {SILENT_S:.0f} s; yield None at least every 0.2 s meanwhile")

    def _counters(self, source: Source) -> Mapping[str, int]:
        try:
            return source.counters()
        except RuntimeError as error:  # e.g. a dict that grew meanwhile
            raise self._error(f"counters() raises {error!r} while another thread reads it; copy them first") from error

    def _read(self) -> None:
        try:
            source = self._subject.make_source()
            self._run.name = source.name
            self._run.checker, self._run.counters = EventChecker(source.name), CounterChecker(source.name)
            self._source = source
            if self._feeds:
                self._feeding = _Feeding(self._subject.feed)
            try:
                self._read_events(source)
            finally:
                self._closing_at = time.monotonic()
                source.close()
                source.close()  # commands do, after the loop has
                self._closing_at = None
            self._run.counters.check(source.counters())
            for message in self._run.messages[1::2]:  # what the producer still holds is sent after close()
                self._telling.tell(message)
        except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits)
            self._failed = error

    def _read_events(self, source: Source) -> None:
        events = source.events(self._stop)
        heard_at = time.monotonic()
        while True:
            if not self._stop.is_set() and self._is_to_stop(heard_at):
                self._stopped_at = time.monotonic()
                self._stop.set()
            asked_at = self._asked_at = time.monotonic()
            event = next(events, _END)
            self._asked_at = None  # what we do with it is our own time
            if isinstance(event, _End):
                return
            if event is None:
                self._run.idle_s.append(time.monotonic() - asked_at)
            else:
                self._take(event)
                heard_at = time.monotonic()
            self._run.counters.check(source.counters())

    def _is_to_stop(self, heard_at: float) -> bool:
        if self._stopping is not None and self._stopping(self._run):
            return True
        if len(self._run.messages) >= MOST_MESSAGES:
            return True
        if self._feeding is None:
            return False
        self._feeding.check()
        fed_at = self._feeding.done_at
        return fed_at is not None and time.monotonic() - max(heard_at, fed_at) > self._subject.settle_s

    def _take(self, event: Event) -> None:
        self._run.checker.check(event)
        if isinstance(event, StreamOpened) and event.on_open is not None:
            self._run.was_resumable |= not event.new
            next_id = 1 if event.new else self._next_id
            event.on_open(Address("conformance", "source", event.stream), fresh_state(next_id))
        if isinstance(event, Produced) and len(self._run.messages) % 2:
            self._telling.tell(event)

    def _error(self, what: str) -> ConformanceError:
        return ConformanceError(self._run.name, what)


class _End:
    """Comes behind the last event."""


_END = _End()


def _is_over(since: float | None, limit_s: float) -> bool:
    return since is not None and time.monotonic() - since > limit_s
