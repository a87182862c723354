"""Turns between the threads of one process: Python lets one of them run at a time, and takes it off after 5 ms.

One that never waits keeps the others out for that long, again and again, while what they would have given to the
server is not on its way.
"""

from __future__ import annotations

import time

SHORT_S = 20e-6
"""How long who gives way sleeps [s], with what sleeping itself takes some 80 µs: an empty sleep would hand on Python's
lock, and take it back before the other thread is awake."""


def give_way() -> None:
    """Let another thread have its turn; what for one message would be slow, for dozens is not."""
    time.sleep(SHORT_S)
