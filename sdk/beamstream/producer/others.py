"""Whether others still send to a stream that one of its producers has done with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from beamstream.state import StreamState
from beamstream.stop import StopFlag

POLL_S = 0.1
"""How often is looked at the stream [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a stream stood when nobody waited for others any longer.

    Attributes
    ----------
    is_complete : bool
        All messages that were expected are there.
    is_quiet : bool
        It is complete, or ended, or nothing came for long enough.
    n_expected : int or None
        How many were expected.
    highest_id : int
        The highest id that is settled.
    """

    is_complete: bool
    is_quiet: bool
    n_expected: int | None
    highest_id: int


def wait_for_others(look: Callable[[], StreamState], quiet_s: float, stop: StopFlag) -> Standing:
    """Wait until all that was expected is in a stream, or nothing has come for `quiet_s`.

    Once `stop` is set, others who go on are not waited for.

    Parameters
    ----------
    look : callable
        Reads the stream's state.
    quiet_s : float
        How long nothing may come [s].
    stop : StopFlag
        Ends the waiting as soon as it is seen that others go on.
    """
    n_known, since_s = -1, time.monotonic()
    while True:
        state = look()
        n_there = state.n_received + state.n_held
        is_complete = state.n_expected is not None and 0 < state.n_expected <= n_there
        goes_on = n_known not in (-1, n_there)
        if n_there != n_known:
            n_known, since_s = n_there, time.monotonic()
        is_quiet = is_complete or state.finished or time.monotonic() - since_s >= quiet_s
        if is_quiet or (goes_on and stop.is_set()):
            return Standing(
                is_complete=is_complete,
                is_quiet=is_quiet,
                n_expected=state.n_expected,
                highest_id=state.next_id - 1,
            )
        time.sleep(POLL_S)
