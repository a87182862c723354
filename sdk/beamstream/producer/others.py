"""Whether others still send to a stream that one of its producers has done with."""

from __future__ import annotations

import time
from collections.abc import Callable

from beamstream.state import StreamState
from beamstream.stop import StopFlag

POLL_S = 0.1
"""How often is looked at the stream [s]."""


def wait_for_others(look: Callable[[], StreamState], quiet_s: float, stop: StopFlag) -> StreamState | None:
    """Wait until all that was expected is in a stream, or it has ended, or nothing has come for `quiet_s`.

    Returns where it stands then; None where `stop` is set and others go on with it.

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
        n_there = _n_there(state)
        goes_on = n_known not in (-1, n_there)
        if n_there != n_known:
            n_known, since_s = n_there, time.monotonic()
        if state.finished or has_all_expected(state) or time.monotonic() - since_s >= quiet_s:
            return state
        if goes_on and stop.is_set():
            return None
        time.sleep(POLL_S)


def has_all_expected(state: StreamState) -> bool:
    """Whether as many messages are there as were expected; False where nothing was promised."""
    return state.n_expected is not None and 0 < state.n_expected <= _n_there(state)


def _n_there(state: StreamState) -> int:
    """Return how many ids somebody has said something about: sent a message, or that there is none."""
    return state.n_received + state.n_declined + state.n_held
