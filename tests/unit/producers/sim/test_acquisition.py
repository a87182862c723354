"""The states of the detector: a walk over the whole table, and what a series counts."""

from __future__ import annotations

from itertools import product

import pytest

from beamstream_producers.sim.acquisition import (
    TRANSITIONS,
    Acquisition,
    Command,
    CommandRefusedError,
    Event,
    State,
    follow,
)

STEPS = [*Command, *Event]
IDLE = Acquisition(state=State.IDLE)


@pytest.mark.parametrize(("state", "step"), list(product(State, STEPS)), ids=lambda x: x.value.replace(" ", "-"))
def test_every_step_either_leads_somewhere_or_is_refused_with_what_is_possible(state, step):
    if (state, step) in TRANSITIONS:
        assert follow(state, step) is TRANSITIONS[state, step]
        return
    with pytest.raises(CommandRefusedError, match=f"state '{state.value}'") as caught:
        follow(state, step)
    possible = str(caught.value).split("possible now: ")[1]
    allowed = sorted(command.value for command in Command if (state, command) in TRANSITIONS)
    assert possible == (", ".join(allowed) or "nothing, wait")


@pytest.mark.parametrize("state", list(State))
def test_idle_can_be_reached_from_every_state(state):
    reached = {state}
    while True:
        more = {target for (origin, _), target in TRANSITIONS.items() if origin in reached} - reached
        if not more:
            break
        reached |= more
    assert State.IDLE in reached


def armed(n_images, n_triggers, *, external=False):
    return IDLE.arm(n_images, n_triggers, external=external).step(Event.CONFIGURED)


def test_arming_counts_series_on():
    first = IDLE.arm(1, 1, external=False)
    assert first.state is State.CONFIGURE
    second = first.step(Event.CONFIGURED).step(Command.DISARM).arm(1, 1, external=False)
    assert [first.last_series_id, second.last_series_id] == [1, 2]
    assert second.series.series_id == 2


def test_a_series_takes_its_images_trigger_by_trigger_and_then_is_over():
    acquisition = armed(3, 2)
    assert acquisition.series.n_total == 6
    acquisition, first = acquisition.trigger(by_command=True)
    assert acquisition.state is State.ACQUIRE
    acquisition = acquisition.trigger_done()
    assert acquisition.state is State.READY
    acquisition, second = acquisition.trigger(by_command=True)
    assert [*first, *second] == [0, 1, 2, 3, 4, 5]
    acquisition = acquisition.trigger_done()
    assert (acquisition.state, acquisition.series) == (State.IDLE, None)


def test_triggers_from_outside_and_by_command_do_not_mix():
    with pytest.raises(CommandRefusedError, match="outside"):
        armed(1, 1, external=True).trigger(by_command=True)
    with pytest.raises(CommandRefusedError):
        armed(1, 1).trigger(by_command=False)
    acquisition, images = armed(2, 1, external=True).trigger(by_command=False)
    assert (acquisition.state, list(images)) == (State.ACQUIRE, [0, 1])


@pytest.mark.parametrize("command", [Command.DISARM, Command.CANCEL, Command.ABORT, Command.INITIALIZE])
@pytest.mark.parametrize("triggered", [False, True])
def test_a_series_can_be_left_at_any_time(command, triggered):
    acquisition = armed(5, 1)
    if triggered:
        acquisition, _ = acquisition.trigger(by_command=True)
    assert acquisition.step(command).series is None
