"""Patience with a handler that cannot go on now: a full disk, a lost or full broker. It is asked again until it can."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from beamstream.errors import BufferFullError, RetryLaterError, ServerUnavailableError
from beamstream.service.shell import Shell

log = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0
"""Pause before a handler that could not go on is asked again [s]."""

COMPLAIN_EVERY_S = 30.0
"""How often the log says that a handler still cannot go on [s]."""

NOT_NOW = (RetryLaterError, ServerUnavailableError, BufferFullError)
"""What a handler raises that cannot go on now, through no fault of the frame."""


class Patience:
    """Waits with a handler, and says so now and then.

    Parameters
    ----------
    name : str
        The handler's, for the log.

    Attributes
    ----------
    n_held_up : int
        How often it was waited for.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._complained_at = -COMPLAIN_EVERY_S
        self.n_held_up = 0

    def wait(self, error: Exception, shell: Shell) -> bool:
        """Wait before the handler is asked again; False where the service is to stop instead."""
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning("%s cannot go on: %s; trying again until it can", self._name, error)
        self.n_held_up += 1
        shell.progress.tick()
        return not shell.stop.wait(RETRY_EVERY_S)

    def until_possible(self, step: Callable[[], object], shell: Shell) -> bool:
        """Take a step, again and again while the handler cannot now; False where the service is to stop before."""
        while True:
            try:
                step()
            except NOT_NOW as error:
                if not self.wait(error, shell):
                    return False
            else:
                return True
