"""Which messages are in a file, and in which row each of them is.

By id, a message's row is its id less the file's first: what never came leaves its row empty. Packed, rows are taken in
the order of arrival: for streams of which most ids have no message, as hits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MessageIdError

MAX_MESSAGES = 100_000_000
"""Most messages in a file: 10 kHz for nearly three hours; above it an id is damage and not a position."""

FIRST_ROOM = 1024
"""Room in the list of received messages to begin with; it doubles."""

Block = tuple[npt.NDArray[Any], ...]
"""Message ids and whether they were received, of neighbouring rows."""


class Ledger:
    """The messages of one file.

    Parameters
    ----------
    first_id : int
        The id in row 0.
    packed : bool
        Rows in the order of arrival.
    blocks : iterable of (ids, flags)
        What the file has already, row by row.
    """

    def __init__(self, first_id: int = 1, *, packed: bool = False, blocks: Iterable[Block] = ()) -> None:
        self.first_id = first_id
        self.packed = packed
        self.n_rows = 0
        """Up to where rows are taken."""
        self.n_received = 0
        """How many different messages there are."""
        self._rows: dict[int, int] = {}
        self._received = bytearray(0 if packed else FIRST_ROOM)
        first = 0
        for ids, flags in blocks:
            there = np.flatnonzero(flags)
            self.n_received += len(there)
            for row in there.tolist() if packed else ():
                self._rows[int(ids[row])] = first + row
            if len(there):
                self.n_rows = first + int(there[-1]) + 1
                if not packed:
                    self._make_room(self.n_rows)
                    self._flags()[first + there] = 1
            first += len(ids)

    def find(self, message_id: int) -> int | None:
        """Return the row of a message that is there, None if it is not."""
        if self.packed:
            return self._rows.get(message_id)
        row = message_id - self.first_id
        return row if 0 <= row < len(self._received) and self._received[row] else None

    def place(self, message_id: int) -> int:
        """Return the row for a message.

        Raises
        ------
        MessageIdError
            If it cannot have one.
        """
        if not self.first_id <= message_id <= MAX_MESSAGES:
            raise MessageIdError(message_id, MAX_MESSAGES)
        if self.packed:
            return self._rows.get(message_id, self.n_rows)
        return message_id - self.first_id

    def enter(self, message_id: int, row: int) -> None:
        """Note that a message is in its row, which `place` said."""
        if self.packed:
            self.n_received += message_id not in self._rows
            self._rows[message_id] = row
        else:
            if row >= len(self._received):
                self._make_room(row + 1)
            self.n_received += not self._received[row]
            self._received[row] = 1
        if row >= self.n_rows:
            self.n_rows = row + 1

    def ids(self) -> npt.NDArray[np.int64]:
        """Return the ids of all messages that are there, in order."""
        if self.packed:
            return np.array(sorted(self._rows), dtype=np.int64)
        return np.flatnonzero(self._flags()) + self.first_id

    @property
    def last_id(self) -> int:
        """The highest id that is there; 0 of an empty file."""
        if self.packed:
            return max(self._rows, default=0)
        return self.n_rows + self.first_id - 1 if self.n_rows else 0

    def _flags(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self._received, dtype=np.uint8)

    def _make_room(self, n_rows: int) -> None:
        there = len(self._received)
        if n_rows > there:
            self._received += bytes(min(MAX_MESSAGES, max(n_rows, 2 * there)) - there)
