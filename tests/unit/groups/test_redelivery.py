"""Attempts and delays of a group, and how fast it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream.errors import UsageError
from beamstream.groups.listing import GroupInfo
from beamstream.groups.rates import group_rates
from beamstream.groups.redelivery import DELAYS_S, MAX_ATTEMPTS, MAX_DELAY_S, Redelivery, parse_delays


@given(st.integers(1, 100), st.lists(st.integers(0, int(MAX_DELAY_S) * 1000), min_size=1, max_size=5))
def test_what_a_groups_hash_keeps_is_read_as_it_was_written(max_attempts: int, delays_ms: list[int]) -> None:
    one = Redelivery(max_attempts=max_attempts, delays_s=tuple(delay / 1000 for delay in delays_ms))
    fields = {"max_attempts": b"%d" % one.max_attempts, "delays_ms": one.delays_text.encode()}
    assert Redelivery.read(fields) == one


def test_a_group_that_says_nothing_has_the_defaults() -> None:
    assert Redelivery.read({}) == Redelivery(max_attempts=MAX_ATTEMPTS, delays_s=DELAYS_S)


@pytest.mark.parametrize("delays_s", [(), (-1,), (1, float("nan")), (MAX_DELAY_S + 1,)])
def test_delays_that_cannot_be_meant_are_misuse(delays_s: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="delays"):
        Redelivery(delays_s=delays_s)


def test_no_attempts_at_all_are_misuse() -> None:
    with pytest.raises(UsageError, match="0 attempts"):
        Redelivery(max_attempts=0)


def test_delays_are_numbers_with_commas_between() -> None:
    assert parse_delays("0.5,10") == (0.5, 10.0)
    with pytest.raises(UsageError, match="write seconds"):
        parse_delays("1;5")


LOOK = GroupInfo(
    name="g",
    required=False,
    n_members=1,
    n_pending=0,
    n_delayed=0,
    position=100,
    n_delivered=100,
    lag_messages=500,
    lag_bytes=0,
    lag_s=0.0,
    oldest_s=0.0,
    n_redelivered=0,
    n_skipped=0,
    n_dead=0,
    n_passed_over=0,
    n_expired=0,
    max_attempts=5,
    delays_s=(1.0,),
    report=None,
)


def test_a_group_that_is_faster_than_the_stream_catches_up() -> None:
    rates = group_rates(LOOK, replace(LOOK, n_delivered=500, lag_messages=300), 2.0)
    assert (rates.delivered_hz, rates.arrived_hz, rates.catch_up_s) == (200, 100, 3)


def test_a_group_that_is_slower_never_catches_up_and_one_that_is_not_behind_has() -> None:
    assert group_rates(LOOK, replace(LOOK, n_delivered=150, lag_messages=550), 1.0).catch_up_s is None
    level = replace(LOOK, lag_messages=0)
    assert group_rates(level, level, 1.0).catch_up_s == 0
