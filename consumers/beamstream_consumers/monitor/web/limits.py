"""Limits on what one viewer, and all of them together, may use; pure arithmetic on the caller's clock."""

from __future__ import annotations

from dataclasses import dataclass

REQUESTS_PER_S = 100.0
"""Messages that a page may send on the average [1/s]: a view for each of its pictures on the screen, and pixels."""

REQUEST_BURST = 300.0
"""Messages that it may send at once."""


class Bucket:
    """Tokens that come back at a rate: whoever takes more than there are is too fast.

    Parameters
    ----------
    rate : float
        Tokens that come back [1/s].
    burst : float
        Tokens that there are at most.
    """

    def __init__(self, rate: float = REQUESTS_PER_S, burst: float = REQUEST_BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._last_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Take a token; False if there is none."""
        if self._last_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._last_s) * self._rate)
        self._last_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Pacer:
    """Spreads what all viewers are sent, so that together they stay below a rate.

    Parameters
    ----------
    bits_per_s : float or None
        The rate; None for no limit.
    """

    def __init__(self, bits_per_s: float | None) -> None:
        self._bits_per_s = bits_per_s
        self._free_s = 0.0

    def free_s(self) -> float:
        """Return from when on the next picture may be sent."""
        return self._free_s

    def sent(self, n_bytes: int, now_s: float) -> None:
        """Count what was sent."""
        if self._bits_per_s is not None:
            self._free_s = max(self._free_s, now_s) + 8 * n_bytes / self._bits_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the server; 0 Mbit/s is no limit.

    Attributes
    ----------
    max_viewers : int
        Connections of pages at a time.
    pictures_per_s : float
        Pictures per pane [1/s].
    max_mbit_s : float
        Pictures of all viewers together [Mbit/s].
    stalled_s, closed_s : float
        After how long without an acknowledgement that is due a viewer counts as stalled, and is sent away [s].
    """

    max_viewers: int = 32
    pictures_per_s: float = 10.0
    max_mbit_s: float = 0.0
    stalled_s: float = 10.0
    closed_s: float = 60.0
