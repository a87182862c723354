"""Which messages of a stream a reducer has counted, so that each is counted once, however often it is delivered. Pure.

A message's place is its number among the messages of the stream in the order of the index. Places have no holes,
whatever ids are missing, declined or late. So what was counted is nearly always «all up to here»; a message that
failed, was skipped, or is still under way leaves a hole behind that is kept until it comes, if it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_HOLES = 1000
"""Holes that are remembered; with more of them the oldest are given up: what belongs there is not counted any more."""

OPEN_S = 300.0
"""How long what belongs into a hole is expected [s]: the group's delays and the member timeout add up to less. After
that it is counted if it comes, but a restart does not go back for it."""

START = "0-0"
"""Behind this entry stands everything."""


@dataclass(slots=True, kw_only=True)
class Hole:
    """Places that were not counted, though later ones were.

    Attributes
    ----------
    first, last : int
        The places, both included.
    behind : str
        An entry before them.
    since_s : float
        When it was seen first, by the caller's clock [s].
    """

    first: int
    last: int
    behind: str
    since_s: float


class Counted:
    """The places of the messages that were counted.

    Parameters
    ----------
    from_start : bool
        Whether all messages belong to it; otherwise those from the first one on that comes.
    """

    def __init__(self, *, from_start: bool = True) -> None:
        self._begun = from_start
        self.up_to = 0
        self.entry_id = START
        self.holes: list[Hole] = []
        self.n = 0
        self.n_given_up = 0

    def __contains__(self, place: int) -> bool:
        return self._begun and place <= self.up_to and not any(hole.first <= place <= hole.last for hole in self.holes)

    def add(self, place: int, entry_id: str, now_s: float) -> bool:
        """Note that a message is counted; False where it was already."""
        if place in self:
            return False
        if not self._begun:
            self._begun, self.up_to = True, place - 1
        self.n += 1
        if place <= self.up_to:
            self._fill(place)
            return True
        if place > self.up_to + 1:
            self.holes.append(Hole(first=self.up_to + 1, last=place - 1, behind=self.entry_id, since_s=now_s))
            self._give_up()
        self.up_to, self.entry_id = place, entry_id
        return True

    def _fill(self, place: int) -> None:
        hole = next(hole for hole in self.holes if hole.first <= place <= hole.last)
        after = Hole(first=place + 1, last=hole.last, behind=hole.behind, since_s=hole.since_s)
        hole.last = place - 1
        self.holes = [
            one for old in self.holes for one in ((old, after) if old is hole else (old,)) if one.first <= one.last
        ]
        self._give_up()

    def _give_up(self) -> None:
        for hole in self.holes[:-MAX_HOLES]:
            self.n_given_up += hole.last - hole.first + 1
        self.holes = self.holes[-MAX_HOLES:]

    def resume_behind(self, now_s: float) -> str:
        """Return the entry behind which everything stands that may still come."""
        waited_for = [hole for hole in self.holes if now_s - hole.since_s < OPEN_S]
        return waited_for[0].behind if waited_for else self.entry_id

    def as_metadata(self, now_s: float) -> dict[str, Any]:
        """Return it as the metadata of a message can carry it."""
        return {
            "up_to": self.up_to,
            "entry": self.entry_id,
            "resume": self.resume_behind(now_s),
            "holes": [[hole.first, hole.last, hole.behind] for hole in self.holes],
            "n": self.n,
            "n_given_up": self.n_given_up,
        }

    @classmethod
    def from_metadata(cls, told: Mapping[str, Any], now_s: float, *, from_start: bool = True) -> Counted:
        """Read it again.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is none.
        """
        counted = cls(from_start=from_start)
        counted.up_to, counted.entry_id = int(told["up_to"]), str(told["entry"])
        counted.n, counted.n_given_up = int(told["n"]), int(told["n_given_up"])
        resume = place_of(str(told["resume"]))
        counted.holes = [
            Hole(
                first=int(first),
                last=int(last),
                behind=str(behind),
                since_s=now_s if place_of(str(behind)) >= resume else now_s - OPEN_S,
            )
            for first, last, behind in told["holes"]
        ]
        counted._begun = from_start or counted.up_to > 0
        return counted


def place_of(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers that can be compared."""
    position, _, number = entry_id.partition("-")
    return int(position), int(number or 0)
