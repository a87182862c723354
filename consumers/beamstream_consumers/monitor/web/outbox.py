"""Texts on their way to one viewer: one place for each type and data source, and the newest there; the log in order.

So a slow viewer misses numbers that are past, and what waits for it is bounded whatever it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beamstream_consumers.monitor.board import MAX_LOG

from .messages import text_of

MAX_ANSWERS = 64
"""Answers to what a page asked that wait for it; older ones go first, for it has asked anew since."""

EVERY_S: Mapping[str, float] = {"numbers": 0.4, "histograms": 0.9}
"""How often these go out at most [s]: a little more often than they are promised, so that none waits for the next."""

Slot = tuple[str, str]
"""Type and data source."""


class Outbox:
    """What waits for one viewer."""

    def __init__(self) -> None:
        self._slots: dict[Slot, str] = {}
        self._sent_s: dict[Slot, float] = {}
        self._log: deque[Mapping[str, Any]] = deque(maxlen=MAX_LOG)
        self._answers: deque[str] = deque(maxlen=MAX_ANSWERS)

    def put(self, slot: Slot, text: str) -> None:
        """Let this be the newest of its type and source."""
        self._slots[slot] = text

    def log(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries of the log."""
        self._log.extend(entries)

    def answer(self, text: str) -> None:
        """Answer something that was asked."""
        self._answers.append(text)

    def take(self, now_s: float) -> Iterator[str]:
        """Take what is due, one after the other; what is put meanwhile comes with it."""
        while self._answers:
            yield self._answers.popleft()
        for slot in list(self._slots):
            if self._due_s(slot) <= now_s:
                self._sent_s[slot] = now_s
                yield self._slots.pop(slot)
        if self._log:
            entries = list(self._log)
            self._log.clear()
            yield text_of({"t": "log", "entries": entries})

    def due_s(self) -> float | None:
        """Return when something is due; None while nothing waits."""
        if self._answers or self._log:
            return 0.0
        return min(map(self._due_s, self._slots), default=None)

    def _due_s(self, slot: Slot) -> float:
        return self._sent_s.get(slot, -1e9) + EVERY_S.get(slot[0], 0.0)
