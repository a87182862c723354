"""The last frames as they came, compressed, up to a number of bytes: for stepping back without asking the broker."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class Bounded(Generic[Key, Kept]):
    """Things by their keys, those of longest ago leaving first; safe between threads.

    Parameters
    ----------
    limit_bytes : int
        What all of them may have together [bytes]; one that is larger alone is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[Kept, int]] = OrderedDict()
        self._n_bytes = 0

    @property
    def n_bytes(self) -> int:
        """How much is kept [bytes]."""
        return self._n_bytes

    def put(self, key: Key, thing: Kept, n_bytes: int) -> None:
        """Keep a thing, as the newest one."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._n_bytes -= 0 if before is None else before[1]
            if n_bytes > self._limit_bytes:
                return
            self._kept[key] = (thing, n_bytes)
            self._n_bytes += n_bytes
            while self._n_bytes > self._limit_bytes:
                _, (_, gone_bytes) = self._kept.popitem(last=False)
                self._n_bytes -= gone_bytes

    def get(self, key: Key) -> Kept | None:
        """Return what is kept under a key, which makes it the newest; None where nothing is."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]
