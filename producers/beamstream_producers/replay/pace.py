"""When each message of a replay is due: pure arithmetic on an absolute schedule, so that nothing adds up."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import PaceError

MAX_PAUSE_S = 3600.0
"""Longest pause between two messages that is kept [s]: more is a clock that was set, or a night without beam."""

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_TIMES = re.compile(_NUMBER + r"\s*[x×]", re.IGNORECASE)
_RATE = re.compile(_NUMBER + r"\s*(k?)hz", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a run is replayed.

    Attributes
    ----------
    factor : float or None
        How many times faster than it was recorded.
    rate_hz : float or None
        Messages per second; None with `factor` None: as fast as they are taken.
    """

    factor: float | None = None
    rate_hz: float | None = None

    @property
    def is_max(self) -> bool:
        """Whether nothing is waited for."""
        return self.factor is None and self.rate_hz is None


def parse_pace(text: str) -> Pace:
    """Read ``recorded``, ``max``, ``2x`` or ``500Hz``.

    Raises
    ------
    PaceError
        If it is none of these.

    Examples
    --------
    >>> parse_pace("2x"), parse_pace("0.5kHz")
    (Pace(factor=2.0, rate_hz=None), Pace(factor=None, rate_hz=500.0))
    """
    word = text.strip().lower()
    if word == "recorded":
        return Pace(factor=1.0)
    if word == "max":
        return Pace()
    if (match := _TIMES.fullmatch(word)) and _is_usable(float(match[1])):
        return Pace(factor=float(match[1]))
    if (match := _RATE.fullmatch(word)) and _is_usable(rate_hz := float(match[1]) * (1000 if match[2] else 1)):
        return Pace(rate_hz=rate_hz)
    raise PaceError(text)


def _is_usable(number: float) -> bool:
    return math.isfinite(number) and 1e-6 <= number <= 1e9


class Schedule:
    """Says when the next message is due, after the first one.

    Parameters
    ----------
    pace : Pace
        How fast.
    frame_time_s : float, optional
        Time between two messages [s], to be used in place of their timestamps.

    Attributes
    ----------
    n_pauses_cut : int
        Pauses that were longer than `MAX_PAUSE_S`.
    """

    def __init__(self, pace: Pace, frame_time_s: float | None = None) -> None:
        self._pace = pace
        self._step_ns = _step_ns(pace, frame_time_s)
        self._n = 0
        self._latest_ns: int | None = None
        self._passed_ns = 0
        self.n_pauses_cut = 0

    def due_ns(self, timestamp_ns: int) -> int:
        """Return when the next message is due, which was recorded at this time [ns after the first one].

        A message whose time lies before that of the one before it (it came late) is due together with it.
        """
        number, self._n = self._n, self._n + 1
        if self._pace.is_max:
            return 0
        if self._step_ns is not None:
            return round(number * self._step_ns)
        if self._latest_ns is not None and timestamp_ns > self._latest_ns:
            passed_ns = timestamp_ns - self._latest_ns
            if passed_ns > MAX_PAUSE_S * 1e9:
                self.n_pauses_cut += 1
                passed_ns = round(MAX_PAUSE_S * 1e9)
            self._passed_ns += passed_ns
        if self._latest_ns is None or timestamp_ns > self._latest_ns:
            self._latest_ns = timestamp_ns
        return round(self._passed_ns / (self._pace.factor or 1.0))


def _step_ns(pace: Pace, frame_time_s: float | None) -> float | None:
    """Return the time between two messages where it is always the same [ns]."""
    if pace.rate_hz is not None:
        return 1e9 / pace.rate_hz
    if frame_time_s is not None:
        return frame_time_s * 1e9 / (pace.factor or 1.0)
    return None
