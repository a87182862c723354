"""What is known of each message, as columns: one dataset per quantity, one row per message id.

Rows are collected in memory and written in blocks, because a write of eight bytes costs HDF5 as much as one of a few
thousand. A row that is written again is written over. What never came stays the fill value: 0 for whole
numbers, NaN for others; the column ``received`` tells a 0 that was measured from one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .errors import NodeError
from .nexus import check_name

MAX_COLUMNS = 64
"""Columns made from what messages say about themselves; a detector says three to ten things."""

CHUNK_ROWS = 4096
"""Rows per chunk: 32 kB of 8-byte numbers, which the chunk cache holds for every column."""

OWN_COLUMNS = {"message_id": "<u8", "timestamp": "<i8", "checksum": "<u8", "received": "<u1", "late": "<u1"}
"""Columns that are always there; a message cannot bring others of these names."""


class Columns:
    """The columns of one group.

    Parameters
    ----------
    group : h5py.Group
        Where they are, or will be made.
    """

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self._datasets: dict[str, h5py.Dataset] = {name: group[name] for name in group}
        self._dtypes: dict[str, np.dtype[Any]] = {name: dataset.dtype for name, dataset in self._datasets.items()}
        self._rows: dict[str, dict[int, Any]] = {}
        self.left_out: dict[str, str] = {}
        """Metadata that became no column, and why; each is named once."""
        for name, dtype in OWN_COLUMNS.items():
            if name not in self._datasets:
                self._create(name, np.dtype(dtype))
        if "units" not in group["timestamp"].attrs:
            group["timestamp"].attrs["units"] = "ns"

    def put(self, row: int, own: Mapping[str, int], metadata: Mapping[str, Any]) -> None:
        """Take one message's row: `own` columns, and the numbers among its `metadata`."""
        for name, value in own.items():
            self._rows.setdefault(name, {})[row] = value
        for name, value in metadata.items():
            if name not in self.left_out and isinstance(value, bool | int | float | np.number | np.bool_):
                self._put_number(name, row, value)

    def write(self, n_rows: int) -> None:
        """Write what was collected; every column then has `n_rows` rows."""
        for name, rows in self._rows.items():
            dataset = self._datasets[name]
            dataset.resize(max(n_rows, dataset.shape[0]), axis=0)
            for first, values in _runs(rows, self._dtypes[name]):
                dataset[first : first + len(values)] = values
        self._rows.clear()

    def cut(self, n_rows: int) -> None:
        """Let every column end with row `n_rows`."""
        for dataset in self._datasets.values():
            dataset.resize(n_rows, axis=0)

    def blocks(self, *names: str) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Yield the named columns together, block by block."""
        n_rows = self._datasets[names[0]].shape[0]
        for first in range(0, n_rows, CHUNK_ROWS):
            yield tuple(self._datasets[name][first : first + CHUNK_ROWS] for name in names)

    def _put_number(self, name: str, row: int, value: Any) -> None:
        """Take a number the message brought; the first one of a name decides whether it is whole."""
        try:
            if name not in self._dtypes or name in OWN_COLUMNS:
                self._add_column(name, value)
            self._rows.setdefault(name, {})[row] = _exact(value, self._dtypes[name], name)
        except NodeError as error:
            self.left_out[str(name)] = error.reason

    def _add_column(self, name: str, value: Any) -> None:
        """Make a column for numbers like `value`."""
        if check_name(name) in OWN_COLUMNS:
            raise NodeError(name, "the file has a column of its own of this name")
        if len(self._datasets) >= MAX_COLUMNS + len(OWN_COLUMNS):
            raise NodeError(name, f"there are {MAX_COLUMNS} columns already")
        self._create(name, np.dtype("<f8" if isinstance(value, float | np.floating) else "<i8"))

    def _create(self, name: str, dtype: np.dtype[Any]) -> None:
        """Make a column without rows."""
        fill = np.nan if dtype.kind == "f" else 0
        self._datasets[name] = self._group.create_dataset(
            name, shape=(0,), dtype=dtype, chunks=(CHUNK_ROWS,), maxshape=(None,), fillvalue=fill
        )
        self._dtypes[name] = dtype


def _exact(value: Any, dtype: np.dtype[Any], name: str) -> int | float:
    """Return `value` as the column holds it, without loss."""
    if dtype.kind == "f":
        return float(value)
    if isinstance(value, float | np.floating) and not float(value).is_integer():
        raise NodeError(name, "it was a whole number at first and is none any more")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise NodeError(name, f"{number} does not fit into 64 bits")
    return number


def _runs(rows: Mapping[int, Any], dtype: np.dtype[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield runs of neighbouring rows as (first row, values)."""
    order = np.array(sorted(rows), dtype=np.int64)
    values = np.array([rows[row] for row in order.tolist()], dtype=dtype)
    breaks = np.flatnonzero(np.diff(order) != 1) + 1
    for run, part in zip(np.split(order, breaks), np.split(values, breaks), strict=True):
        if len(run):
            yield int(run[0]), part
