"""Bounded, visible retries of what a lost or full server keeps from succeeding."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self, TypeVar

from .errors import BufferFullError, ServerUnavailableError
from .stop import StopFlag

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.02
"""Pause before the first retry [s]."""

LONGEST_PAUSE_S = 1.0
"""Longest pause between retries [s]: a server that comes back is found within a second."""

LONGEST_HELD_BACK_S = 0.1
"""Longest pause before a full server is tried again [s]: a disk frees some 40 MB in that time, and must not run out of
work while its producer sleeps."""

QUIET_S = 1.0
"""How long a full server is waited for without a word [s]: where the disk is slower than the detector, every batch
waits a little. It is counted all the same."""

REPORT_EVERY_S = 10.0
"""How often a retry that goes on for the same reason is logged [s]."""


@dataclass(slots=True)
class RetryCounts:
    """What retrying did so far."""

    n_reconnects: int = 0
    n_held_back: int = 0

    def __add__(self, other: Self) -> Self:
        """Add up two counts of the same kind, field by field."""
        return type(self)(
            **{name: getattr(self, name) + getattr(other, name) for name in (f.name for f in fields(self))}
        )


def with_retries(attempt: Callable[[int], T], *, timeout_s: float | None, stop: StopFlag, counts: RetryCounts) -> T:
    """Call `attempt` until it succeeds.

    Parameters
    ----------
    attempt : callable
        Is given the number of attempts before this one.
    timeout_s : float or None
        How long the server may be lost or full [s]; None: for ever.
    stop : StopFlag
        Ends the retrying; the last error is raised then.
    counts : RetryCounts
        Where every retry is counted.

    Raises
    ------
    ServerUnavailableError, BufferFullError
        If the server stayed lost or full for `timeout_s`.
    """
    started = time.monotonic()
    report_at = started
    said: set[str] = set()
    n_attempts = 0
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return attempt(n_attempts)
        except (ServerUnavailableError, BufferFullError) as error:
            waited_s = time.monotonic() - started
            if stop.is_set() or (timeout_s is not None and waited_s >= timeout_s):
                raise _after_waiting(error, waited_s) from error
            if isinstance(error, BufferFullError):
                counts.n_held_back += 1
                quiet_until, longest_s = started + QUIET_S, LONGEST_HELD_BACK_S
            else:
                counts.n_reconnects += 1
                quiet_until, longest_s = started, LONGEST_PAUSE_S
            now = time.monotonic()
            if now >= quiet_until and (str(error) not in said or now >= report_at):
                report_at = now + REPORT_EVERY_S
                said.add(str(error))
                log.warning("%s; trying again (for %.0f s so far)", _after_waiting(error, waited_s), waited_s)
        n_attempts += 1
        stop.wait(min(pause_s, longest_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _after_waiting(
    error: ServerUnavailableError | BufferFullError, waited_s: float
) -> ServerUnavailableError | BufferFullError:
    if isinstance(error, BufferFullError):
        return BufferFullError(error.url, waited_s, error.flaw)
    return type(error)(error.url, error.reason, waited_s)
