"""When messages of a replay are due."""

from __future__ import annotations

import pytest

from beamstream_producers.replay.errors import PaceError
from beamstream_producers.replay.header import frame_time_s
from beamstream_producers.replay.pace import MAX_PAUSE_S, Pace, Schedule, parse_pace

T0 = 1_763_700_000_000_000_000
MS = 1_000_000


def due(pace: str, times_ms: list[float], step_s: float | None = None) -> list[float]:
    """Return when messages recorded at these times are due [ms]."""
    schedule = Schedule(parse_pace(pace), step_s)
    return [schedule.due_ns(T0 + round(time * MS)) / MS for time in times_ms]


@pytest.mark.parametrize(
    ("text", "pace"),
    [
        ("recorded", Pace(factor=1.0)),
        ("max", Pace()),
        ("2x", Pace(factor=2.0)),
        ("0.5X", Pace(factor=0.5)),
        ("10×", Pace(factor=10.0)),
        ("500Hz", Pace(rate_hz=500.0)),
        ("1.5 khz", Pace(rate_hz=1500.0)),
    ],
)
def test_a_pace_is_read(text: str, pace: Pace) -> None:
    assert parse_pace(text) == pace


@pytest.mark.parametrize("text", ["", "fast", "0x", "-1x", "x", "0Hz", "500", "nanx", "infHz", "1e400x", "2x2x"])
def test_what_is_no_pace_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(PaceError, match="recorded, max, a multiple like 2x"):
        parse_pace(text)


def test_the_recorded_times_are_kept_and_the_first_message_is_due_at_once() -> None:
    assert due("recorded", [50, 60, 75, 175]) == [0, 10, 25, 125]
    assert due("2x", [50, 60, 75, 175]) == [0, 5, 12.5, 62.5]
    assert due("max", [50, 60, 75, 175]) == [0, 0, 0, 0]


def test_a_rate_does_not_ask_when_messages_came() -> None:
    assert due("500Hz", [0, 0, 900, 5]) == [0, 2, 4, 6]


def test_nothing_adds_up_over_a_million_messages() -> None:
    schedule = Schedule(Pace(rate_hz=3000.0))
    last = [schedule.due_ns(0) for _ in range(1_000_001)][-1]
    assert last == round(1_000_000 / 3000 * 1e9)


def test_a_late_message_is_due_together_with_the_one_before_it_and_shifts_nothing() -> None:
    assert due("recorded", [0, 10, 20, 5, 30]) == [0, 10, 20, 20, 30]


def test_a_clock_that_was_set_does_not_stop_a_replay_for_years() -> None:
    schedule = Schedule(parse_pace("recorded"))
    times = [schedule.due_ns(time) for time in (0, T0, T0 + 10 * MS)]
    assert times == [0, MAX_PAUSE_S * 1e9, MAX_PAUSE_S * 1e9 + 10 * MS]
    assert schedule.n_pauses_cut == 1


def test_a_frame_time_stands_in_for_times_that_say_nothing() -> None:
    assert due("recorded", [7, 7, 7], step_s=0.004) == [0, 4, 8]
    assert due("2x", [7, 7, 7], step_s=0.004) == [0, 2, 4]


@pytest.mark.parametrize("value", [None, "0.01", 0.0, -1.0, float("nan"), float("inf"), 1e9, True])
def test_a_frame_time_that_cannot_be_is_none(value: object) -> None:
    assert frame_time_s({"entry": {"instrument": {"detector": {"frame_time": value}}}}) is None


def test_the_frame_time_is_found_by_class_whatever_groups_are_called() -> None:
    detector = {"@NX_class": "NXdetector", "frame_time": 0.01}
    assert frame_time_s({"entry": {"beamline": {"@NX_class": "NXinstrument", "eiger": detector}}}) == 0.01
    assert frame_time_s({"entry": 5}) is None
    assert frame_time_s({}) is None
