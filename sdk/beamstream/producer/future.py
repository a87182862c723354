"""The future of a message: an ordinary one that costs nothing until somebody looks at it.

A `concurrent.futures.Future` has a lock and a condition of its own, and of ten thousand messages a second hardly any is
waited for. Here they are made when they are first needed. A message cannot be called back once it was given to a
producer, so such a future is running from the beginning, and `cancel` says no.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from typing import Any

RUNNING, FINISHED = "RUNNING", "FINISHED"
"""What the standard library calls these states of a future."""

_making = threading.RLock()
"""Held while a future is given its condition, and while it is told without one: the two never meet. A signal's handler
and a finalizer may come to it in the thread that holds it."""


def _nothing() -> None:
    """Do nothing."""


class _Condition:
    """Gives a future its condition, and what goes with it, when it is first asked for."""

    def __get__(self, future: SendFuture | None, kind: type) -> Any:
        if future is None:
            return self
        condition = threading.Condition()
        with _making:
            if not future.is_looked_at:
                future.look(condition)
        return future.__dict__["_condition"]


class SendFuture(Future[str]):
    """What became of a message: a string, see `Producer.send`, or the error that kept it out.

    Parameters
    ----------
    hurry : callable
        Called before somebody waits for it, so that the message is not kept back to be sent with others.

    Attributes
    ----------
    is_looked_at : bool
        Whether somebody has asked for more than whether it is done.
    """

    is_looked_at = False
    _condition: Any = _Condition()
    _state = RUNNING
    _result: str | None = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    def __init__(self, hurry: Callable[[], object] = _nothing) -> None:
        self._hurry = hurry

    def look(self, condition: threading.Condition) -> None:
        """Become like any other future."""
        self._condition, self._waiters, self._done_callbacks = condition, [], []
        self.is_looked_at = True

    def done(self) -> bool:
        """Whether the message's fate is known."""
        return self._state == FINISHED

    def result(self, timeout: float | None = None) -> str:
        """Return what became of the message; waits for it at most `timeout` [s]."""
        if self._state != FINISHED:
            self._hurry()
        elif self._exception is None and self._result is not None:
            return self._result
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error that kept the message out, None where it is in; waits at most `timeout` [s]."""
        if self._state == FINISHED:
            return self._exception
        self._hurry()
        return super().exception(timeout)

    def set_result(self, result: str) -> None:
        """Tell it."""
        with _making:
            told = self.tell_unseen(result)
        if not told:
            super().set_result(result)

    def tell_unseen(self, result: str) -> bool:
        """Tell it where nobody has looked at it; the lock is held."""
        if self.is_looked_at:
            return False
        if self._state != RUNNING:
            raise InvalidStateError(f"{self._state}: it was told before")
        self._result = result
        self._state = FINISHED
        return True


def tell(told: Iterable[tuple[Future[str], str]]) -> None:
    """Tell many futures at once; those that somebody has looked at come last."""
    seen = []
    with _making:
        for future, result in told:
            if not (isinstance(future, SendFuture) and future.tell_unseen(result)):
                seen.append((future, result))
    for future, result in seen:
        future.set_result(result)
