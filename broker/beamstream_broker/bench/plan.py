"""What is measured, in which order, for how long. Pure.

Messages of up to `INLINE_BYTES` travel in the index (tier inline), larger ones never do; so each size has its tiers.
One size after the other, with its ceilings beside it: what is compared with one another is measured within seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from beamstream.errors import UsageError
from beamstream.payloads import INLINE_BYTES

from .errors import NothingToMeasureError
from .findings import Tier, is_small

TIERS: tuple[Tier, ...] = get_args(Tier)

SIZES = (200, 100_000, 1 << 20, 9_000_000)
"""A reading, a compressed image of an EIGER2 500k, what brokers are compared at, 4M pixels as they are [bytes]."""

N_GROUPS = (1, 3)
SECONDS = 2.0

QUICK_SIZES = (200, 1 << 20)
QUICK_N_GROUPS = (1,)
QUICK_SECONDS = 0.6

MAX_MEMBERS = 64
"""Most reading processes at a time: beyond it, the machine starts processes and measures nothing."""

CEILING_SHARE, MAX_CEILING_S = 0.35, 1.0
"""How long one ceiling is measured, as a share of how long messages are sent for one figure, and at most [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One tier with messages of one size.

    Attributes
    ----------
    tier : str
        Where the payloads lie.
    message_bytes : int
        Size of a message [bytes].
    n_groups : tuple of int
        How many groups; a case on disk is written once and read by each of these, one after the other.
    n_members : int
        Members of each group.
    """

    tier: Tier
    message_bytes: int
    n_groups: tuple[int, ...]
    n_members: int

    @property
    def n_readers(self) -> int:
        """Most processes that read at a time."""
        return max(self.n_groups) * self.n_members


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All cases, and how each is measured.

    Attributes
    ----------
    cases : tuple of Case
        Ordered by size.
    seconds : float
        How long messages are sent for one figure [s].
    rate_hz : float or None
        The pace at which latency is measured [messages per second]; None: half of what was found to go.
    """

    cases: tuple[Case, ...]
    seconds: float
    rate_hz: float | None

    @property
    def sizes(self) -> list[int]:
        """Sizes of the messages, smallest first [bytes]."""
        return sorted({case.message_bytes for case in self.cases})

    @property
    def ceiling_s(self) -> float:
        """How long a ceiling is measured [s]."""
        return min(MAX_CEILING_S, self.seconds * CEILING_SHARE)

    @property
    def n_readers(self) -> int:
        """Most processes that read at a time."""
        return max(case.n_readers for case in self.cases)


def make_plan(
    *,
    tiers: Sequence[Tier] = (),
    sizes: Sequence[int] = (),
    n_groups: Sequence[int] = (),
    n_members: int = 1,
    seconds: float | None = None,
    rate_hz: float | None = None,
    quick: bool = False,
) -> Plan:
    """Return what is measured; what is not said is as usual, or as it is for whoever is in a hurry.

    Raises
    ------
    NothingToMeasureError
        If no tier takes any of the sizes.
    UsageError
        If there would be too many readers.
    """
    tiers = tiers or TIERS
    sizes = sorted(set(sizes or (QUICK_SIZES if quick else SIZES)))
    groups = tuple(sorted(set(n_groups or (QUICK_N_GROUPS if quick else N_GROUPS))))
    cases = tuple(_cases(tiers, sizes, groups, n_members))
    if not cases:
        raise NothingToMeasureError(tiers, sizes, INLINE_BYTES)
    if groups[-1] * n_members > MAX_MEMBERS:
        raise UsageError(
            f"{groups[-1]} groups of {n_members} would be {groups[-1] * n_members} processes that read; "
            f"{MAX_MEMBERS} at most"
        )
    return Plan(
        cases=cases, seconds=seconds if seconds is not None else QUICK_SECONDS if quick else SECONDS, rate_hz=rate_hz
    )


def _cases(tiers: Sequence[Tier], sizes: Sequence[int], groups: tuple[int, ...], n_members: int) -> Iterator[Case]:
    for size in sizes:
        for tier in TIERS:
            if tier not in tiers or (tier == "inline") is not is_small(size):
                continue
            for n_groups in [groups] if tier == "disk" else [(n,) for n in groups]:
                yield Case(tier=tier, message_bytes=size, n_groups=n_groups, n_members=n_members)
