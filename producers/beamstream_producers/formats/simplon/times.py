"""The detector's clock in nanoseconds.

Stream v1 sends bare numbers: SIMPLON 1.6 counts 20 ns ticks, 1.8 counts nanoseconds, and the manual says both
of both. The header's `software_version` decides. Stream v2 sends the rate with each time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .messages import Image, Start, Ticks

NS_PER_S = 1_000_000_000

OLD_TICK_RATE_HZ = 50_000_000
"""Clock of SIMPLON before 1.8 [ticks/s]: measured, count_time 0.99999 s came as 49,999,121 ticks."""

FIRST_NS_VERSION = (1, 8)
"""From this `software_version` on stream v1 counts nanoseconds: measured, 0.9999999 s came as 999,999,900."""

MAX_TIME_NS = 2**63 - 1
"""Largest time that message metadata carries [ns]."""

_VERSION = re.compile(r"\D*(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTimes:
    """Begin, end and counting time of an exposure by the detector's clock [ns]; None where unknown."""

    start_ns: int | None
    stop_ns: int | None
    real_ns: int | None


def tick_rate_hz(start: Start) -> int:
    """Return the clock of a series whose images do not tell [ticks/s]; ns where the header does not tell."""
    match = _VERSION.match(str(start.config.get("software_version", "")))
    if match and (int(match[1]), int(match[2])) < FIRST_NS_VERSION:
        return OLD_TICK_RATE_HZ
    return NS_PER_S


def to_ns(ticks: Ticks | None, default_rate_hz: int) -> int | None:
    """Return a time in nanoseconds, rounded down; None for None and for what does not fit 63 bits."""
    if ticks is None:
        return None
    time_ns = ticks.count * NS_PER_S // (ticks.rate_hz or default_rate_hz)
    return time_ns if time_ns <= MAX_TIME_NS else None


def image_times(image: Image, default_rate_hz: int) -> ImageTimes:
    """Return the times of an image.

    Parameters
    ----------
    image : Image
        Of either version.
    default_rate_hz : int
        `tick_rate_hz` of its series [ticks/s].
    """
    return ImageTimes(
        start_ns=to_ns(image.start, default_rate_hz),
        stop_ns=to_ns(image.stop, default_rate_hz),
        real_ns=to_ns(image.real, default_rate_hz),
    )
