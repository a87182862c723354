"""Rows of several data files as rows of their master: which message is where, and columns put together.

Where two files have the same message (a member was killed before it could acknowledge it, another was given it again)
the first one counts. Columns are read and written in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .column_kinds import CHUNK_ROWS, LENGTHS, LIST_CHUNK
from .declined import Range, read_declined
from .errors import OutputExistsError, RecordingConflictError, output_errors
from .finished import stream_address
from .peaks import RESULT
from .rows import Rows
from .skeleton import MESSAGES, NOTES

IMAGES = "entry/data/data"

Numbers = npt.NDArray[np.int64]


PIECE_ROWS = 16 * CHUNK_ROWS
"""Rows of a column of numbers that are copied at once: 128 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnKind:
    """What a column of a data file is.

    Attributes
    ----------
    dtype : dtype
        Of its elements; objects are texts.
    is_text : bool
        Whether it holds texts.
    fill : number or None
        What stands where nothing was said; None of texts.
    width : int
        Elements per row of a column of lists, 0 of others.
    attributes : mapping
        Its attributes.
    """

    dtype: np.dtype[Any]
    is_text: bool
    fill: Any
    width: int
    attributes: Mapping[str, Any]

    @property
    def is_number(self) -> bool:
        """Whether it has one number per row."""
        return not self.is_text and LENGTHS not in self.attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One data file.

    Attributes
    ----------
    path : Path
        Where it is.
    ids, rows : (n,) int64
        The messages that it has, and the row of each.
    checksums : (n,) uint64
        Of each.
    first_id : int
        The id of its first row, where rows are by id.
    n_rows : int
        How many rows it has.
    dataset : tuple or None
        Shape and dtype of its arrays; None where it has none.
    stored_bytes : int
        Size of its arrays as they are stored [bytes].
    declined : list of (int, int)
        Ids for which there is no message by decision.
    columns : mapping
        Its columns, by their paths.
    """

    path: Path
    ids: Numbers
    rows: Numbers
    checksums: npt.NDArray[np.uint64]
    first_id: int
    n_rows: int
    dataset: tuple[tuple[int, ...], str] | None
    stored_bytes: int
    declined: list[Range]
    columns: Mapping[str, ColumnKind]


def read_part(path: Path, address: str) -> Part:
    """Look at a data file.

    Raises
    ------
    OutputExistsError
        If it is not of this stream.
    OutputError
        If it cannot be read.
    """
    with output_errors(path), h5py.File(path, "r") as file:
        if (found := stream_address(file)) != address:
            raise OutputExistsError(path, f"holds {found or 'no stream of ours'}")
        columns, notes = file[MESSAGES], file[NOTES]
        rows = np.flatnonzero(columns["received"][()])
        data = file.get(IMAGES)
        return Part(
            path=path,
            ids=columns["message_id"][()][rows].astype(np.int64),
            rows=rows,
            checksums=columns["checksum"][()][rows],
            first_id=int(notes.attrs["first_id"]),
            n_rows=int(columns["received"].shape[0]),
            dataset=None if data is None else (tuple(data.shape), data.dtype.str),
            stored_bytes=0 if data is None else int(data.id.get_storage_size()),
            declined=read_declined(notes),
            columns=dict(_column_kinds(file)),
        )


def has_arrays(path: Path) -> bool:
    """Whether a data file has a dataset of arrays."""
    with output_errors(path), h5py.File(path, "r") as file:
        return IMAGES in file


def _column_kinds(file: h5py.File) -> Iterator[tuple[str, ColumnKind]]:
    for top in (MESSAGES, f"entry/{RESULT}"):
        if top in file:
            yield from _kinds_in(file[top], top)


def _kinds_in(group: h5py.Group, path: str) -> Iterator[tuple[str, ColumnKind]]:
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            yield from _kinds_in(node, f"{path}/{name}")
        else:
            is_text = h5py.check_string_dtype(node.dtype) is not None
            yield (
                f"{path}/{name}",
                ColumnKind(
                    dtype=node.dtype,
                    is_text=is_text,
                    fill=None if is_text else node.fillvalue,
                    width=node.shape[1] if node.ndim == 2 else 0,
                    attributes=dict(node.attrs),
                ),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Where the rows of a master are.

    Attributes
    ----------
    part, row : (n_rows,) int64
        Which data file, -1 where the message is missing, and which row of it.
    ids : (n,) int64
        The messages that are there, in order.
    checksums : (n,) uint64
        Of each.
    n_twice : int
        How many messages are in two data files.
    """

    part: Numbers
    row: Numbers
    ids: Numbers
    checksums: npt.NDArray[np.uint64]
    n_twice: int


def make_index(parts: Sequence[Part], last_id: int, *, packed: bool) -> Index:
    """Put the messages of all data files in the order of their ids.

    Raises
    ------
    RecordingConflictError
        If two files have different messages under one id.
    """
    ids = np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int64)])
    rows = np.concatenate([part.rows for part in parts] or [np.zeros(0, np.int64)])
    checksums = np.concatenate([part.checksums for part in parts] or [np.zeros(0, np.uint64)])
    which = np.repeat(np.arange(len(parts)), [len(part.ids) for part in parts])
    order = np.argsort(ids, kind="stable")
    ids, rows, checksums, which = ids[order], rows[order], checksums[order], which[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    differing = np.flatnonzero(~first & (checksums != np.roll(checksums, 1)))
    if len(differing):
        at = int(differing[0])
        path = parts[int(which[at])].path
        raise RecordingConflictError(path, int(ids[at]), int(checksums[at]), int(checksums[at - 1]))
    n_twice = int(np.count_nonzero(~first))
    ids, rows, checksums, which = ids[first], rows[first], checksums[first], which[first]
    if packed:
        return Index(part=which, row=rows, ids=ids, checksums=checksums, n_twice=n_twice)
    n_rows = max(last_id, int(ids[-1]) if len(ids) else 0)
    part, row = np.full(n_rows, -1, np.int64), np.zeros(n_rows, np.int64)
    part[ids - 1], row[ids - 1] = which, rows
    return Index(part=part, row=row, ids=ids, checksums=checksums, n_twice=n_twice)


def gather_columns(file: h5py.File, parts: Sequence[Part], index: Index) -> None:
    """Write the columns of a master."""
    paths = dict.fromkeys(path for part in parts for path in part.columns)
    numbers: dict[str, h5py.Dataset] = {}
    for path in paths:
        having = [number for number, part in enumerate(parts) if path in part.columns]
        kinds = [parts[number].columns[path] for number in having]
        target = _make_column(file, path, kinds, len(index.part))
        if all(kind.is_number for kind in kinds):
            numbers[path] = target
            continue
        for first in range(0, len(index.part), CHUNK_ROWS):
            _gather_block(target, path, parts, having, index, first)
    _gather_numbers(numbers, parts, index)


def _make_column(file: h5py.File, path: str, kinds: Sequence[ColumnKind], n_rows: int) -> h5py.Dataset:
    """Make a column that holds what all data files have in theirs."""
    like = next((kind for kind in reversed(kinds) if kind.dtype.kind == "f" and not kind.is_text), kinds[0])
    width = max(kind.width for kind in kinds)
    attributes = kinds[-1].attributes
    parent, _, name = path.rpartition("/")
    group = file.require_group(parent)
    shape, chunks = ((n_rows, width), LIST_CHUNK) if LENGTHS in attributes else ((n_rows,), (CHUNK_ROWS,))
    dataset = group.create_dataset(
        name, shape=shape, dtype=like.dtype, chunks=chunks, maxshape=(None,) * len(shape), fillvalue=like.fill
    )
    dataset.attrs.update(attributes)
    return dataset


def _gather_numbers(targets: Mapping[str, h5py.Dataset], parts: Sequence[Part], index: Index) -> None:
    """Copy columns of one number per row, data file by data file: each is opened once."""
    order = np.argsort(index.part, kind="stable")
    begins = np.searchsorted(index.part[order], np.arange(len(parts) + 1))
    for part, begin, end in zip(parts, begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        if begin == end:
            continue
        with output_errors(part.path):
            file = h5py.File(part.path, "r")
        with file:
            for path in part.columns.keys() & targets.keys():
                for first in range(begin, end, PIECE_ROWS):
                    here = order[first : min(end, first + PIECE_ROWS)]
                    with output_errors(part.path):
                        here, values = _values_at(file[path], here, index.row[here])
                    Rows(here).store(targets[path], values.astype(targets[path].dtype))


def _values_at(source: h5py.Dataset, here: Numbers, rows: Numbers) -> tuple[Numbers, npt.NDArray[Any]]:
    """Read some rows of a column; those that it does not have are left out of `here`, too."""
    there = rows < source.shape[0]
    here, rows = here[there], rows[there]
    low, high = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
    return here, source[low : high + 1][rows - low]


def _gather_block(
    target: h5py.Dataset, path: str, parts: Sequence[Part], having: Sequence[int], index: Index, first: int
) -> None:
    here = slice(first, first + CHUNK_ROWS)
    numbers, rows = index.part[here], index.row[here]
    there = [number for number in having if np.any(numbers == number)]
    if not there:
        return
    block: npt.NDArray[Any] = target[here]
    for number in there:
        with output_errors(parts[number].path), h5py.File(parts[number].path, "r") as part:
            column = part[path]
            wanted = np.flatnonzero((numbers == number) & (rows < column.shape[0]))
            if not len(wanted):
                continue
            low, high = int(rows[wanted].min()), int(rows[wanted].max())
            values = column[low : high + 1][rows[wanted] - low]
            if block.ndim == 2:
                block[wanted, : values.shape[1]] = values
            else:
                block[wanted] = values
    target[here] = block
