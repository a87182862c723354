"""What may leave memory, given where the groups are."""

from __future__ import annotations

import pytest

from beamstream_broker.position import (
    END,
    START,
    GroupPosition,
    Place,
    acknowledged_up_to,
    find_releasable,
    format_place,
    parse_place,
    place_before,
)


def group(name: str, done: Place, *, required: bool = False) -> GroupPosition:
    return GroupPosition(name=name, required=required, done=done)


@pytest.mark.parametrize("place", [(0, 0), (42, 0), (42, 7), (2**53, 2**64 - 1)])
def test_a_place_is_read_as_it_is_written(place: Place) -> None:
    assert parse_place(format_place(place)) == place
    assert parse_place(format_place(place).encode()) == place


@pytest.mark.parametrize(
    ("place", "before"), [((42, 3), (42, 2)), ((42, 0), (41, 2**64 - 1)), ((1, 0), (0, 2**64 - 1)), ((0, 0), (0, 0))]
)
def test_there_is_no_place_between_one_and_the_one_before(place: Place, before: Place) -> None:
    assert place_before(place) == before


def test_a_pending_message_is_not_acknowledged_nor_is_what_comes_after_it() -> None:
    assert acknowledged_up_to((50, 0), None) == (50, 0)
    assert (41, 9) < acknowledged_up_to((50, 0), (42, 0)) < (42, 0)


def test_a_stream_that_nobody_reads_is_unread_but_held_by_nobody() -> None:
    releasable = find_releasable([])
    assert releasable.read == START
    assert releasable.unread == END
    assert releasable.holding == ()


def test_the_slowest_group_says_what_is_read_and_the_slowest_required_one_what_is_held() -> None:
    releasable = find_releasable(
        [group("bin", (10, 0)), group("write", (40, 0), required=True), group("keep", (60, 0), required=True)]
    )
    assert releasable.read == (10, 0)
    assert releasable.unread == (40, 0)
    assert releasable.holding == ("write",)


def test_a_required_group_that_has_read_nothing_holds_everything() -> None:
    releasable = find_releasable([group("write", START, required=True), group("bin", (90, 0))])
    assert releasable.unread == START
    assert releasable.read == START
