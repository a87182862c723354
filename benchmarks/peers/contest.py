"""Who is measured how, in which order, and what the medians are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import Found, PeerError, measure
from peer import Peer, Run
from program import ProgramError

FIRST_FACTOR = 1.25
"""Where the search for a rate without loss begins: so much above what arrived when the producer was not held back."""

STEP = 0.85
"""By what each further try is slower."""

MARGIN = 0.9
"""How much below the rate that was found the rounds are run, which are not all alike."""

MAX_TRIES = 8
"""After how many tries the search ends: at 0.4 of what arrived."""


@dataclass(slots=True, kw_only=True)
class Contest:
    """One peer with a number of readers, as fast as it goes or at a rate.

    Attributes
    ----------
    peer, python, run
        What `harness.measure` takes.
    rate_hz : float
        What the producer is held to [messages/s]; 0: as fast as it goes.
    rounds : list of Found
        What was found in each round.
    error : str, optional
        Why it was given up.
    """

    peer: Peer
    python: str
    run: Run
    rate_hz: float = 0.0
    rounds: list[Found] = field(default_factory=list)
    error: str | None = None

    @property
    def name(self) -> str:
        """The peer's name, and the rate if there is one."""
        return f"{self.peer.name}, {self.rate_hz:.0f} Hz" if self.rate_hz else self.peer.name

    def measure(self, n_warm: int, n_messages: int) -> None:
        """Do one round, unless one has failed before."""
        if self.error is not None:
            return
        try:
            self.rounds.append(
                measure(self.peer, self.python, self.run, n_warm=n_warm, n_messages=n_messages, rate_hz=self.rate_hz)
            )
        except (PeerError, ProgramError) as error:
            self.error = str(error)

    def median(self, figure: Callable[[Found], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(map(figure, self.rounds))

    def beside(self, reference: Contest | None) -> float | None:
        """Return the median of its rate by the reference's in the same round."""
        if reference is None or reference.error is not None or self.error is not None:
            return None
        return statistics.median(
            one.gb_per_s / other.gb_per_s for one, other in zip(self.rounds, reference.rounds, strict=True)
        )

    def as_json(self, reference: Contest | None) -> dict[str, Any]:
        """Return the medians and every round."""
        found: dict[str, Any] = {
            "peer": self.peer.name,
            "n_readers": self.run.n_readers,
            "rate_hz": self.rate_hz,
            "gives_up": self.peer.gives_up,
            "error": self.error,
            "rounds": [one.as_json() for one in self.rounds],
        }
        if self.rounds and self.error is None:
            found |= {
                "gb_per_s": self.median(lambda one: one.gb_per_s),
                "of_reference": self.beside(reference),
                "n_missing": self.median(lambda one: one.n_missing),
                "missing_share": self.median(lambda one: one.missing_share),
                "n_wrong": self.median(lambda one: one.n_wrong),
                "cpu_s_per_gb": self.median(lambda one: one.cpu_s_per_gb),
                "versions": self.rounds[0].versions,
            }
        return found


def find_rate(contest: Contest, n_warm: int, n_messages: int) -> Iterator[tuple[float, int]]:
    """Yield rates that are tried [messages/s] and how many messages were missing, down to one without a loss.

    Nothing is yielded where a producer that is not held back loses nothing.

    Raises
    ------
    PeerError
        If a run fails.
    """

    def run(rate_hz: float) -> Found:
        return measure(contest.peer, contest.python, contest.run, n_warm=n_warm, n_messages=n_messages, rate_hz=rate_hz)

    pilot = run(0.0)
    if not pilot.n_missing:
        return
    rate_hz = FIRST_FACTOR * pilot.gb_per_s * 1e9 / contest.run.size_bytes
    for _ in range(MAX_TRIES if rate_hz else 0):
        found = run(rate_hz)
        yield rate_hz, found.n_missing
        if not found.n_missing:
            return
        rate_hz *= STEP


def references(contests: Sequence[Contest]) -> dict[int, Contest]:
    """Return the contest that others are set beside, ours, by number of readers."""
    found: dict[int, Contest] = {}
    for contest in contests:
        if contest.peer.name.startswith("beamstream"):
            found.setdefault(contest.run.n_readers, contest)
    return found
