"""Rows in any order, written together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beamstream_consumers.write.rows import MAX_RUNS, Rows, runs


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 99)), max_size=25))
def test_rows_are_stored_as_if_one_by_one(written: list[tuple[int, int]]) -> None:
    expected = np.zeros(31, "<i8")
    for row, value in written:
        expected[row] = value
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "rows.h5", "w") as file:
        dataset = file.create_dataset("x", (31,), "<i8", chunks=(8,), maxshape=(None,))
        Rows([row for row, _ in written]).store(dataset, np.array([value for _, value in written], "<i8"))
        assert np.array_equal(dataset[()], expected)


def test_what_lies_between_many_rows_stays_as_it_was(tmp_path: Path) -> None:
    odd = list(range(1, 4 * MAX_RUNS, 2))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        dataset = file.create_dataset("x", data=np.arange(4 * MAX_RUNS), chunks=(8,))
        Rows(odd).store(dataset, np.full(len(odd), -1))
        assert dataset[()].tolist() == [-1 if row in odd else row for row in range(4 * MAX_RUNS)]


def test_neighbours_come_together_in_order_and_the_last_of_equal_rows_counts() -> None:
    found = [(first, values.tolist()) for first, values in runs({4: 40, 2: 20, 3: 30, 9: 90}, np.dtype("<i8"))]
    assert found == [(2, [20, 30, 40]), (9, [90])]
    assert Rows([5, 1, 5]).in_order(np.array([50, 10, 51])).tolist() == [10, 51]
