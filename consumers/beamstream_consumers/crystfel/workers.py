"""The workers at an endpoint: hears what they ask, gives them frames, notices who is gone."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .desk import Desk
from .endpoint import Endpoint
from .protocol import AT_END, NOT_UNDERSTOOD, NOT_YET

log = logging.getLogger(__name__)

T = TypeVar("T")

TURN_S = 0.05
"""How long one thing is waited for before the others are looked at [s]."""

PATIENCE_S = 10.0
"""After which a worker is told that there is no frame yet, so that it looks whether it is to end [s]."""

FAREWELL_S = 0.25
"""How long it is waited for workers that are about to ask, to be told that the end was reached [s]."""


@dataclass(slots=True)
class Heard(Generic[T]):
    """What came of one look: frames that are done with, and those that were not finished, with the reason."""

    done: list[T] = field(default_factory=list)
    left: list[tuple[T, str]] = field(default_factory=list)


class Workers(Generic[T]):
    """Workers that ask at an endpoint.

    Parameters
    ----------
    endpoint : Endpoint
        Where they ask.
    request : bytes
        What they ask with.
    timeout_s : float
        How long one may keep a frame [s].

    Attributes
    ----------
    counts : Counter
        ``requests``, ``requests_refused``, ``put_off``, ``workers_lost``, ``workers_late``.
    """

    def __init__(self, endpoint: Endpoint, request: bytes, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._request = request
        self._timeout_s = timeout_s
        self._desk: Desk[T] = Desk(timeout_s)
        self._complained = False
        names = ("requests", "requests_refused", "put_off", "workers_lost", "workers_late")
        self.counts: Counter[str] = Counter(dict.fromkeys(names, 0))

    @property
    def n_out(self) -> int:
        """Frames that workers have."""
        return self._desk.n_out

    @property
    def n_workers(self) -> int:
        """Workers that wait or have a frame."""
        return self._desk.n_workers

    @property
    def can_take(self) -> bool:
        """Whether somebody waits, and there is room on the way to him."""
        return self._desk.n_waiting > 0 and self._endpoint.has_room

    def look(self, timeout_s: float = 0.0) -> Heard[T]:
        """Hear what is asked and who is gone, waiting up to `timeout_s` for any of it [s]."""
        if timeout_s:
            self._endpoint.wait(timeout_s)
        heard: Heard[T] = Heard()
        now_s = time.monotonic()
        for connection in self._endpoint.ended():
            gone = self._desk.lose_connection(connection)
            if gone is None:
                continue
            worker, frame = gone
            self.counts["workers_lost"] += 1
            self._endpoint.answer(worker, NOT_YET)  # should it be there after all, it asks again
            if frame is not None:
                heard.left.append((frame, "its worker is gone"))
        for asked in self._endpoint.requests():
            done = self._hear(asked.worker, asked.text, asked.connection, now_s)
            if done is not None:
                heard.done.append(done)
        for worker in self._desk.overdue(now_s):
            self.counts["workers_late"] += 1
            frame = self._desk.lose(worker)
            if frame is not None:
                heard.left.append((frame, f"its worker was silent for {self._timeout_s:g} s"))
        for worker in self._desk.tired(now_s, PATIENCE_S):
            self.counts["put_off"] += 1
            self._desk.send_away(worker)
            self._endpoint.answer(worker, NOT_YET)
        return heard

    def give(self, payload: bytes, frame: T) -> bool:
        """Give a frame to the worker that has waited longest; False where nobody can take it now."""
        while self.can_take and (worker := self._desk.next_worker()) is not None:
            if self._endpoint.answer(worker, payload):
                self._desk.give(worker, frame, time.monotonic())
                return True
            self._desk.send_away(worker)
        return False

    def take_all(self) -> list[T]:
        """Take back what workers have; returns it."""
        taken = [self._desk.lose(worker) for worker in self._desk.holders()]
        return [frame for frame in taken if frame is not None]

    def say_goodbye(self) -> None:
        """Tell each worker once that there is no more, so that it need not wait for an answer."""
        told: set[bytes] = set()
        ends_at = time.monotonic() + FAREWELL_S
        while time.monotonic() < ends_at:
            for worker in self._desk.waiting():
                self._desk.send_away(worker)
                if worker not in told:
                    told.add(worker)
                    self._endpoint.answer(worker, AT_END)
            self._endpoint.wait(TURN_S)
            self._endpoint.ended()
            for asked in self._endpoint.requests():
                self._desk.ask(asked.worker, 0.0)

    def _hear(self, worker: bytes, text: bytes | None, connection: int | None, now_s: float) -> T | None:
        """Take one request; returns the frame that is done with."""
        if text == self._request and self._desk.may_ask(worker):
            self.counts["requests"] += 1
            return self._desk.ask(worker, now_s, connection)
        self.counts["requests_refused"] += 1
        if not self._complained:
            self._complained = True
            wanted = self._request.decode(errors="replace")
            log.warning("somebody asks with %r; indexamajig needs --zmq-request=%s", text, wanted)
        self._endpoint.answer(worker, NOT_UNDERSTOOD)
        return None
