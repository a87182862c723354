"""Ids for which there is no message by decision (no hit), as a list of ranges that grows in the file."""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np

NAME = "declined"
"""The dataset: (n, 2) first and last ids."""

Range = tuple[int, int]


class DeclinedIds:
    """The ranges of one file.

    Parameters
    ----------
    notes : h5py.Group
        Where they are, or will be.
    """

    def __init__(self, notes: h5py.Group) -> None:
        self._notes = notes
        self._waiting: list[Range] = []

    def add(self, first_id: int, last_id: int) -> None:
        """Take a range."""
        if self._waiting and self._waiting[-1][1] == first_id - 1:
            first_id = self._waiting.pop()[0]
        self._waiting.append((first_id, last_id))

    def write(self) -> None:
        """Write what was taken."""
        if not self._waiting:
            return
        if NAME not in self._notes:
            self._notes.create_dataset(NAME, shape=(0, 2), maxshape=(None, 2), chunks=(1024, 2), dtype="i8")
        dataset = self._notes[NAME]
        n_before = dataset.shape[0]
        dataset.resize(n_before + len(self._waiting), axis=0)
        dataset[n_before:] = np.array(self._waiting, dtype="i8")
        self._waiting.clear()


def read_declined(notes: h5py.Group) -> list[Range]:
    """Return the ranges that a file has."""
    return [(int(first), int(last)) for first, last in notes[NAME][()]] if NAME in notes else []


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Put ranges in order, and join those that touch.

    Examples
    --------
    >>> merged([(5, 6), (1, 2), (3, 3)])
    [(1, 3), (5, 6)]
    """
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
