"""What surrounds every service: signals, metrics, progress, the exit status.

The first SIGINT or SIGTERM asks the loop to drain; a second SIGINT ends it at once. Exit status 0 done, 1 failed,
130 interrupted by SIGINT after a clean drain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from beamstream.address import Address
from beamstream.metrics import Snapshot, serve_metrics
from beamstream.stop import Stop, handling_signals

from .progress import LOG_EVERY_S, Progress

log = logging.getLogger(__name__)

STOPPING = b"\nstopping: what is here is handed on; a second Ctrl-C ends at once\n"
"""What whoever pressed Ctrl-C is told."""


class Ticking(Protocol):
    """What shows what goes on."""

    def tick(self) -> None:
        """Show something, if it is time; cheap enough to be called for every message."""
        ...


class Shell:
    """The surroundings of one running service.

    Attributes
    ----------
    stop : Stop
        Set when the service should drain and end.
    progress : Progress
        Shows what goes on; the loop calls its `tick`.
    """

    progress: Ticking

    def __init__(self, name: str, snapshot: Callable[[], Snapshot], log_every_s: float) -> None:
        self.stop = Stop()
        self.progress = self.display = Progress(name, snapshot, log_every_s)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask for a drain; the second SIGINT does not wait for it."""
        if number == signal.SIGINT:
            if self.stop.interrupted:
                raise KeyboardInterrupt
            # Neither logging nor print may be entered here: the signal may have come while either was at work.
            os.write(2, STOPPING)
        self.stop.on_signal(number)

    def joined(self, address: Address, group: str, member: str) -> None:
        """Take note that the service is a member of a group now."""

    def exit_status(self, *, failed: bool) -> int:
        """Return the process's exit status."""
        return 1 if failed else self.stop.exit_status


@contextlib.contextmanager
def service_shell(
    name: str,
    snapshot: Callable[[], Snapshot],
    metrics_port: int | None = None,
    *,
    log_every_s: float = LOG_EVERY_S,
) -> Iterator[Shell]:
    """Surround a service: install signal handlers, serve metrics if asked, show progress.

    Parameters
    ----------
    name : str
        The service's name in progress, logs and metrics.
    snapshot : callable
        Returns what the service has counted up to now; called from other threads, too.
    metrics_port : int, optional
        Port for Prometheus, on loopback.
    log_every_s : float
        How often a line is logged where there is no terminal [s].

    Raises
    ------
    UsageError
        If the port cannot be had.
    """
    shell = Shell(name, snapshot, log_every_s)
    with contextlib.ExitStack() as stack:
        stack.enter_context(handling_signals(shell))
        if metrics_port is not None:
            stack.callback(serve_metrics(metrics_port, name, snapshot))
        stack.enter_context(shell.display)
        yield shell
