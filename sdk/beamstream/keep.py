"""What is kept of a stream, and what «sent» means for it."""

from __future__ import annotations

from typing import Literal, get_args

from .errors import UsageError

Keep = Literal["memory", "overflow", "all"]
"""``memory``: what memory has no room for is dropped and counted. ``overflow``: it goes to disk first. ``all``: all of
it goes to disk, and a message counts as sent when it is there."""

KEEPS: tuple[Keep, ...] = get_args(Keep)

DEFAULT_KEEP: Keep = "overflow"


def check_keep(text: str) -> Keep:
    """Return what is to be kept.

    Raises
    ------
    UsageError
        If it is none of `KEEPS`.
    """
    for keep in KEEPS:
        if text == keep:
            return keep
    raise UsageError(f"a stream cannot keep {text!r}; it may be {', '.join(KEEPS)}")
