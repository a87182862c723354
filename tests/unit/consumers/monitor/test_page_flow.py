"""Credits, pace, limits, and what waits for a viewer: all on a clock of the test's own."""

from __future__ import annotations

import json

from beamstream_consumers.monitor.board import MAX_LOG, Board
from beamstream_consumers.monitor.testing import SyntheticDetector
from beamstream_consumers.monitor.web.limits import Bucket, Pacer
from beamstream_consumers.monitor.web.outbox import MAX_ANSWERS, Outbox
from beamstream_consumers.monitor.web.panes import Pane, Shown
from beamstream_consumers.monitor.web.recent import Recent, key_of
from beamstream_consumers.monitor.web.wishes import View

VIEW = View(
    pane=0, source="bt/det", kind="frame", rect=(0, 0, 10, 10), canvas=(10, 10), masked=True, pool="max", full=False,
    roi=None, at=None,
)  # fmt: skip
EVERY_S = 0.1


def shown(number: int) -> Shown:
    return Shown(number, ("bt/det", "frame", "run_1", number))


def test_two_pictures_are_on_their_way_and_no_third() -> None:
    pane = Pane(VIEW)
    for seq in (1, 2):
        assert pane.has_credit
        pane.sent(shown(seq), ("key", seq), seq, now_s=0.0, every_s=EVERY_S)
    assert not pane.has_credit
    assert pane.acknowledge(1)
    assert pane.has_credit


def test_a_credit_comes_back_once() -> None:
    pane = Pane(VIEW)
    pane.sent(shown(1), "key", 1, now_s=0.0, every_s=EVERY_S)
    assert [pane.acknowledge(seq) for seq in (1, 1, 99)] == [True, False, False]
    for seq in (2, 3):
        pane.sent(shown(seq), seq, seq, now_s=0.0, every_s=EVERY_S)
    assert not pane.has_credit


def test_the_oldest_picture_that_was_not_drawn_is_known() -> None:
    pane = Pane(VIEW)
    assert pane.oldest_sent_s is None
    pane.sent(shown(1), 1, 1, now_s=5.0, every_s=EVERY_S)
    pane.sent(shown(2), 2, 2, now_s=6.0, every_s=EVERY_S)
    assert pane.oldest_sent_s == 5.0
    pane.acknowledge(1)
    assert pane.oldest_sent_s == 6.0
    pane.forgive()
    assert pane.oldest_sent_s is None
    assert pane.has_credit


def test_ten_pictures_a_second_come_on_the_average_although_each_is_a_little_early_or_late() -> None:
    pane, n_sent, last_s = Pane(VIEW), 0, 0.0
    for n in range(100):
        now_s = n * EVERY_S + (0.01 if n % 2 else -0.01)
        if pane.due_s(n) <= now_s + 0.021:
            pane.sent(shown(n), n, n, now_s, EVERY_S)
            pane.acknowledge(n)
            n_sent, last_s = n_sent + 1, now_s
    assert n_sent == 100
    assert pane.due_s(101) >= last_s


def test_a_source_that_is_faster_than_the_page_is_held_to_its_pace() -> None:
    pane, n_sent = Pane(VIEW), 0
    for n in range(1000):
        if pane.due_s(n) <= n * 0.01:
            pane.sent(shown(n), n, n, n * 0.01, EVERY_S)
            pane.acknowledge(n)
            n_sent += 1
    assert 100 <= n_sent <= 102


def test_another_view_of_the_same_picture_comes_sooner() -> None:
    pane = Pane(VIEW)
    pane.sent(shown(1), "view 1", 1, now_s=0.0, every_s=EVERY_S)
    assert pane.has("view 1")
    assert not pane.has("view 2")
    assert pane.due_s(1) < pane.due_s(2)


def test_of_numbers_the_newest_goes_out_and_not_too_often() -> None:
    outbox = Outbox()
    slot = ("numbers", "")
    outbox.put(slot, "1")
    outbox.put(slot, "2")
    assert list(outbox.take(0.0)) == ["2"]
    outbox.put(slot, "3")
    assert list(outbox.take(0.1)) == []
    due_s = outbox.due_s()
    assert due_s is not None
    assert 0.1 < due_s <= 0.5
    outbox.put(slot, "4")
    assert list(outbox.take(due_s)) == ["4"]
    assert outbox.due_s() is None


def test_sources_have_places_of_their_own_and_other_texts_go_at_once() -> None:
    outbox = Outbox()
    for source in ("a", "b"):
        outbox.put(("run", source), source)
    assert list(outbox.take(0.0)) == ["a", "b"]
    outbox.put(("run", "a"), "again")
    assert list(outbox.take(0.0)) == ["again"]


def test_the_log_stays_in_order_and_bounded_and_so_do_answers() -> None:
    outbox = Outbox()
    for n in range(MAX_LOG + 50):
        outbox.log([{"text": n}])
    for n in range(MAX_ANSWERS + 5):
        outbox.answer(str(n))
    *answers, log = outbox.take(0.0)
    assert [entry["text"] for entry in json.loads(log)["entries"]] == list(range(50, MAX_LOG + 50))
    assert answers == [str(n) for n in range(5, MAX_ANSWERS + 5)]


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(rate=50.0, burst=200.0)
    assert sum(bucket.take(1000.0) for _ in range(500)) == 200
    assert sum(bucket.take(1001.0) for _ in range(500)) == 50
    assert bucket.take(1000.0) is False  # a clock that goes back gives nothing


def test_what_all_are_sent_stays_below_its_rate() -> None:
    pacer = Pacer(8e6)  # a MB per second
    pacer.sent(500_000, now_s=10.0)
    pacer.sent(500_000, now_s=10.0)
    assert pacer.free_s() == 11.0
    pacer.sent(500_000, now_s=20.0)
    assert pacer.free_s() == 20.5
    unlimited = Pacer(None)
    unlimited.sent(10**12, now_s=10.0)
    assert unlimited.free_s() == 0.0


def test_recent_pictures_are_kept_as_long_as_there_is_room() -> None:
    detector = SyntheticDetector(Board(), shape=(100, 100))
    detector.send(6)
    pictures = [detector.picture(detector.source, "frame", detector.stream, n) for n in range(1, 7)]
    recent = Recent(max_bytes=int(3.5 * 2.4 * 20_000))
    for one in pictures[:3]:
        recent.keep(key_of(one), one)
    assert recent.find(key_of(pictures[0])) is pictures[0]
    recent.keep(key_of(pictures[3]), pictures[3])
    assert recent.find(key_of(pictures[1])) is None  # the one that was looked at longest ago
    assert recent.find(key_of(pictures[0])) is pictures[0]
    for _ in range(5):
        recent.keep(key_of(pictures[5]), pictures[5])
    assert recent.kept_bytes <= 3.5 * 2.4 * 20_000
    tiny = Recent(max_bytes=1)
    tiny.keep(key_of(pictures[0]), pictures[0])
    assert tiny.find(key_of(pictures[0])) is pictures[0]
