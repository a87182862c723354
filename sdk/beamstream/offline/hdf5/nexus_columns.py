"""The columns of our own NeXus files: which messages are there, in which rows, and what each of them said.

Numbers, texts, lists of numbers and lists of peaks come back; a number that is NaN, an empty text and an empty list are
taken for not said.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .files import OpenFiles, reading
from .image_recording import MAX_MESSAGES, Described

NOTES = "entry/beamstream"
MESSAGES = f"{NOTES}/messages"
PEAKS = "entry/result_1"
PEAK_KEY = "key"
LENGTHS = "lengths"
OWN_COLUMNS = frozenset({"message_id", "timestamp", "checksum", "received", "late"})

BLOCK_ROWS = 4096
"""Rows of the columns that are read at once, as they are stored."""

MAX_DEPTH = 8
"""How deep groups of columns may nest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Messages with consecutive ids in consecutive rows."""

    first_id: int
    n_messages: int
    row: int


class MessageTable:
    """The columns of a file.

    Parameters
    ----------
    path : Path
        The file.
    files : OpenFiles
        Opens it.
    """

    def __init__(self, path: Path, files: OpenFiles) -> None:
        self._path = path
        self._files = files
        file = files.file(path)
        with reading(path):
            columns, said = file[MESSAGES], file[NOTES].attrs
            self._first_id = int(said.get("first_id", 1))
            n_rows = min(int(columns["received"].shape[0]), MAX_MESSAGES)
            packed = bool(said.get("packed", False))
            self.runs = _packed_runs(columns, n_rows) if packed else self._runs(columns["received"], n_rows)
            self.late = self._late(columns, n_rows, packed=packed)
            self._names = list(_names(columns, "", MAX_DEPTH))
            peaks = file.get(PEAKS)
            self._peaks = (
                [name for name, node in peaks.items() if PEAK_KEY in node.attrs]
                if isinstance(peaks, h5py.Group)
                else []
            )
        self._starts = [run.first_id for run in self.runs]
        self._block: tuple[int, dict[str, Any]] = (-1, {})

    def _runs(self, received: h5py.Dataset, n_rows: int) -> list[Rows]:
        return [
            Rows(first_id=first + self._first_id, n_messages=last - first + 1, row=first)
            for first, last in _flagged(received, n_rows)
        ]

    def _late(self, columns: h5py.Group, n_rows: int, *, packed: bool) -> list[int]:
        late = columns.get("late")
        if late is None:
            return []
        ranges = _flagged(late, min(n_rows, int(late.shape[0])))
        rows = [row for first, last in ranges for row in range(first, last + 1)]
        if packed:
            return sorted(int(columns["message_id"][row]) for row in rows)
        return [row + self._first_id for row in rows]

    def row(self, message_id: int) -> int:
        """Return the row of a message that is there."""
        run = self.runs[bisect.bisect_right(self._starts, message_id) - 1]
        return run.row + message_id - run.first_id

    def describe(self, message_id: int) -> Described:
        """Return what is known of a message."""
        block, place = divmod(self.row(message_id), BLOCK_ROWS)
        if self._block[0] != block:
            with reading(self._path):
                self._block = block, dict(self._read_block(block * BLOCK_ROWS))
        columns = self._block[1]
        return Described(
            timestamp_ns=int(columns["timestamp"][place]),
            metadata=self._said(columns, place),
            checksum=int(columns["checksum"][place]),
            late="late" in columns and place < len(columns["late"]) and bool(columns["late"][place]),
        )

    def _read_block(self, first: int) -> Iterator[tuple[str, Any]]:
        file = self._files.file(self._path)
        rows = slice(first, first + BLOCK_ROWS)
        for name in self._names:
            column = file[MESSAGES][name]
            if LENGTHS in column.attrs:
                lengths = column.parent[column.attrs[LENGTHS]][rows]
                yield name, [values[:n].tolist() for values, n in zip(column[rows], lengths, strict=False)]
            elif h5py.check_string_dtype(column.dtype) is not None:
                yield name, column.asstr(errors="replace")[rows]
            else:
                yield name, column[rows]
        for name in self._peaks:
            column = file[PEAKS][name]
            counts = column.parent[column.attrs[LENGTHS]][rows]
            lists = [values[:n].tolist() for values, n in zip(column[rows], counts, strict=False)]
            yield f"peaks/{column.attrs[PEAK_KEY]}", lists

    def _said(self, columns: dict[str, Any], place: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for name, rows in columns.items():
            if name in OWN_COLUMNS or place >= len(rows):
                continue
            value = rows[place].item() if isinstance(rows[place], np.generic) else rows[place]
            *parents, last = name.split("/")
            if parents[:1] != ["peaks"] and (value in ("", []) or (isinstance(value, float) and np.isnan(value))):
                continue
            target = metadata
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        return metadata


def _names(group: h5py.Group, prefix: str, depth_left: int) -> Iterator[str]:
    """Yield the columns, but for those that say how long the lists of another are."""
    lengths = {
        node.attrs[LENGTHS] for node in group.values() if isinstance(node, h5py.Dataset) and LENGTHS in node.attrs
    }
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            if depth_left:
                yield from _names(node, f"{prefix}{name}/", depth_left - 1)
        elif name not in lengths:
            yield prefix + name


def _flagged(column: h5py.Dataset, n_rows: int) -> list[tuple[int, int]]:
    """Return the ranges of rows in which a column is not 0, read in blocks."""
    ranges: list[tuple[int, int]] = []
    for first in range(0, n_rows, BLOCK_ROWS):
        rows = np.flatnonzero(column[first : first + BLOCK_ROWS])
        if rows.size == 0:
            continue
        breaks = np.flatnonzero(np.diff(rows) != 1)
        begins = rows[np.concatenate(([0], breaks + 1))]
        ends = rows[np.concatenate((breaks, [rows.size - 1]))]
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            if ranges and ranges[-1][1] == first + begin - 1:
                ranges[-1] = ranges[-1][0], first + end
            else:
                ranges.append((first + begin, first + end))
    return ranges


def _packed_runs(columns: h5py.Group, n_rows: int) -> list[Rows]:
    """Return where messages are whose rows are in the order of their arrival."""
    rows = np.flatnonzero(columns["received"][:n_rows])
    ids: npt.NDArray[np.int64] = columns["message_id"][:n_rows][rows].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    there = np.concatenate(([True], np.diff(ids) > 0))[: len(ids)] & (ids >= 1) & (ids <= MAX_MESSAGES)
    ids, rows = ids[there], rows[there]
    breaks = np.flatnonzero((np.diff(ids) != 1) | (np.diff(rows) != 1)) + 1
    return [
        Rows(first_id=int(some_ids[0]), n_messages=len(some_ids), row=int(some_rows[0]))
        for some_ids, some_rows in zip(np.split(ids, breaks), np.split(rows, breaks), strict=True)
        if len(some_ids)
    ]
