"""What the detector may be told when: its states, the commands, and the table of transitions between them.

Pure: nothing here sends or waits. An acquisition counts its images; whoever drives it (the sender thread)
reports them.

A trigger mode decides who begins an exposure. `ints`: each `trigger` command starts `nimages` images. `exts`:
triggers come from outside; in the simulator they come by themselves as soon as the detector is armed, and the
command is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from beamstream.errors import UsageError


class State(StrEnum):
    """States of the detector, by the names that `status/state` answers."""

    NA = "na"
    INITIALIZE = "initialize"
    IDLE = "idle"
    CONFIGURE = "configure"
    READY = "ready"
    ACQUIRE = "acquire"
    ERROR = "error"


class Command(StrEnum):
    """Commands of the REST interface, by the last part of their path."""

    INITIALIZE = "initialize"
    ARM = "arm"
    TRIGGER = "trigger"
    DISARM = "disarm"
    CANCEL = "cancel"
    ABORT = "abort"


class Event(StrEnum):
    """What happens without a command."""

    INITIALIZED = "initialized"
    CONFIGURED = "configured"
    EXTERNAL_TRIGGER = "external trigger"
    TRIGGER_DONE = "trigger done"
    SERIES_DONE = "series done"
    FAILED = "failed"


Step = Command | Event

_IN_SERIES = (State.READY, State.ACQUIRE)
_ENDING = (Command.DISARM, Command.CANCEL, Command.ABORT)
_RESETTABLE = (State.NA, State.IDLE, State.READY, State.ACQUIRE, State.ERROR)

_TABLE: dict[tuple[State, Step], State] = {
    (State.INITIALIZE, Event.INITIALIZED): State.IDLE,
    (State.IDLE, Command.ARM): State.CONFIGURE,
    (State.CONFIGURE, Event.CONFIGURED): State.READY,
    (State.READY, Command.TRIGGER): State.ACQUIRE,
    (State.READY, Event.EXTERNAL_TRIGGER): State.ACQUIRE,
    (State.ACQUIRE, Event.TRIGGER_DONE): State.READY,
    (State.ACQUIRE, Event.SERIES_DONE): State.IDLE,
    # ending what has not begun is harmless, and clients do it to be sure
    **{(state, command): State.IDLE for state in (State.IDLE, *_IN_SERIES) for command in _ENDING},
    # the way out of everything but itself and an arm that is under way
    **{(state, Command.INITIALIZE): State.INITIALIZE for state in _RESETTABLE},
    **{(state, Event.FAILED): State.ERROR for state in (State.INITIALIZE, State.CONFIGURE, State.ACQUIRE)},
}

TRANSITIONS: Mapping[tuple[State, Step], State] = MappingProxyType(_TABLE)
"""Where each step leads from each state; what is not here is refused."""


class CommandRefusedError(UsageError):
    """A command that the detector cannot follow in its state."""

    def __init__(self, command: str, state: State, reason: str = "") -> None:
        self.command = command
        self.state = state
        possible = sorted(step.value for (origin, step) in TRANSITIONS if origin is state and isinstance(step, Command))
        super().__init__(
            f"{command} is refused in state {state.value!r}{': ' + reason if reason else ''}; "
            f"possible now: {', '.join(possible) or 'nothing, wait'}"
        )


def follow(state: State, step: Step) -> State:
    """Return the state that `step` leads to.

    Raises
    ------
    CommandRefusedError
        If it leads nowhere from here.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise CommandRefusedError(step.value, state) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One acquisition, from arm to its end.

    Attributes
    ----------
    series_id : int
        Grows by one with every arm; what arm answers and every message carries.
    n_images : int
        Images per trigger.
    n_triggers : int
        Triggers until it ends by itself.
    n_triggered : int
        Triggers that came.
    """

    series_id: int
    n_images: int
    n_triggers: int
    external: bool
    n_triggered: int = 0

    @property
    def n_total(self) -> int:
        """Images until it ends by itself."""
        return self.n_images * self.n_triggers

    @property
    def exhausted(self) -> bool:
        """No trigger is left."""
        return self.n_triggered >= self.n_triggers


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """The detector as a value: its state, the series in it, and the number of the last one."""

    state: State = State.NA
    series: Series | None = None
    last_series_id: int = 0

    def step(self, step: Step) -> Acquisition:
        """Return the acquisition after a step other than arm and trigger; in idle there is no series.

        Raises
        ------
        CommandRefusedError
            If it leads nowhere from here.
        """
        state = follow(self.state, step)
        keeps = state in {State.CONFIGURE, State.READY, State.ACQUIRE}
        return replace(self, state=state, series=self.series if keeps else None)

    def arm(self, n_images: int, n_triggers: int, *, external: bool) -> Acquisition:
        """Return the acquisition with a new series, still to be configured."""
        series_id = self.last_series_id + 1
        series = Series(series_id=series_id, n_images=n_images, n_triggers=n_triggers, external=external)
        return replace(self, state=follow(self.state, Command.ARM), series=series, last_series_id=series_id)

    def trigger(self, *, by_command: bool) -> tuple[Acquisition, range]:
        """Begin the exposures of one trigger.

        Returns
        -------
        (Acquisition, range)
            The acquisition, and the numbers of the images that this trigger takes.

        Raises
        ------
        CommandRefusedError
            If it is not ready, or triggers come from the other side.
        """
        state = follow(self.state, Command.TRIGGER if by_command else Event.EXTERNAL_TRIGGER)
        if self.series is None or self.series.external == by_command:
            raise CommandRefusedError(Command.TRIGGER.value, self.state, "triggers come from outside")
        first = self.series.n_triggered * self.series.n_images
        series = replace(self.series, n_triggered=self.series.n_triggered + 1)
        return replace(self, state=state, series=series), range(first, first + series.n_images)

    def trigger_done(self) -> Acquisition:
        """Return the acquisition after the last image of a trigger: ready for the next one, else idle."""
        exhausted = self.series is not None and self.series.exhausted
        return self.step(Event.SERIES_DONE if exhausted else Event.TRIGGER_DONE)
