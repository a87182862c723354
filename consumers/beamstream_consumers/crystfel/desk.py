"""Who asked for a frame, and who has which. Pure: no sockets, no clock; whoever calls says what time it is.

A worker that asks again is done with the frame that it had: `indexamajig` writes a frame's result down before it asks
for the next one. So that is when the frame is acknowledged. A worker that is gone, or has not asked for too long, is
not done with it: the frame goes to another one. At least once: a worker that was only slow does it a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WORKERS = 1024
"""Most workers at a time: four times the cores of a large machine."""


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A frame that a worker has, and since when [s]."""

    frame: T
    since_s: float


class Desk(Generic[T]):
    """Workers that wait, and frames that are out.

    Parameters
    ----------
    worker_timeout_s : float
        How long a worker may keep a frame [s].
    """

    def __init__(self, worker_timeout_s: float) -> None:
        self._worker_timeout_s = worker_timeout_s
        self._waiting: OrderedDict[bytes, float] = OrderedDict()
        self._held: dict[bytes, Held[T]] = {}
        self._connections: dict[int, list[bytes]] = {}

    @property
    def n_waiting(self) -> int:
        """Workers that wait for a frame."""
        return len(self._waiting)

    @property
    def n_out(self) -> int:
        """Frames that workers have."""
        return len(self._held)

    @property
    def n_workers(self) -> int:
        """Workers that wait or have a frame."""
        return len(self._waiting.keys() | self._held.keys())

    def may_ask(self, worker: bytes) -> bool:
        """Whether a request of this worker can be taken: not while it waits already, nor where there are too many."""
        known = worker in self._held
        return worker not in self._waiting and (known or self.n_workers < MAX_WORKERS)

    def ask(self, worker: bytes, now_s: float, connection: int | None = None) -> T | None:
        """Let a worker wait for a frame; returns the one that it is done with, if it had any."""
        if connection is not None and worker not in self._connections.setdefault(connection, []):
            self._connections[connection].append(worker)
        self._waiting[worker] = now_s
        held = self._held.pop(worker, None)
        return None if held is None else held.frame

    def next_worker(self) -> bytes | None:
        """Return who has waited longest."""
        return next(iter(self._waiting), None)

    def give(self, worker: bytes, frame: T, now_s: float) -> None:
        """Note that a worker got a frame."""
        self._waiting.pop(worker, None)
        self._held[worker] = Held(frame, now_s)

    def send_away(self, worker: bytes) -> None:
        """Note that a worker was told that there is no frame, or is gone."""
        self._waiting.pop(worker, None)

    def lose(self, worker: bytes) -> T | None:
        """Forget a worker; returns the frame that it had."""
        self._waiting.pop(worker, None)
        held = self._held.pop(worker, None)
        return None if held is None else held.frame

    def lose_connection(self, connection: int) -> tuple[bytes, T | None] | None:
        """Forget the worker behind a connection that ended; returns it and the frame that it had.

        Numbers of connections are used again, and that one ended may be heard after the next one has asked: the first
        worker of this number is the one that is gone.
        """
        workers = self._connections.get(connection, [])
        if not workers:
            return None
        worker = workers.pop(0)
        if not workers:
            del self._connections[connection]
        return worker, self.lose(worker)

    def overdue(self, now_s: float) -> list[bytes]:
        """Return the workers that have had their frame for too long."""
        return [worker for worker, held in self._held.items() if now_s - held.since_s >= self._worker_timeout_s]

    def tired(self, now_s: float, patience_s: float) -> list[bytes]:
        """Return the workers that have waited for `patience_s`."""
        return [worker for worker, since_s in self._waiting.items() if now_s - since_s >= patience_s]

    def holders(self) -> list[bytes]:
        """Return the workers that have a frame."""
        return list(self._held)

    def waiting(self) -> list[bytes]:
        """Return the workers that wait, the one that has waited longest first."""
        return list(self._waiting)
