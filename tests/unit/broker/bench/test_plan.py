"""What is measured when it is asked for."""

from __future__ import annotations

import pytest

from beamstream.errors import UsageError
from beamstream.payloads import INLINE_BYTES
from beamstream_broker.bench.errors import NothingToMeasureError
from beamstream_broker.bench.plan import SIZES, make_plan


def test_every_size_goes_through_the_tiers_that_take_it() -> None:
    plan = make_plan()
    assert plan.sizes == list(SIZES)
    tiers = {size: [case.tier for case in plan.cases if case.message_bytes == size] for size in SIZES}
    assert tiers[200] == ["inline", "inline"]
    assert tiers[1 << 20] == ["memory", "memory", "shared", "shared", "disk"]
    assert {case.n_groups for case in plan.cases if case.tier == "memory"} == {(1,), (3,)}
    assert {case.n_groups for case in plan.cases if case.tier == "disk"} == {(1, 3)}
    assert plan.n_readers == 3


def test_what_is_asked_for_beats_the_hurry() -> None:
    plan = make_plan(quick=True, sizes=[5000, 5000, 10_000_000], n_groups=[2], n_members=2, tiers=["memory", "inline"])
    assert [(case.tier, case.message_bytes, case.n_readers) for case in plan.cases] == [
        ("inline", 5000, 4),
        ("memory", 10_000_000, 4),
    ]
    assert plan.seconds == make_plan(quick=True).seconds < make_plan().seconds
    assert make_plan(quick=True, seconds=7.0).seconds == 7.0


def test_sizes_that_no_tier_takes_are_an_error_that_says_so() -> None:
    with pytest.raises(NothingToMeasureError, match=f"up to {INLINE_BYTES} bytes they travel inline"):
        make_plan(tiers=["memory"], sizes=[INLINE_BYTES])
    assert make_plan(tiers=["memory"], sizes=[INLINE_BYTES + 1]).cases


def test_more_readers_than_a_machine_has_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="13 groups of 5 would be 65 processes"):
        make_plan(n_groups=[1, 13], n_members=5)
