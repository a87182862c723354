"""Being asked to stop: a flag that a signal handler may set at any moment.

`threading.Event` is none: its `set` takes a lock, and a handler that runs while its own thread has that lock, inside
`wait`, waits for ever. Here the handler sets a plain attribute and writes one byte to a pipe, which wakes all who wait.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

INTERRUPTED = 130
"""Exit status after SIGINT: 128 + its number, as shells count."""


class StopFlag(Protocol):
    """What is asked whether to stop: a `Stop`, or an event that no signal sets."""

    def is_set(self) -> bool:
        """Whether somebody has asked to stop."""
        ...

    def wait(self, timeout: float | None = None, /) -> bool:
        """Wait until it is set, at most so long [s]; whether it is."""
        ...


class SignalHandler(Protocol):
    """What signals go to."""

    def on_signal(self, number: int, frame: FrameType | None, /) -> None:
        """Handle one."""
        ...


class Stop:
    """A flag that is set once, from a signal handler or any thread.

    Attributes
    ----------
    interrupted : bool
        Whether SIGINT was among what set it.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._is_set = False
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        weakref.finalize(self, _close, self._woken, self._wake)

    def is_set(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._is_set

    def set(self) -> None:
        """Ask to stop."""
        if not self._is_set:
            self._is_set = True
            os.write(self._wake, b"x")  # never read: whoever waits later is woken by it, too

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set; False where that did not happen within `timeout_s` [s]."""
        if not self._is_set:
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            poll.poll(None if timeout_s is None else max(0.0, timeout_s * 1000))
        return self._is_set

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Be a signal handler."""
        if number == signal.SIGINT:
            self.interrupted = True
        self.set()

    @property
    def exit_status(self) -> int:
        """0, or 130 after SIGINT."""
        return INTERRUPTED if self.interrupted else 0


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Give a flag that SIGINT and SIGTERM set; outside of the main thread, where no handler can be, nobody but us."""
    stop = Stop()
    with handling_signals(stop):
        yield stop


@contextlib.contextmanager
def handling_signals(handler: SignalHandler) -> Iterator[None]:
    """Let SIGINT and SIGTERM go to `handler` as long as the context lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)
