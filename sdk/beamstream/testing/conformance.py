"""The conformance suite: what docs/how-to/write-a-source.md demands of a source, each a check of its own.

`check_source` runs all of them; `SourceConformance` is the same as a class for pytest, which is not imported here.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

from beamstream.service import Source
from beamstream.stop import Stop

from .errors import ConformanceError
from .runs import SETTLE_S, Run, Runner, Subject

IDLE_S = 0.5
"""Longest time that the quickest None may take [s]; 0.2 s are demanded, the rest is for a busy machine."""

N_IDLE = 4
"""How many None are looked at."""

RELEASE_S = 5.0
"""How long what a closed source held may still be there [s]: sockets are ended by threads of their own."""

N_LEAKS = 3
"""How many runs are compared with the first: what leaks, leaks with each of them."""


def check_events(subject: Subject) -> Run:
    """Read what is fed to its end: events in order, each stream with its end, messages that can be sent and read.

    Raises
    ------
    ConformanceError
        If one of them is not so, or not a single message came.
    """
    run = Runner(subject).run()
    if not run.messages:
        raise ConformanceError(run.name, "no message came; does feed() reach it?")
    return run


def check_idle(subject: Subject) -> None:
    """Read without feeding: None comes often enough, and being asked to stop ends the source.

    Raises
    ------
    ConformanceError
        If not.
    """
    run = Runner(subject, feeds=False, stopping=lambda run: len(run.idle_s) >= N_IDLE).run()
    if len(run.idle_s) >= N_IDLE and min(run.idle_s) > IDLE_S:
        what = f"waits {min(run.idle_s):.2f} s before it yields None; 0.2 s at most are allowed"
        raise ConformanceError(run.name, what)


def check_stop(subject: Subject) -> None:
    """Ask it to stop before its first event, and behind its first message: it ends, and so do its streams.

    Raises
    ------
    ConformanceError
        If not.
    """
    Runner(subject, stopping=lambda _: True, feeds=False).run()
    Runner(subject, stopping=lambda run: bool(run.messages)).run()


def check_close(subject: Subject) -> None:
    """Close it before its first event, and in the middle, as after an error.

    Raises
    ------
    ConformanceError
        If that raises.
    """
    for n_events in (0, 1):
        source = subject.make_source()
        events = source.events(Stop())
        try:
            for _ in range(n_events):
                next(events, None)
            source.close()
            source.close()
            del events
            gc.collect()
        except Exception as error:
            what = f"raises {error!r} when it is closed after {n_events} event(s)"
            raise ConformanceError(source.name, what) from error


def check_leaks(subject: Subject) -> None:
    """Run it several times: no thread and no open file or socket stays.

    Raises
    ------
    ConformanceError
        If one does.
    """
    name = Runner(subject).run().name  # libraries keep some for themselves, once
    threads, files = _threads(), _open_files()
    for _ in range(N_LEAKS):
        Runner(subject).run()
    ends_at = time.monotonic() + RELEASE_S
    while len(more := [*_more(threads, _threads()), *_more(files, _open_files())]) >= N_LEAKS:
        if time.monotonic() > ends_at:
            raise ConformanceError(name, f"does not give back with close(): {', '.join(more)}")
        gc.collect()
        time.sleep(0.05)


def check_resuming(subject: Subject) -> None:
    """Where it asks where its streams stand: what is not there yet comes, without a hole.

    Raises
    ------
    ConformanceError
        If something is left out.
    """
    run = check_events(subject)
    ids = sorted({message.message_id for message in run.messages})
    if not run.was_resumable or len(ids) < 2:
        return
    next_id = ids[len(ids) // 2]
    again = Runner(subject, next_id=next_id).run()
    wanted = {(message.stream, message.message_id) for message in run.messages if message.message_id >= next_id}
    left_out = sorted(wanted - {(message.stream, message.message_id) for message in again.messages})
    if left_out:
        stream, message_id = left_out[0]
        what = f"goes on from message {next_id} and leaves {len(left_out)} out, first {message_id} of {stream}"
        raise ConformanceError(run.name, what)


def check_hostile(subject: Subject, feed_hostile: Callable[[], None]) -> None:
    """Feed what nobody should send, then what is good: the good all comes, and the rest is counted.

    Raises
    ------
    ConformanceError
        If not.
    """
    run = check_events(subject)

    def feed_both() -> None:
        feed_hostile()
        subject.feed()

    hostile = Subject(make_source=subject.make_source, feed=feed_both, settle_s=subject.settle_s)
    tried = Runner(hostile).run()
    if len(tried.messages) < len(run.messages):
        what = f"gives {len(tried.messages)} of {len(run.messages)} good messages after hostile ones"
        raise ConformanceError(run.name, what)
    before = run.counters.last
    if not any(count > before.get(name, 0) for name, count in tried.counters.last.items()):
        raise ConformanceError(run.name, f"counts no hostile message; counters: {dict(tried.counters.last)}")


def check_source(
    make_source: Callable[[], Source],
    *,
    feed: Callable[[], None] | None = None,
    feed_hostile: Callable[[], None] | None = None,
    settle_s: float = SETTLE_S,
) -> None:
    """Run the whole suite.

    Parameters
    ----------
    make_source, feed, settle_s
        See `Subject`.
    feed_hostile : callable, optional
        Lets messages come that nobody should send; without it that is not looked at.

    Raises
    ------
    ConformanceError
        If the source does not do what is demanded.
    """
    subject = make_subject(make_source, feed, settle_s)
    for check in (check_events, check_idle, check_stop, check_close, check_leaks, check_resuming):
        check(subject)
    if feed_hostile is not None:
        check_hostile(subject, feed_hostile)


def make_subject(make_source: Callable[[], Source], feed: Callable[[], None] | None, settle_s: float) -> Subject:
    """Return what the checks take."""
    if feed is None:
        return Subject(make_source=make_source, settle_s=settle_s)
    return Subject(make_source=make_source, feed=feed, settle_s=settle_s)


class SourceConformance:
    """The suite for pytest: derive a class called ``Test…``, say how the source is made and fed.

    Fixtures of the class (``autouse``) make what the source talks to.

    Examples
    --------
    >>> class TestMySource(SourceConformance):
    ...     def make_source(self) -> Source:
    ...         return MySource("tcp://127.0.0.1:4500")
    ...
    ...     def feed(self) -> None:
    ...         self.device.send(b"...")
    """

    settle_s = SETTLE_S

    def make_source(self) -> Source:
        """Make a new source; see `Subject`."""
        raise NotImplementedError("make_source() has to return a new source")

    def feed(self) -> None:
        """Let some good messages come; see `Subject`."""

    def feed_hostile(self) -> None:
        """Let messages come that nobody should send; the test is skipped where this is not given."""
        raise SkipTest("no feed_hostile() is given")

    @property
    def _subject(self) -> Subject:
        return Subject(make_source=self.make_source, feed=self.feed, settle_s=self.settle_s)

    def test_its_events_come_in_order_and_can_be_sent_and_read(self) -> None:
        check_events(self._subject)

    def test_it_says_that_nothing_comes(self) -> None:
        check_idle(self._subject)

    def test_it_ends_when_it_is_asked_to(self) -> None:
        check_stop(self._subject)

    def test_it_can_be_closed_at_any_time(self) -> None:
        check_close(self._subject)

    def test_it_gives_back_what_it_holds(self) -> None:
        check_leaks(self._subject)

    def test_it_goes_on_where_its_streams_stand(self) -> None:
        check_resuming(self._subject)

    def test_it_survives_what_nobody_should_send(self) -> None:
        if type(self).feed_hostile is SourceConformance.feed_hostile:
            raise SkipTest("no feed_hostile() is given")
        check_hostile(self._subject, self.feed_hostile)


def _threads() -> list[str]:
    return [f"thread {thread.name}" for thread in threading.enumerate() if thread.name not in ("feed", "sent")]


def _open_files() -> list[str]:
    """Return what this process has open, by what the kernel calls it."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"file {one.readlink()}")
        except OSError:  # the one that lists them, or one that has gone meanwhile
            continue
    return found


def _more(before: list[str], after: list[str]) -> list[str]:
    """Return what is there more often than before, by kind; sockets and pipes are told apart by number only."""
    left = [_kind(one) for one in before]
    more = []
    for one in after:
        if _kind(one) in left:
            left.remove(_kind(one))
        else:
            more.append(one)
    return more


def _kind(name: str) -> str:
    return name.partition(":[")[0]
