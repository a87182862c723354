"""Rows that are written together: in which order they stand, and where neighbours begin and end.

Several members of a group that write one stream have every second row, or every third: their numbers are written with
what is between them, read before, which costs much less than a write for each row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

MAX_RUNS = 4
"""Runs of rows that are written one by one."""

MAX_SPAN_ROWS = 16_384
"""Rows that are read to write more runs than that at once: 128 kB of 8-byte numbers, sixteen chunks."""


class Rows:
    """Rows of a batch of messages, in whatever order they came.

    Parameters
    ----------
    numbers : sequence or array of int
        The row of each message; of equal ones the last counts.

    Attributes
    ----------
    numbers : (n,) int64
        Each row once, in order.
    runs : list of (int, int)
        Where in `numbers` rows begin and end that are neighbours.
    """

    __slots__ = ("_order", "numbers", "runs")

    def __init__(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.numbers = np.array(numbers, dtype=np.int64)
        self._order: npt.NDArray[np.int64] | None = None
        steps = np.diff(self.numbers)
        if np.any(steps <= 0):
            self.numbers, last = np.unique(self.numbers[::-1], return_index=True)
            self._order = len(numbers) - 1 - last
            steps = np.diff(self.numbers)
        bounds = [0, *(np.flatnonzero(steps != 1) + 1).tolist(), len(self.numbers)]
        self.runs = list(itertools.pairwise(bounds)) if len(self.numbers) else []

    def in_order(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return one value per row of `numbers`, of one per message."""
        return values if self._order is None else values[self._order]

    def store(self, dataset: h5py.Dataset, values: npt.NDArray[Any]) -> None:
        """Write numbers, one per message, of the dataset's own dtype; it has these rows already."""
        if not self.runs:
            return
        values = self.in_order(values)
        first, n_rows = int(self.numbers[0]), int(self.numbers[-1] - self.numbers[0]) + 1
        if len(self.runs) > MAX_RUNS and n_rows <= MAX_SPAN_ROWS:
            there = np.empty(n_rows, values.dtype)
            dataset.id.read(h5py.h5s.create_simple((n_rows,)), _selected(dataset, first, n_rows), there)
            there[self.numbers - first] = values
            _write(dataset, first, there)
            return
        for begin, end in self.runs:
            _write(dataset, int(self.numbers[begin]), values[begin:end])


def _write(dataset: h5py.Dataset, first: int, values: npt.NDArray[Any]) -> None:
    """Write neighbours; as `dataset[first:…] = values`, which takes four times as long."""
    space = h5py.h5s.create_simple((len(values),))
    dataset.id.write(space, _selected(dataset, first, len(values)), np.ascontiguousarray(values))


def _selected(dataset: h5py.Dataset, first: int, n_rows: int) -> h5py.h5s.SpaceID:
    space = dataset.id.get_space()
    space.select_hyperslab((first,), (n_rows,))
    return space


def runs(rows: Mapping[int, Any], dtype: np.dtype[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield runs of neighbouring rows as (first row, values)."""
    of_batch = Rows(list(rows))
    values = np.empty(len(rows), dtype=dtype)
    for place, value in enumerate(rows.values()):
        values[place] = value
    values = of_batch.in_order(values)
    for begin, end in of_batch.runs:
        yield int(of_batch.numbers[begin]), values[begin:end]
