"""The flow of one pane's pictures: its credits, its pace, and what it was sent last; no I/O, no clock of its own."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from .recent import Key
from .wishes import View

CREDITS = 2
"""Pictures that may be on their way to a pane, or wait there to be drawn."""

VIEW_PACE = 3
"""How many times as often a pane gets pictures while its view changes, as it does otherwise."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Which picture a pane was sent: the picture's number, and what it is of."""

    number: int
    key: Key


class Pane:
    """One pane of one viewer.

    Attributes
    ----------
    view : View
        What it wants to show; its `at` says which message, where it does not follow the newest.
    settled : View or None
        The view for which it has all that there is, where it does not follow.
    shown : Shown or None
        What it was sent last.
    steps : int
        How many messages further it is to go, not yet done.
    gone : Key or None
        The message that it wants and that there is not.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.settled: View | None = None
        self.shown: Shown | None = None
        self.steps = 0
        self.gone: Key | None = None
        self._sent_s: dict[int, float] = {}
        self._last: Hashable = None
        self._due_s = 0.0
        self._due_for_view_s = 0.0

    @property
    def wanted(self) -> Key | None:
        """The message that it stays at; None if it follows the newest."""
        at = self.view.at
        return None if at is None else (self.view.source, self.view.kind, *at)

    @property
    def has_credit(self) -> bool:
        """Whether a picture may be sent."""
        return len(self._sent_s) < CREDITS

    @property
    def oldest_sent_s(self) -> float | None:
        """When the oldest picture was sent that is not acknowledged; None if all are."""
        return min(self._sent_s.values(), default=None)

    def has(self, key: Hashable) -> bool:
        """Whether a picture was the last one that was sent, in this very view."""
        return key == self._last

    def due_s(self, picture_number: int) -> float:
        """Return from when on a picture may be sent: sooner, if only the view of it is new."""
        same = self.shown is not None and self.shown.number == picture_number
        return self._due_for_view_s if same else self._due_s

    def sent(self, shown: Shown, key: Hashable, seq: int, now_s: float, every_s: float) -> None:
        """Take a credit for a picture; the next one may follow after `every_s`, on the average."""
        self.shown = shown
        self._last = key
        self._sent_s[seq] = now_s
        self._due_s = max(self._due_s, now_s - every_s) + every_s
        self._due_for_view_s = now_s + every_s / VIEW_PACE

    def acknowledge(self, seq: int) -> bool:
        """Give a picture's credit back; False if it was back already."""
        return self._sent_s.pop(seq, None) is not None

    def forgive(self) -> None:
        """Give all credits back: what is on its way will not be drawn, and is to be sent again."""
        if self._sent_s:
            self._last = self.settled = None
        self._sent_s.clear()
