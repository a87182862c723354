"""The journal counts what leaves, and its sums add up."""

from __future__ import annotations

import json

import pytest

from beamstream_producers.sim.faults import Journal
from beamstream_producers.sim.faults.journal import Left
from beamstream_producers.sim.faults.plan import Extra
from beamstream_producers.sim.faults.report import describe_last, describe_total, list_faults


def image(image_id, series=1, **fields):
    return Left(kind="image", series=series, series_id=70 + series, image_id=image_id, **fields)


@pytest.fixture
def journal():
    """Two series of five images: a header that comes late, then leftovers."""
    journal = Journal()
    journal.begin(71, 5)
    journal.count("taken", 5)
    for left in (
        image(1),
        Left(kind="start", series=1, series_id=71),
        image(0),
        image(0, extra=Extra.COPY, stolen=True),
        Left(kind="garbage", series=1, series_id=71, stolen=True),
        image(8),
        Left(kind="end", series=1, series_id=71),
    ):
        journal.leave(left)
    journal.drop("image", Extra.NO)
    journal.drop("image", Extra.COPY)
    journal.count("held")
    journal.stall(0.25)
    journal.begin(72, 5)
    journal.leave(Left(kind="start", series=2, series_id=72))
    journal.leave(image(4, extra=Extra.STALE))
    journal.end()
    return journal


def test_each_message_is_counted_by_what_it_was(journal):
    first = journal.reports[0].as_dict()
    assert {name: count for name, count in first.items() if count} == {
        "series": 71,
        "taken": 5,
        "sent": 3,
        "dropped": 1,
        "held": 1,
        "messages": 7,
        "starts": 1,
        "ends": 1,
        "duplicated": 1,
        "garbage": 1,
        "stolen": 2,
        "stolen_images": 1,
        "before_header": 1,
        "out_of_order": 2,
        "renumbered": 1,
        "stalled_s": 0.25,
    }
    assert journal.reports[1].as_dict()["stale"] == 1


def test_the_sums_add_up(journal):
    total = journal.total()
    assert total["taken"] == total["sent"] + total["stale"] + total["dropped"]
    parts = ("starts", "ends", "sent", "duplicated", "stale", "garbage")
    assert total["messages"] == sum(total[part] for part in parts)
    assert total["series"] == 2


def test_what_is_held_and_never_leaves_is_dropped_in_the_total(journal):
    journal.drop("image", Extra.NO)
    assert journal.total()["dropped"] == 2


def test_reports_are_lines_of_json_or_of_words(journal):
    assert json.loads(describe_last(journal, as_json=True))["series"] == 72
    assert json.loads(describe_total(journal, as_json=True))["total"]["messages"] == 9
    assert describe_last(journal, as_json=False).startswith("series 72: 0 taken, 0 sent, 0 dropped, 2 messages")
    assert "out of order" in describe_total(journal, as_json=False)
    assert "late-header" in list_faults()


def test_before_anything_was_taken_there_is_nothing_to_report():
    assert describe_last(Journal(), as_json=True) == "{}"
    assert describe_last(Journal(), as_json=False) == "no series was taken"
