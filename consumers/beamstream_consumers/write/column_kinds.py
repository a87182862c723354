"""What a column can hold: numbers, texts, or lists of numbers of any length.

Lists are one dataset (n_rows, longest) beside one of their lengths, filled up with 0 or NaN: readers of HDF5 files know
such arrays, and few know HDF5's own type for lists.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from .errors import NodeError
from .rows import Rows, runs

CHUNK_ROWS = 1024
"""Rows per chunk: 8 kB of 8-byte numbers. Each commit writes the last chunk of every column again."""

LIST_CHUNK = (64, 64)
"""Rows and elements per chunk of a column of lists: 32 kB again."""

MAX_LIST = 65_536
"""Longest list in a column; peaks of a frame are some thousands at most."""

MAX_TEXT_CHARACTERS = 65_536
"""Longest text in a column."""

WHOLE = np.dtype("<i8")
FRACTION = np.dtype("<f8")
"""What numbers that messages say are kept as."""

LENGTHS = "lengths"
"""Attribute of a column of lists: name of the dataset beside it that says how long each is."""


class Column(abc.ABC):
    """One dataset with a row for each message."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.dtype: np.dtype[Any] = dataset.dtype
        self._n_rows = int(dataset.shape[0])

    @abc.abstractmethod
    def exact(self, value: Any, name: str) -> Any:
        """Return a value as the column holds it, without loss; raises `NodeError` where it cannot."""

    @abc.abstractmethod
    def write(self, rows: Mapping[int, Any], n_rows: int) -> None:
        """Write rows; the column has at least `n_rows` then."""

    def resize(self, n_rows: int) -> None:
        """Let the column have `n_rows` rows."""
        if n_rows != self._n_rows:
            # h5py's own `resize` asks for much that is known here
            self.dataset.id.set_extent((n_rows, *self._row_shape()))
            self._n_rows = n_rows

    def _row_shape(self) -> tuple[int, ...]:
        return ()

    def _grow(self, n_rows: int) -> None:
        if n_rows > self._n_rows:
            self.resize(n_rows)


class NumberColumn(Column):
    """Whole numbers of 64 bits, or floats."""

    @classmethod
    def create(cls, group: h5py.Group, name: str, dtype: np.dtype[Any]) -> Self:
        """Make a column without rows."""
        # as `group.create_dataset`, which takes three times as long; each data file has a dozen of columns
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((CHUNK_ROWS,))
        properties.set_fill_value(np.array(np.nan if dtype.kind == "f" else 0, dtype))
        properties.set_obj_track_times(False)
        space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
        kind = h5py.h5t.py_create(dtype, logical=True)
        return cls(h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, properties)))

    def exact(self, value: Any, name: str) -> int | float:
        """Return a number as the column holds it."""
        if not isinstance(value, bool | int | float | np.number | np.bool_):
            raise NodeError(name, "it was a number at first and is none any more")
        if self.dtype.kind == "f":
            return float(value)
        if isinstance(value, float | np.floating) and not float(value).is_integer():
            raise NodeError(name, "it was a whole number at first and is none any more")
        number = int(value)
        if not -(2**63) <= number < 2**63:
            raise NodeError(name, f"{number} does not fit into 64 bits")
        return number

    def write(self, rows: Mapping[int, Any], n_rows: int) -> None:
        """Write rows of numbers."""
        self.write_all(Rows(list(rows)), np.array(list(rows.values()), dtype=self.dtype), n_rows)

    def exact_all(self, values: Sequence[Any]) -> npt.NDArray[Any] | None:
        """Return many numbers as the column holds them; None where each has to be looked at for itself."""
        kinds = set(map(type, values))
        if not (kinds == {int} and self.dtype == WHOLE) and not (kinds == {float} and self.dtype == FRACTION):
            return None
        try:
            return np.array(values, dtype=self.dtype)
        except OverflowError:
            return None

    def write_all(self, rows: Rows, values: npt.NDArray[Any], n_rows: int) -> None:
        """Write a number for each of `rows`, of the column's dtype."""
        self._grow(n_rows)
        rows.store(self.dataset, values)


class TextColumn(Column):
    """Texts."""

    @classmethod
    def create(cls, group: h5py.Group, name: str) -> Self:
        """Make a column without rows."""
        return cls(
            group.create_dataset(name, shape=(0,), dtype=h5py.string_dtype(), chunks=(CHUNK_ROWS,), maxshape=(None,))
        )

    def exact(self, value: Any, name: str) -> str:
        """Return a text as the column holds it."""
        if not isinstance(value, str):
            raise NodeError(name, "it was a text at first and is none any more")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NodeError(name, str(error)) from error
        if "\0" in value or len(value) > MAX_TEXT_CHARACTERS:
            raise NodeError(name, f"a text with a NUL inside, or over {MAX_TEXT_CHARACTERS} characters")
        return value

    def write(self, rows: Mapping[int, Any], n_rows: int) -> None:
        """Write rows of texts."""
        self._grow(n_rows)
        for first, values in runs(rows, np.dtype(object)):
            self.dataset[first : first + len(values)] = values


class ListColumn(Column):
    """Lists of numbers, each as long as it likes."""

    def __init__(self, dataset: h5py.Dataset, lengths: h5py.Dataset) -> None:
        super().__init__(dataset)
        self.lengths = NumberColumn(lengths)
        self._width = int(dataset.shape[1])

    @classmethod
    def create(
        cls, group: h5py.Group, name: str, dtype: np.dtype[Any], lengths: str, fill: float | None = None
    ) -> Self:
        """Make a column without rows; `lengths` may be there already, shared with other columns."""
        if lengths not in group:
            NumberColumn.create(group, lengths, WHOLE)
        default = np.nan if dtype.kind == "f" else 0
        dataset = group.create_dataset(
            name, shape=(0, LIST_CHUNK[1]), dtype=dtype, chunks=LIST_CHUNK, maxshape=(None, None),
            fillvalue=default if fill is None else fill,
        )  # fmt: skip
        dataset.attrs[LENGTHS] = lengths
        return cls(dataset, group[lengths])

    def exact(self, value: Any, name: str) -> npt.NDArray[Any]:
        """Return a list as the column holds it."""
        array = as_list(value, name)
        if self.dtype.kind != "f" and array.dtype.kind == "f":
            raise NodeError(name, "its numbers were whole at first and are not any more")
        return array.astype(self.dtype)

    def write(self, rows: Mapping[int, Any], n_rows: int) -> None:
        """Write rows of lists, and how long they are."""
        self.lengths.write({row: len(values) for row, values in rows.items()}, n_rows)
        self._grow(n_rows)
        longest = max((len(values) for values in rows.values()), default=0)
        if longest > self._width:
            self._width = -(-longest // LIST_CHUNK[1]) * LIST_CHUNK[1]
            self.dataset.resize(self._width, axis=1)
        for first, lists in runs(rows, np.dtype(object)):
            width = max(len(values) for values in lists)
            block = np.full((len(lists), width), self.dataset.fillvalue, self.dtype)
            for place, values in enumerate(lists):
                block[place, : len(values)] = values
            if width:
                self.dataset[first : first + len(lists), :width] = block

    def _row_shape(self) -> tuple[int, ...]:
        return (self._width,)

    def resize(self, n_rows: int) -> None:
        """Let the column, and its lengths, have `n_rows` rows."""
        super().resize(n_rows)
        self.lengths.resize(n_rows)


def make_column(group: h5py.Group, name: str, value: Any) -> Column:
    """Make the column that a value needs.

    Raises
    ------
    NodeError
        If there is none for it.
    """
    if isinstance(value, str):
        return TextColumn.create(group, name)
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return NumberColumn.create(group, name, FRACTION if isinstance(value, float | np.floating) else WHOLE)
    array = as_list(value, name)
    lengths = f"{name}_length"
    if lengths in group:
        raise NodeError(name, f"there is something called {lengths} already")
    return ListColumn.create(group, name, FRACTION if array.dtype.kind == "f" else WHOLE, lengths)


def open_column(dataset: h5py.Dataset) -> Column | None:
    """Return the column that a dataset is; None of what belongs to another one."""
    if LENGTHS in dataset.attrs:
        return ListColumn(dataset, dataset.parent[dataset.attrs[LENGTHS]])
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return TextColumn(dataset)
    return NumberColumn(dataset)


def as_list(value: Any, name: str) -> npt.NDArray[Any]:
    """Return a list of numbers as an array of one axis.

    Raises
    ------
    NodeError
        If it is something else.
    """
    if not isinstance(value, list | tuple | np.ndarray):
        raise NodeError(name, f"{type(value).__name__} makes no column; numbers, texts and lists of numbers do")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise NodeError(name, str(error)) from error
    if array.size == 0:
        return np.zeros(0, "<i8")
    if array.ndim != 1 or array.dtype.kind not in "biuf" or (array.dtype.kind == "u" and array.max() >= 2**63):
        raise NodeError(name, "a list of something else than numbers")
    if array.size > MAX_LIST:
        raise NodeError(name, f"{array.size} numbers are over the limit of {MAX_LIST}")
    return array
