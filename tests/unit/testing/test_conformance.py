"""The conformance suite finds what it says it finds: a good source passes, and each that breaks one rule does not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import pytest

from beamstream.address import Address
from beamstream.service import Event, Produced, StreamClosed, StreamLeft, StreamOpened
from beamstream.state import StreamState
from beamstream.stop import StopFlag
from beamstream.testing import (
    ConformanceError,
    SourceConformance,
    Subject,
    check_close,
    check_events,
    check_hostile,
    check_idle,
    check_leaks,
    check_resuming,
    check_source,
    check_stop,
    conformance,
    runs,
)

IMAGE = np.arange(6, dtype="<u2").reshape(2, 3)


class Letterbox:
    """What sources of these tests read: payloads, and bad ones."""

    def __init__(self) -> None:
        self.letters: SimpleQueue[bytes] = SimpleQueue()

    def feed(self) -> None:
        for _ in range(3):
            self.letters.put(IMAGE.tobytes())

    def feed_hostile(self) -> None:
        for bad in (b"", b"bad", bytes(100)):
            self.letters.put(bad)


ADDRESS = Address("conformance", "source", "run")


class GoodSource:
    """Keeps to everything; what breaks a rule derives from it."""

    name = "letters"
    poll_s = 0.02

    def __init__(self, box: Letterbox) -> None:
        self.box = box
        self.counts = {"received": 0, "rejected": 0}
        self.next_id = 1
        self.n_sent = 0

    def opened(self) -> Iterator[Event]:
        yield StreamOpened(stream="run", metadata={"mask": IMAGE}, on_open=self.note)

    def note(self, address: Address, state: StreamState) -> None:
        self.first_id = state.next_id

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        yield from self.opened()
        while not stop.is_set():
            letter = self.take()
            if letter is None:
                yield None
            elif len(letter) != IMAGE.nbytes:
                self.counts["rejected"] += 1
            else:
                yield from self.message(letter)
        yield from self.ended()

    def take(self) -> bytes | None:
        try:
            letter = self.box.letters.get(timeout=self.poll_s)
        except Empty:
            return None
        self.counts["received"] += 1
        return letter

    def message(self, letter: bytes) -> Iterator[Event]:
        message_id = self.next_id
        self.next_id += 1
        if message_id >= self.first_id:
            yield self.produced(message_id, letter)

    def produced(self, message_id: int, letter: bytes, **changes: Any) -> Produced:
        fields = {"shape": IMAGE.shape, "dtype": "<u2", "metadata": {"n": 1}, "on_sent": self.is_sent} | changes
        return Produced(stream="run", message_id=message_id, payload=letter, **fields)

    def is_sent(self) -> None:
        self.n_sent += 1

    def ended(self) -> Iterator[Event]:
        yield StreamClosed(stream="run", last_id=self.next_id - 1)

    def counters(self) -> Mapping[str, int]:
        return self.counts

    def close(self) -> None:
        pass


def one_that(**methods: Any) -> type[GoodSource]:
    return type("BadSource", (GoodSource,), methods)


def messages_with(**changes: Any) -> type[GoodSource]:
    return one_that(produced=lambda self, message_id, letter: GoodSource.produced(self, message_id, letter, **changes))


def subject_of(kind: Callable[[Letterbox], Any]) -> Subject:
    box = Letterbox()

    def make_source() -> Any:
        box.letters = SimpleQueue()  # what the last run left behind belongs to nobody
        return kind(box)

    return Subject(make_source=make_source, feed=box.feed, settle_s=0.1)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SILENT_S", 0.3)
    monkeypatch.setattr(runs, "END_S", 0.5)
    monkeypatch.setattr(conformance, "RELEASE_S", 0.3)


def test_a_source_that_keeps_to_everything_passes() -> None:
    box = Letterbox()
    check_source(lambda: GoodSource(box), feed=box.feed, feed_hostile=box.feed_hostile, settle_s=0.1)


class TestGoodSource(SourceConformance):
    settle_s = 0.1

    @pytest.fixture(autouse=True)
    def _box(self) -> None:
        self.box = Letterbox()

    def make_source(self) -> GoodSource:
        return GoodSource(self.box)

    def feed(self) -> None:
        self.box.feed()

    def feed_hostile(self) -> None:
        self.box.feed_hostile()


def opens(**fields: Any) -> type[GoodSource]:
    def opened(self: GoodSource) -> Iterator[Event]:
        self.first_id = 1
        yield StreamOpened(**{"stream": "run"} | fields)

    return one_that(opened=opened)


def ends(*events: Event) -> type[GoodSource]:
    return one_that(ended=lambda _: iter(events))


def _changing(self: GoodSource, message_id: int, letter: bytes) -> Produced:
    self.buffer = getattr(self, "buffer", bytearray(len(letter)))
    self.buffer[0] = message_id
    return GoodSource.produced(self, message_id, letter) if message_id < 1 else Produced(
        stream="run", message_id=message_id, payload=self.buffer, shape=IMAGE.shape, dtype="<u2"
    )  # fmt: skip


def _twice(self: GoodSource, letter: bytes) -> Iterator[Event]:
    yield self.produced(1, letter)


def _opening_twice(self: GoodSource) -> Iterator[Event]:
    yield from GoodSource.opened(self)
    yield from GoodSource.opened(self)


def _shrinking(self: GoodSource) -> Mapping[str, int]:
    return {"waiting": max(0, 3 - self.counts["received"])}


def _raising() -> None:
    raise OSError("the file is gone")


LAST = StreamClosed(stream="run", last_id=3)
BROKEN_EVENTS = {
    "no event": (ends("end"), "a str, which is no event"),  # type: ignore[arg-type]
    "a name that cannot be": (opens(stream="../run"), "no stream address"),
    "metadata that cannot travel": (opens(metadata={"lock": object()}), "cannot be stream metadata"),
    "an expected number that is none": (opens(n_expected=-1), "n_expected=-1"),
    "more parts than there are": (opens(n_parts=2, min_parts=3), "with 3 of 2 parts"),
    "a patience that is none": (opens(patience_s=-1.0), "patience_s=-1.0"),
    "a part of what has none": (messages_with(part=1), "is part 1 of 1"),
    "no part of what has some": (opens(n_parts=2), "is part None of 2"),
    "a stream opened twice": (one_that(opened=_opening_twice), "which is open"),
    "a stream never opened": (
        one_that(opened=lambda self: self.note(ADDRESS, runs.fresh_state()) or ()),
        "before its StreamOp",
    ),
    "a stream without its end": (ends(), "without StreamClosed"),
    "a stream with two ends": (ends(LAST, LAST), "after its end"),
    "an end before the last id": (ends(StreamClosed(stream="run", last_id=2)), "last_id=2, after message 3"),
    "an end for no reason": (ends(StreamClosed(stream="run", last_id=3, reason="over")), "'over'"),
    "opened again after its end": (ends(LAST, StreamOpened(stream="run"), LAST), "without new=True"),
    "an id that is none": (one_that(message=lambda self, letter: [self.produced(0, letter)]), "ids are integers"),
    "an id twice": (one_that(message=_twice), "comes twice"),
    "a payload that is a list": (one_that(produced=lambda self, i, _: GoodSource.produced(self, i, [1])), "a list"),  # type: ignore[arg-type]
    "a payload with gaps": (
        one_that(produced=lambda self, i, b: GoodSource.produced(self, i, memoryview(b * 2)[::2])),  # type: ignore[arg-type]
        "with gaps",
    ),
    "a payload that changes": (one_that(produced=_changing), "has changed"),
    "a payload of another size": (messages_with(shape=(3, 3)), "18 bytes were expected"),
    "a shape without axes": (messages_with(shape=()), "(1,)"),
    "an unknown codec": (messages_with(codec="zip"), "unknown codec"),
    "a dtype alone": (messages_with(shape=None), "one of shape and dtype"),
    "metadata of a message that cannot travel": (messages_with(metadata={"lock": object()}), "cannot be sent"),
    "a time before all times": (messages_with(timestamp_ns=-1), "cannot be sent"),
    "a counter of no name": (one_that(counters=lambda _: {"Bad Name": 1}), "'Bad Name'"),
    "a counter of the loop": (one_that(counters=lambda _: {"sent": 1}), "which the loop counts"),
    "a counter below nothing": (one_that(counters=lambda _: {"lost": -1}), "lost=-1"),
    "a counter of text": (one_that(counters=lambda _: {"lost": "many"}), "lost='many'"),
    "a counter that shrinks": (one_that(counters=_shrinking), "counters only grow"),
    "what on_sent cannot do": (messages_with(on_sent=_raising), "on_sent raises"),
    "nothing at all": (one_that(message=lambda *_: []), "no message came"),
}


@pytest.mark.parametrize("kind", BROKEN_EVENTS)
def test_events_that_break_a_rule_are_found(kind: str) -> None:
    source, said = BROKEN_EVENTS[kind]
    with pytest.raises(ConformanceError) as caught:
        check_events(subject_of(source))
    assert said in str(caught.value)


def test_a_stream_that_was_left_may_be_opened_again_and_one_that_is_new_too() -> None:
    left, new = StreamLeft(stream="run"), StreamOpened(stream="run", new=True)
    check_events(subject_of(ends(left, StreamOpened(stream="run"), LAST, new, StreamClosed(stream="run", last_id=0))))


def _deaf(self: GoodSource, stop: StopFlag) -> Iterator[Event | None]:
    while True:
        time.sleep(0.01)
        yield None


def _hanging(self: GoodSource, stop: StopFlag) -> Iterator[Event | None]:
    yield None
    threading.Event().wait(2.0)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("check", "source", "said"),
    [
        (check_events, one_that(events=_hanging), "says nothing"),
        (check_events, one_that(close=lambda _: time.sleep(1.0)), "close() takes"),
        (check_events, messages_with(on_sent=lambda: time.sleep(1.0)), "on_sent keeps"),
        (check_stop, one_that(events=_deaf), "has not ended"),
        (check_idle, one_that(events=_deaf), "has not ended"),
    ],
)
def test_a_source_that_hangs_is_given_up(check: Callable[[Subject], object], source: Any, said: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check(subject_of(source))
    assert said in str(caught.value)


def test_a_source_that_waits_too_long_for_messages_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "IDLE_S", 0.05)
    with pytest.raises(ConformanceError, match="before it yields None"):
        check_idle(subject_of(one_that(poll_s=0.1)))


def test_a_source_that_cannot_be_closed_before_it_has_begun_is_found() -> None:
    with pytest.raises(ConformanceError, match=r"first_id.*after 0 event"):
        check_close(subject_of(one_that(close=lambda self: setattr(self, "n_sent", self.first_id))))


class LeakingSource(GoodSource):
    def __init__(self, box: Letterbox) -> None:
        super().__init__(box)
        self.leak()


class ThreadLeaking(LeakingSource):
    ended_now = threading.Event()

    def leak(self) -> None:
        threading.Thread(target=self.ended_now.wait, name="left behind", daemon=True).start()


class FileLeaking(LeakingSource):
    left: list[Any] = []  # noqa: RUF012

    def leak(self) -> None:
        self.left.append(open("/dev/null"))  # noqa: SIM115, PTH123


@pytest.mark.usefixtures("_impatient")
def test_what_a_source_does_not_give_back_is_named() -> None:
    with pytest.raises(ConformanceError, match="thread left behind"):
        check_leaks(subject_of(ThreadLeaking))
    ThreadLeaking.ended_now.set()
    with pytest.raises(ConformanceError, match="file /dev/null"):
        check_leaks(subject_of(FileLeaking))
    for file in FileLeaking.left:
        file.close()


def test_a_source_that_goes_on_too_far_is_found() -> None:
    def note(self: GoodSource, address: Address, state: StreamState) -> None:
        self.first_id = state.next_id + (state.next_id > 1)

    with pytest.raises(ConformanceError, match="goes on from message 2 and leaves 1 out"):
        check_resuming(subject_of(one_that(note=note)))


def test_a_source_that_does_not_survive_or_does_not_count_bad_messages_is_found() -> None:
    def take(self: GoodSource) -> bytes | None:
        letter = GoodSource.take(self)
        self.spoilt = getattr(self, "spoilt", False) or letter == b"bad"
        return b"" if letter is not None and self.spoilt else letter

    for source, said in ((one_that(take=take), "0 of 3 good"), (one_that(counters=lambda _: {}), "counts no hos")):
        subject = subject_of(source)
        feed_hostile = subject.feed.__self__.feed_hostile  # type: ignore[attr-defined]
        with pytest.raises(ConformanceError, match=said):
            check_hostile(subject, feed_hostile)


def test_what_the_test_itself_does_wrong_is_its_own_error() -> None:
    box = Letterbox()
    with pytest.raises(OSError, match="gone"):
        check_events(Subject(make_source=lambda: GoodSource(box), feed=_raising))


def test_the_suite_does_not_need_pytest() -> None:
    script = "import sys, beamstream.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
