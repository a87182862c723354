"""Which message of a series suffers what: a plan over the sequence of messages, that a seed decides.

Pure: it is given the messages of each series in their order and answers with steps; whoever sends does them. What it
decides depends on the seed, on the number of the series within the run and on the place of the image within the series,
not on times, and each fault has dice of its own: adding one changes nothing about what another one hits.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from .kinds import Faults

Item = TypeVar("Item")
"""A message; the plan does not look into it."""

MAX_LATE = 8
"""Most images that come before one that should have been first, or before a late header."""

MAX_LEFTOVERS = 5
"""Most images of an aborted series that come behind the next header."""

MAX_STALL_S = 1.0
"""Longest time in which nothing leaves [s]: long enough to be seen, short enough for a series to end."""

ABSURD = 2**40
"""What is added to some wrong image numbers; no series is that long."""

ABSURD_SHARE = 0.2


class Extra(Enum):
    """Why a message leaves although it is none of the series' own, in their order."""

    NO = "it is one"
    COPY = "it has left, or will leave, once more"
    STALE = "its series is over"


@dataclass(frozen=True, slots=True)
class Send(Generic[Item]):
    """Hand a message to the network."""

    item: Item
    extra: Extra = Extra.NO


@dataclass(frozen=True, slots=True)
class Drop(Generic[Item]):
    """Count an image as dropped by the detector."""

    item: Item


@dataclass(frozen=True, slots=True)
class Stall:
    """Let nothing leave for a while [s]."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class CutShort:
    """Take no more images in this series."""


@dataclass(frozen=True, slots=True)
class Vanish(Generic[Item]):
    """Close the sockets and come back as if just started; `lost` will never leave."""

    lost: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class SecondClient:
    """Let another client join, or leave."""

    is_there: bool


Step = Send[Item] | Drop[Item] | Stall | CutShort | Vanish[Item] | SecondClient


class FaultPlan(Generic[Item]):
    """Decides, series by series; see the module's head.

    Parameters
    ----------
    faults : Faults
        How likely each fault is.
    seed : int
        What happens follows from it.
    garbage : sequence of messages
        What is sent between the good ones.
    """

    def __init__(self, faults: Faults, seed: int = 0, garbage: Sequence[Item] = ()) -> None:
        self._faults = faults
        self._is_quiet = not faults.any
        self._seed = seed
        self._garbage = garbage
        self._n_series = 0
        self._leftovers: list[Item] = []
        self._reset(0)

    def _reset(self, n_images: int) -> None:
        self._dice: defaultdict[str, random.Random] = defaultdict(random.Random)
        self._n_images = n_images
        self._place = -1
        self._start: Item | None = None
        self._withheld: Item | None = None
        self._held: list[tuple[int, Item]] = []
        self._left: list[Item] = []
        self._keeps = self._n_left_over = 0

    # --- the messages of a series, in their order

    def begin(self, start: Item, n_images: int) -> list[Step[Item]]:
        """Begin a series of `n_images` and return what becomes of its start, and of what an earlier one left over."""
        self._n_series += 1
        self._reset(n_images)
        self._start = start
        self._restart_at = self._somewhere("restart")
        self._abort_at = self._somewhere("abort")
        self._header_again_at = self._somewhere("header_again")
        self._n_ends = 0 if self._hits("no_end") else 2 if self._hits("two_ends") else 1
        self._header_at = self._roll("late_header").randint(1, MAX_LATE) if self._hits("late_header") else 0
        self._client_from, self._client_until = self._span("second_client")
        steps: list[Step[Item]] = [SecondClient(True)] if self._client_from == -1 else []
        if self._header_at:
            self._withheld = start
        else:
            steps.append(Send(start))
        steps += [Send(item, Extra.STALE) for item in self._leftovers]
        self._leftovers = []
        return steps

    def number(self, image_id: int) -> int:
        """Return the number that an image is sent with; asked for once before each `image`."""
        if self._is_quiet or not self._hits("renumber"):
            return image_id
        absurd = self._roll("absurd").random() < ABSURD_SHARE
        return self._n_images + image_id + (ABSURD if absurd else 0)

    def image(self, item: Item) -> list[Step[Item]]:
        """Return what becomes of the next image, and of those that were held back until now."""
        if self._is_quiet:
            return [Send(item)]  # a detector without faults should cost nothing but sending
        self._place += 1
        if self._place == self._restart_at:
            lost = (item, *(one for _, one in self._held), *self._left)
            self._held, self._left, self._withheld = [], [], None
            return [Vanish(lost)]
        if self._place == self._abort_at:
            self._keeps = self._roll("leftovers").randint(1, MAX_LEFTOVERS)
        steps: list[Step[Item]] = [SecondClient(True)] if self._place == self._client_from else []
        steps += self._leave_or_keep(item)
        if self._place == self._header_again_at and self._start is not None:
            steps.append(Send(self._start, Extra.COPY))
        if self._place == self._client_until:
            steps.append(SecondClient(False))
        return steps

    def end(self, end: Item) -> list[Step[Item]]:
        """Return what becomes of the end of the series, and of what is still held back."""
        steps: list[Step[Item]] = self._late_header(now=True)
        steps += [Send(end)] * min(1, self._n_ends)
        steps += [Send(item) for _, item in self._held]
        steps += [Send(end, Extra.COPY)] * (self._n_ends - 1)
        self._held = []
        self._leftovers = self._left
        self._left = []
        return steps

    @property
    def n_left_over(self) -> int:
        """How many images wait for the header of the next series."""
        return len(self._leftovers)

    def close(self) -> list[Item]:
        """Return the images that will never leave, as no series comes any more."""
        lost, self._leftovers = self._leftovers, []
        return lost

    # --- what may happen to an image

    def _leave_or_keep(self, item: Item) -> list[Step[Item]]:
        if self._keeps:
            self._left.append(item)
            self._keeps -= 1
            return [CutShort()] if not self._keeps else []
        dropped, held, twice = self._hits("drop"), self._hits("reorder"), self._hits("duplicate")
        steps: list[Step[Item]] = []
        if dropped:
            steps.append(Drop(item))
        elif held:
            self._held.append((self._place + self._roll("lag").randint(1, MAX_LATE), item))
        else:
            steps.append(Send(item))
            steps += [Send(item, Extra.COPY)] if twice else []
        steps += self._now_due()
        steps += self._late_header(now=self._place + 1 >= self._header_at)
        if self._hits("garbage") and self._garbage:
            steps.append(Send(self._roll("which").choice(self._garbage)))
        if self._hits("stall"):
            steps.append(Stall(self._roll("duration").uniform(0, MAX_STALL_S)))
        return steps

    def _now_due(self) -> list[Step[Item]]:
        due = [item for place, item in self._held if place <= self._place]
        self._held = [(place, item) for place, item in self._held if place > self._place]
        return [Send(item) for item in due]

    def _late_header(self, *, now: bool) -> list[Step[Item]]:
        if self._withheld is None or not now:
            return []
        start, self._withheld = self._withheld, None
        return [Send(start)]

    # --- dice

    def _roll(self, name: str) -> random.Random:
        """Return the dice of one decision in this series."""
        if name not in self._dice:
            self._dice[name].seed(f"{self._seed} {self._n_series} {name}")
        return self._dice[name]

    def _hits(self, fault: str) -> bool:
        share: float = getattr(self._faults, fault)
        return share > 0 and self._roll(fault).random() < share

    def _somewhere(self, fault: str) -> int:
        """Return at which image a fault of a series happens, -2 for none."""
        if not self._hits(fault) or self._n_images < 1:
            return -2
        return self._roll(fault).randrange(self._n_images)

    def _span(self, fault: str) -> tuple[int, int]:
        """Return from which image to which one a fault lasts; -1 is the header, -2 none."""
        if not self._hits(fault):
            return -2, -2
        begin = self._roll(fault).randint(-1, self._n_images - 1)
        return begin, begin + self._roll(fault).randint(1, max(1, self._n_images))
