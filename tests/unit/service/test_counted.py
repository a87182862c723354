"""What a reducer has counted, against a set of places."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from beamstream.service.reducing import counted as module
from beamstream.service.reducing.counted import OPEN_S, START, Counted, place_of


def entry(place: int) -> str:
    return f"{place * 10}-0"


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(0, 80))
def test_each_place_is_counted_once_in_whatever_order_and_over_restarts(places: list[int], restart_at: int) -> None:
    counted, known = Counted(), set[int]()
    for number, place in enumerate(places):
        if number == restart_at:
            told = msgpack.unpackb(msgpack.packb(counted.as_metadata(0.0)))
            counted = Counted.from_metadata(told, 0.0)
        assert counted.add(place, entry(place), 0.0) is (place not in known)
        known.add(place)
        assert {one for one in range(1, 42) if one in counted} == known
        assert counted.n == len(known)
        behind = place_of(counted.resume_behind(0.0))
        missing = set(range(1, 42)) - known
        assert place_of(START) <= behind < place_of(entry(min(missing)))


def test_a_restart_does_not_go_back_for_what_does_not_come_but_counts_it_if_it_does() -> None:
    counted = Counted()
    for place in (1, 2, 5, 6):
        counted.add(place, entry(place), now_s=100.0)
    assert counted.resume_behind(100.0) == entry(2)
    late = 100.0 + OPEN_S
    assert counted.resume_behind(late) == entry(6)
    again = Counted.from_metadata(counted.as_metadata(late), 7.0)
    assert again.resume_behind(7.0) == entry(6)
    assert again.add(3, entry(3), 7.0)
    assert not again.add(3, entry(3), 7.0)


def test_one_that_begins_in_the_middle_misses_nothing_before() -> None:
    counted = Counted(from_start=False)
    counted.add(5000, entry(5000), 0.0)
    assert counted.resume_behind(0.0) == entry(5000)
    assert counted.holes == []
    assert 4999 in counted, "what was there before it began is none of its business"


def test_holes_are_bounded_and_what_is_given_up_is_said(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_HOLES", 10)
    counted = Counted()
    for place in range(2, 62, 2):
        counted.add(place, entry(place), 0.0)
    assert len(counted.holes) == 10
    assert (counted.n, counted.n_given_up) == (30, 20)
    assert not counted.add(1, entry(1), 0.0)
    assert counted.add(59, entry(59), 0.0)
