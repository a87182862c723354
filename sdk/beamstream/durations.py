"""Times as people write them on a command line: 90s, 10min, 24h, 7d. Pure."""

from __future__ import annotations

import re

from .errors import UsageError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

NEVER = "never"


def parse_duration(text: str) -> float | None:
    """Read a time [s]; None for ``never``.

    Raises
    ------
    UsageError
        If it is none, or not longer than nothing.

    Examples
    --------
    >>> parse_duration("24h")
    86400.0
    """
    if text == NEVER:
        return None
    match = _DURATION.fullmatch(text)
    duration_s = float(match[1]) * _UNIT_S[match[2]] if match else 0.0
    if duration_s <= 0:
        raise UsageError(f"{text!r} is no time: write a number and ms, s, min, h or d, e.g. 24h, or {NEVER}")
    return duration_s
