"""What is known of each message, as columns: one dataset per quantity, one row per message.

Rows are collected in memory and written in blocks, because a write of eight bytes costs HDF5 as much as one of a few
thousand. A row that is written again is written over. What never came stays the fill value: 0 for whole
numbers, NaN for others, an empty text, an empty list; the column ``received`` tells a 0 that was measured from one that
was not. What messages say in a mapping becomes a group of columns; lists of peaks have a place of their own (`peaks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .column_kinds import CHUNK_ROWS, Column, NumberColumn, make_column, open_column
from .errors import NodeError
from .nexus import check_name
from .peaks import PEAKS, PeakLists
from .rows import Rows

MAX_COLUMNS = 64
"""Columns made from what messages say about themselves; a detector says three to ten things."""

MAX_DEPTH = 4
"""How deep mappings in what a message says may nest."""

OWN_COLUMNS = {"message_id": "<u8", "timestamp": "<i8", "checksum": "<u8", "received": "<u1", "late": "<u1"}
"""Columns that are always there; a message cannot bring others of these names."""


class Columns:
    """The columns of one group.

    Parameters
    ----------
    group : h5py.Group
        Where they are, or will be made.
    entry : h5py.Group, optional
        Where lists of peaks have their group; without it they are columns like others.
    """

    def __init__(self, group: h5py.Group, entry: h5py.Group | None = None) -> None:
        self._group = group
        self._columns: dict[str, Column] = {}
        self._waiting: list[tuple[int, Mapping[str, int], Mapping[str, Any]]] = []
        self._rows: dict[str, dict[int, Any]] = {}
        self._peaks = PeakLists(entry) if entry is not None else None
        self.left_out: dict[str, str] = {}
        """What messages said and became no column, and why; each is named once."""
        self._find(group, "")
        for name, dtype in OWN_COLUMNS.items():
            if name not in self._columns:
                self._columns[name] = NumberColumn.create(group, name, np.dtype(dtype))
        if "units" not in group["timestamp"].attrs:
            group["timestamp"].attrs["units"] = "ns"

    def _find(self, group: h5py.Group, prefix: str) -> None:
        for name, node in group.items():
            if isinstance(node, h5py.Group):
                self._find(node, f"{prefix}{name}/")
            elif (column := open_column(node)) is not None:
                self._columns[prefix + name] = column

    def put(self, row: int, own: Mapping[str, int], metadata: Mapping[str, Any]) -> None:
        """Take one message's row: `own` columns, the same of every message, and what its `metadata` say.

        Nothing is done with them before `write`, where many are converted at once.
        """
        self._waiting.append((row, own, metadata))

    def _put_said(self, row: int, metadata: Mapping[str, Any], prefix: str, depth_left: int) -> None:
        for name, value in metadata.items():
            path = f"{prefix}{name}"
            if value is None or path in self.left_out:
                continue
            try:
                if path not in self._columns or "/" in name:
                    check_name(name)
                if path == PEAKS and self._peaks is not None and isinstance(value, Mapping):
                    self._peaks.put(row, value)
                elif isinstance(value, Mapping):
                    self._put_group(row, path, value, depth_left)
                else:
                    self._put_value(row, path, value)
            except NodeError as error:
                self.left_out[path] = error.reason

    def _put_group(self, row: int, path: str, value: Mapping[str, Any], depth_left: int) -> None:
        if depth_left == 0 or path in self._columns:
            raise NodeError(path, "mappings nest too deep" if depth_left == 0 else "it was a value at first")
        self._put_said(row, value, f"{path}/", depth_left - 1)

    def _put_value(self, row: int, path: str, value: Any) -> None:
        """Take what a message said; the first one of a name decides what the column is."""
        column = self._columns.get(path)
        if column is None or path in OWN_COLUMNS:
            column = self._add_column(path, value)
        self._rows.setdefault(path, {})[row] = column.exact(value, path)

    def _add_column(self, path: str, value: Any) -> Column:
        if path in OWN_COLUMNS:
            raise NodeError(path, "the file has a column of its own of this name")
        if len(self._columns) >= MAX_COLUMNS + len(OWN_COLUMNS):
            raise NodeError(path, f"there are {MAX_COLUMNS} columns already")
        *parents, name = path.split("/")
        group = self._group
        for parent in parents:
            group = group.require_group(parent)
        if name in group:
            raise NodeError(path, "the file has something else of this name")
        self._columns[path] = make_column(group, name, value)
        return self._columns[path]

    def write(self, n_rows: int) -> None:
        """Write what was collected; every column of it then has `n_rows` rows."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            numbers, own, said = zip(*waiting, strict=True)
            rows = Rows(numbers)
            for name in own[0]:
                self._write_numbers(name, rows, np.array([one[name] for one in own], OWN_COLUMNS[name]), n_rows)
            for name, values in self._sort_out(numbers, said).items():
                self._write_numbers(name, rows, values, n_rows)
        for name, by_row in self._rows.items():
            self._columns[name].write(by_row, n_rows)
        self._rows.clear()
        if self._peaks is not None:
            self._peaks.write(n_rows)

    def _write_numbers(self, name: str, rows: Rows, values: npt.NDArray[Any], n_rows: int) -> None:
        column = self._columns[name]
        if isinstance(column, NumberColumn):
            column.write_all(rows, values, n_rows)

    def _sort_out(self, numbers: Sequence[int], said: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of which all messages have a plain number; all else that they say is taken one by one."""
        first, n_taken = said[0], 0
        if any(name not in self._columns and name not in self.left_out for name in first):
            self._put_said(numbers[0], first, "", MAX_DEPTH)  # it makes the columns that the others need
            n_taken = 1
        plain: dict[str, npt.NDArray[Any]] = {}
        for name in first.keys() - self.left_out.keys() - OWN_COLUMNS.keys():
            column = self._columns.get(name)
            if isinstance(column, NumberColumn) and "/" not in name:
                values = column.exact_all([one.get(name) for one in said])
                if values is not None:
                    plain[name] = values
                    self._rows.pop(name, None)
        for number, one in zip(numbers[n_taken:], said[n_taken:], strict=True):
            if len(one) > len(plain):
                self._put_said(number, {k: v for k, v in one.items() if k not in plain}, "", MAX_DEPTH)
        return plain

    def cut(self, n_rows: int) -> None:
        """Let every column end with row `n_rows`."""
        for column in self._columns.values():
            column.resize(n_rows)
        if self._peaks is not None:
            self._peaks.resize(n_rows)

    def blocks(self, *names: str) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Yield the named columns together, block by block."""
        datasets = [self._columns[name].dataset for name in names]
        n_rows = datasets[0].shape[0]
        for first in range(0, n_rows, CHUNK_ROWS):
            yield tuple(dataset[first : first + CHUNK_ROWS] for dataset in datasets)

    def cell(self, name: str, row: int) -> int:
        """Return what stands in the file in one row of a column of whole numbers."""
        return int(self._columns[name].dataset[row])
