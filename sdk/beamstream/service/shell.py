"""What surrounds every service: signals, metrics, progress, the exit status.

The first SIGINT or SIGTERM asks the loop to drain; a second SIGINT ends it at once. Exit status 0 done, 1 failed,
130 interrupted by SIGINT after a clean drain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from beamstream.metrics import Snapshot, serve_metrics

from .progress import LOG_EVERY_S, Progress

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit status after SIGINT: 128 + its number, as shells count."""

STOPPING = b"\nstopping: what is here is handed on; a second Ctrl-C ends at once\n"
"""What whoever pressed Ctrl-C is told."""


class Shell:
    """The surroundings of one running service.

    Attributes
    ----------
    stop : threading.Event
        Set when the service should drain and end.
    progress : Progress
        Shows what goes on; the loop calls its `tick`.
    """

    def __init__(self, name: str, snapshot: Callable[[], Snapshot], log_every_s: float) -> None:
        self.stop = threading.Event()
        self.progress = Progress(name, snapshot, log_every_s)
        self._interrupted = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask for a drain; the second SIGINT does not wait for it."""
        if self.stop.is_set() and number == signal.SIGINT and self._interrupted:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            self._interrupted = True
            # Neither logging nor print may be entered here: the signal may have come while either was at work.
            os.write(2, STOPPING)
        self.stop.set()

    def exit_status(self, *, failed: bool) -> int:
        """Return the process's exit status."""
        if failed:
            return 1
        return INTERRUPTED if self._interrupted else 0


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
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, shell.on_signal))
        if metrics_port is not None:
            stack.callback(serve_metrics(metrics_port, name, snapshot))
        stack.enter_context(shell.progress)
        yield shell
