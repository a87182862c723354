"""How often, and after which delays, a group delivers a message again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from beamstream.errors import UsageError

MAX_ATTEMPTS = 5
"""Default number of deliveries after which a group gives a message up."""

DELAYS_S = (1.0, 5.0, 30.0)
"""Default delays after the first, the second and every further failed delivery [s]: a hiccup is over after the first, a
restart of what the handler needs after the second, and 5 deliveries give up after about a minute."""

MAX_DELAY_S = 7 * 24 * 3600.0
"""Longest delay [s]: a week; beyond that somebody meant milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """What a group does with messages that were given back.

    Parameters
    ----------
    max_attempts : int
        How often a message is delivered before it goes to the dead letters; from 1.
    delays_s : sequence of float
        How long it waits after its first, second, … failed delivery [s]; the last one stands for all further ones.

    Raises
    ------
    UsageError
        If these cannot be meant.
    """

    max_attempts: int = MAX_ATTEMPTS
    delays_s: Sequence[float] = DELAYS_S

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.max_attempts < 1:
            raise UsageError(f"{self.max_attempts} attempts cannot be: a message is delivered once at least")
        if not self.delays_s or not all(0 <= delay_s <= MAX_DELAY_S for delay_s in self.delays_s):
            raise UsageError(
                f"delays of {list(self.delays_s)} s cannot be: one or more from 0 to {MAX_DELAY_S:g} s are needed"
            )

    @property
    def delays_text(self) -> str:
        """The delays as the group's hash keeps them: whole milliseconds with commas between."""
        return ",".join(str(round(delay_s * 1000)) for delay_s in self.delays_s)

    @classmethod
    def read(cls, fields: Mapping[str, bytes]) -> Self:
        """Read it from a group's hash; what is not there is the default."""
        attempts, delays = fields.get("max_attempts"), fields.get("delays_ms")
        return cls(
            max_attempts=int(attempts) if attempts else MAX_ATTEMPTS,
            delays_s=tuple(int(delay) / 1000 for delay in delays.split(b",")) if delays else DELAYS_S,
        )


def parse_delays(text: str) -> tuple[float, ...]:
    """Read delays as the command line has them [s].

    Raises
    ------
    UsageError
        If they are no numbers with commas between.

    Examples
    --------
    >>> parse_delays("1,5,30")
    (1.0, 5.0, 30.0)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} are no delays; write seconds with commas between, e.g. 1,5,30") from error
