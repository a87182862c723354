"""Places in a stream as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from beamstream.errors import UsageError
from beamstream.groups.position import Target, before_message, parse_target

NOW_NS = 1_800_000_000_123_456_789


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("start", Target()),
        ("newest", Target(newest=True)),
        ("42", Target(message_id=42)),
        ("-10min", Target(time_ns=NOW_NS - 600 * 10**9)),
        ("-90s", Target(time_ns=NOW_NS - 90 * 10**9)),
        ("-250ms", Target(time_ns=NOW_NS - 250 * 10**6)),
        ("-2h", Target(time_ns=NOW_NS - 7200 * 10**9)),
        ("-1.5d", Target(time_ns=NOW_NS - 129600 * 10**9)),
        ("-99999999d", Target(time_ns=0)),
        ("2026-05-17T14:30:00.000001Z", Target(time_ns=1_779_028_200_000_001_000)),
        ("2026-05-17T16:30:00+02:00", Target(time_ns=1_779_028_200_000_000_000)),
    ],
)
def test_a_place_is_an_end_an_id_a_time_or_how_long_ago(text: str, target: Target) -> None:
    assert parse_target(text, NOW_NS) == target


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 5, 17, 14, 30).astimezone()
    assert parse_target("2026-05-17T14:30:00", NOW_NS).time_ns == int(local.timestamp()) * 10**9


@pytest.mark.parametrize("text", ["", "0", "-3", "+10min", "10min", "-10", "-10 min", "soon", "2026-13-01", "1e3", "٣"])
def test_what_is_no_place_is_misuse(text: str) -> None:
    with pytest.raises(UsageError, match="no place in a stream"):
        parse_target(text, NOW_NS)


def test_behind_the_place_before_a_message_come_the_message_and_what_was_late_after_it() -> None:
    assert before_message(42) == f"41-{2**64 - 1}"
