"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""How long something may take that is sure to come [s]: a loaded machine is no failure."""

LOOK_EVERY_S = 0.005


def wait_until(condition: Callable[[], object], what: str = "this", patience_s: float = PATIENCE_S) -> None:
    """Return as soon as a condition holds.

    Raises
    ------
    AssertionError
        If it does not within `patience_s`, with `what` was waited for.
    """
    ends_at = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"waited {patience_s:g} s for {what}")
        time.sleep(LOOK_EVERY_S)
