"""What the log says of changes between two looks at the numbers."""

from __future__ import annotations

from typing import Any

from beamstream_consumers.monitor.watching.changes import Changes
from beamstream_consumers.monitor.watching.numbers import unknown_buffer, waiting_numbers

GROUP = {
    "source": "bt/det", "stream": "run", "name": "peaks", "members": 1, "rate_hz": 1.0, "lag_messages": 0, "lag_s": 0.0,
    "redelivered": 0, "dead": 0, "skipped": 0, "required": False,
}  # fmt: skip


def numbers(time_s: float = 0.0, *, buffer: dict[str, Any] | None = None, groups: Any = (), **source: Any) -> Any:
    of_source = {**waiting_numbers(), "stream": "run", "life": "live", "age_s": 0.1, **source}
    of_buffer = {**unknown_buffer(""), "reachable": True, **(buffer or {})}
    return {"time_s": time_s, "sources": {"bt/det": of_source}, "groups": list(groups), "buffer": of_buffer}


def texts(*looks: Any) -> list[str]:
    changes = Changes()
    return [text for look in looks for _, text in changes.between(look)]


def test_nothing_is_said_of_what_stays_as_it_is() -> None:
    assert texts(numbers(groups=[GROUP]), numbers(1.0, groups=[GROUP])) == []


def test_a_source_that_falls_silent_and_comes_back_is_said() -> None:
    silent = {"life": "silent", "age_s": 12.0}
    assert texts(numbers(), numbers(**silent), numbers(**silent), numbers()) == [
        "bt/det/run is silent, its newest message is 12 s old",
        "bt/det/run is live again",
    ]


def test_a_server_that_is_lost_is_said_once_and_why_and_that_it_is_back() -> None:
    lost = {"reachable": False, "flaw": "nobody answers"}
    told = texts(numbers(), numbers(buffer=lost), numbers(buffer=lost), numbers())
    assert told == ["the server is lost: nobody answers", "the server answers again"]


def test_drops_are_said_at_once_then_every_ten_seconds_and_anew_for_another_run() -> None:
    looks = [numbers(float(second), n_dropped=second) for second in range(1, 13)]
    told = texts(*looks, numbers(13.0, n_dropped=0, stream="next"), numbers(14.0, n_dropped=2, stream="next"))
    assert [text.partition(": ")[2].split()[0] for text in told] == ["1", "11", "2"]


def test_a_group_that_appears_lags_catches_up_and_vanishes_is_said() -> None:
    behind = {**GROUP, "lag_messages": 70, "lag_s": 7.0}
    gone = {**GROUP, "members": 0}
    told = texts(numbers(), numbers(groups=[GROUP]), numbers(groups=[behind]), numbers(groups=[behind]),
                 numbers(groups=[GROUP]), numbers(groups=[gone]))  # fmt: skip
    assert told == [
        "group peaks reads bt/det/run",
        "group peaks lags behind bt/det/run: 70 messages, 7 s",
        "group peaks keeps up with bt/det/run again",
        "group peaks of bt/det/run has no members",
    ]


def test_spilling_and_a_disk_that_takes_nothing_are_said() -> None:
    told = texts(numbers(), numbers(buffer={"spilling": True}), numbers(buffer={"n_spilled": 9}),
                 numbers(buffer={"flaw": "full"}), numbers())  # fmt: skip
    assert told == [
        "messages are moved to disk",
        "no more messages are moved to disk",
        "nothing goes to disk: full",
        "the disk takes data again",
    ]
