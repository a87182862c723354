"""How many messages each reader has taken, where the producer sees it without asking anybody: shared memory."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence

N_SLOTS = 64
"""Readers that there is room for; `plan.MAX_MEMBERS`."""

_COUNT = struct.Struct("=q")
BOARD_BYTES = N_SLOTS * _COUNT.size


class ProgressBoard:
    """One number per reader; each is written by one process, and read by others.

    Parameters
    ----------
    descriptor : int
        A file of `BOARD_BYTES`, open in all of them.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, BOARD_BYTES)

    def clear(self) -> None:
        """Set all to 0; nobody may be reading."""
        self._memory[:] = bytes(BOARD_BYTES)

    def set(self, slot: int, n_taken: int) -> None:
        """Say how many messages a reader has taken."""
        _COUNT.pack_into(self._memory, slot * _COUNT.size, n_taken)

    def of_slowest(self, groups: Sequence[Sequence[int]]) -> int:
        """Return how many messages the slowest group has taken; a group is given as the slots of its members."""
        return min(sum(map(self._taken, group)) for group in groups)

    def _taken(self, slot: int) -> int:
        (n_taken,) = _COUNT.unpack_from(self._memory, slot * _COUNT.size)
        return int(n_taken)
