"""What becomes of the messages of a series: each fault by itself, then all of them against what must always be so."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream_producers.sim.faults import FaultPlan, Faults
from beamstream_producers.sim.faults.kinds import FAULTS
from beamstream_producers.sim.faults.plan import (
    ABSURD,
    MAX_LEFTOVERS,
    MAX_STALL_S,
    CutShort,
    Drop,
    Extra,
    SecondClient,
    Send,
    Stall,
    Vanish,
)

N_IMAGES = 40


def play(plan, n_images=N_IMAGES, series=1):
    """Return the steps of a series, with images by their number; it ends where the plan cuts it."""
    steps = plan.begin(f"start {series}", n_images)
    for image_id in range(n_images):
        new = plan.image((series, plan.number(image_id)))
        steps += new
        if any(isinstance(step, Vanish) for step in new):
            return steps
        if any(isinstance(step, CutShort) for step in new):
            break
    return steps + plan.end(f"end {series}")


def sent(steps, *, extra=None):
    return [step.item for step in steps if isinstance(step, Send) and extra in (None, step.extra)]


def images(items):
    return [item[1] for item in items if isinstance(item, tuple)]


WHOLE = ["start 1", *((1, image_id) for image_id in range(N_IMAGES)), "end 1"]


def test_without_faults_everything_leaves_in_order():
    assert sent(play(FaultPlan(Faults()))) == WHOLE


@pytest.mark.parametrize("name", FAULTS)
def test_the_same_seed_does_the_same_and_another_one_something_else(name):
    faults = Faults.parse(f"{name}=0.5")
    runs = []
    for seed in (3, 3, 4):
        plan = FaultPlan(faults, seed, ["garbage"])
        runs.append([play(plan, series=series) for series in range(1, 9)])
    assert runs[0] == runs[1] != runs[2]


def test_a_fault_that_is_added_changes_nothing_about_what_another_one_hits():
    def dropped(faults):
        plan = FaultPlan(faults, 5, ["garbage"])
        return [step.item for series in (1, 2) for step in play(plan, series=series) if isinstance(step, Drop)]

    assert dropped(Faults(drop=0.3)) == dropped(Faults(drop=0.3, reorder=0.5, garbage=0.5, two_ends=1, late_header=1))


def test_a_dropped_image_never_leaves():
    steps = play(FaultPlan(Faults(drop=0.5), 1))
    dropped = [step.item for step in steps if isinstance(step, Drop)]
    assert dropped
    assert sorted(images(sent(steps)) + images(dropped)) == [*range(N_IMAGES)]


def test_a_duplicate_is_marked_as_one():
    steps = play(FaultPlan(Faults(duplicate=0.5), 1))
    copies = images(sent(steps, extra=Extra.COPY))
    assert copies
    assert images(sent(steps, extra=Extra.NO)) == [*range(N_IMAGES)]


def test_reordered_images_all_leave_some_of_them_behind_the_end():
    for seed in range(50):
        items = sent(play(FaultPlan(Faults(reorder=0.2), seed)))
        assert sorted(images(items)) == [*range(N_IMAGES)]
        if items[-1] != "end 1":
            return
    pytest.fail("no image ever came behind the end")


def test_wrong_numbers_are_beyond_the_promised_ones_and_some_of_them_absurd():
    numbers = images(sent(play(FaultPlan(Faults(renumber=1), 1))))
    assert {number % ABSURD for number in numbers} == {*range(N_IMAGES, 2 * N_IMAGES)}
    assert 0 < sum(number > ABSURD for number in numbers) < N_IMAGES


def test_an_aborted_series_ends_early_and_its_leftovers_come_behind_the_next_header():
    plan = FaultPlan(Faults(abort=1), 2)
    first, second = play(plan), play(plan, series=2)
    assert CutShort() in first
    assert sent(first)[-1] == "end 1"
    stale = sent(second, extra=Extra.STALE)
    assert 1 <= len(stale) <= MAX_LEFTOVERS
    assert sent(second)[: len(stale) + 1] == ["start 2", *stale]
    assert images(sent(first) + stale) == [*range(len(sent(first)) - 2 + len(stale))]


def test_what_no_series_comes_for_is_given_back_at_the_close():
    plan = FaultPlan(Faults(abort=1), 2)
    play(plan)
    n_left_over = plan.n_left_over
    assert len(plan.close()) == n_left_over > 0
    assert plan.close() == []


def test_a_restart_cuts_a_series_without_an_end_and_loses_what_was_held_back():
    for seed in range(20):
        steps = play(FaultPlan(Faults(restart=1, reorder=0.5), seed))
        (vanish,) = [step for step in steps if isinstance(step, Vanish)]
        assert "end 1" not in sent(steps)
        taken = images(sent(steps)) + images(vanish.lost)
        assert sorted(taken) == [*range(len(taken))]


def test_a_late_header_comes_behind_some_images_and_never_not_at_all():
    behind = {sent(play(FaultPlan(Faults(late_header=1), seed))).index("start 1") for seed in range(40)}
    assert behind == {*range(1, 9)}
    assert sent(play(FaultPlan(Faults(late_header=1)), 0)) == ["start 1", "end 1"]


def test_headers_and_ends_come_again_or_not_at_all():
    assert sent(play(FaultPlan(Faults(header_again=1)))).count("start 1") == 2
    assert sent(play(FaultPlan(Faults(two_ends=1)))).count("end 1") == 2
    assert sent(play(FaultPlan(Faults(no_end=1, two_ends=1)))).count("end 1") == 0


def test_garbage_and_stalls_come_between_the_images():
    steps = play(FaultPlan(Faults(garbage=0.5, stall=0.5), 1, ["this", "that"]))
    assert {"this", "that"} < set(map(str, sent(steps)))
    assert [item for item in sent(steps) if item not in ("this", "that")] == WHOLE
    stalls = [step.duration_s for step in steps if isinstance(step, Stall)]
    assert stalls
    assert all(0 <= duration_s <= MAX_STALL_S for duration_s in stalls)


def test_a_second_client_joins_before_it_leaves_and_may_be_there_for_the_header():
    first_steps = set()
    for seed in range(100):
        steps = play(FaultPlan(Faults(second_client=1), seed))
        coming = [step.is_there for step in steps if isinstance(step, SecondClient)]
        assert coming in ([True], [True, False])
        first_steps.add(type(steps[0]))
    assert first_steps == {Send, SecondClient}


shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@settings(max_examples=200)
@given(st.builds(Faults, **{name.replace("-", "_"): shares for name in FAULTS}), st.integers(0, 2**32))
def test_every_image_that_is_taken_leaves_once_or_is_dropped_whatever_goes_wrong(faults, seed):
    plan = FaultPlan(faults, seed, ["garbage"])
    steps = [step for series in range(1, 6) for step in play(plan, 12, series)]
    left = Counter(item for item in sent(steps, extra=Extra.NO) if isinstance(item, tuple))
    left += Counter(item for item in sent(steps, extra=Extra.STALE))
    dropped = Counter(step.item for step in steps if isinstance(step, Drop))
    dropped += Counter(item for step in steps if isinstance(step, Vanish) for item in step.lost)
    dropped += Counter(plan.close())
    assert set((left + dropped).values()) <= {1}
    numbers = {(series, image_id % ABSURD % 12) for series, image_id in left + dropped}
    for series in range(1, 6):
        taken = sorted(image_id for one, image_id in numbers if one == series)
        assert taken == [*range(len(taken))]
    # what is a copy has an original
    assert {item for item in sent(steps, extra=Extra.COPY) if isinstance(item, tuple)} <= set(left)
