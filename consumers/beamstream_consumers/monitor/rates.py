"""Rates of what grows, and what a stream is called whose newest frame is so old; pure, clocks are passed in."""

from __future__ import annotations

from collections import deque

RATE_WINDOW_S = 3.0
"""Over which time rates are taken [s]: short enough to see a detector stop, long enough for 1 Hz."""

DELAYED_AFTER_S = 2.0
"""Age of the newest frame from which an open stream is called delayed [s]."""

SILENT_AFTER_S = 10.0
"""Age of the newest frame from which an open stream is called silent [s]."""


class RateMeter:
    """Rates of two growing counts over a sliding window."""

    def __init__(self, window_s: float = RATE_WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, int, int]] = deque()

    def measure(self, now_s: float, n_messages: int, n_bytes: int) -> tuple[float, float]:
        """Take the counts of now and return both rates [1/s]; 0 while there is nothing to compare with."""
        self._samples.append((now_s, n_messages, n_bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - self._window_s:
            self._samples.popleft()
        first_s, first_messages, first_bytes = self._samples[0]
        span_s = now_s - first_s
        if span_s <= 0:
            return 0.0, 0.0
        return (n_messages - first_messages) / span_s, (n_bytes - first_bytes) / span_s


def life_of(age_s: float) -> str:
    """Return what an open stream is called whose newest frame is `age_s` old [s]."""
    if age_s < DELAYED_AFTER_S:
        return "live"
    return "delayed" if age_s < SILENT_AFTER_S else "silent"
