"""Columns: rows in any order, numbers without loss, names that are names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from beamstream_consumers.write.columns import MAX_COLUMNS, OWN_COLUMNS, Columns

OWN = {"message_id": 1, "timestamp": 2, "checksum": 2**64 - 1, "received": 1}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[h5py.Group]:
    with h5py.File(tmp_path / "columns.h5", "w") as file:
        yield file.create_group("messages")


def test_rows_come_in_any_order_and_the_last_one_counts(group: h5py.Group) -> None:
    columns = Columns(group)
    for row, value in ((5, 50), (0, 1), (4, 40), (0, 10)):
        columns.put(row, OWN, {"x": value})
    columns.write(7)
    assert group["x"][()].tolist() == [10, 0, 0, 0, 40, 50, 0]
    assert int(group["checksum"][0]) == 2**64 - 1


def test_a_column_that_appears_late_has_all_rows(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {})
    columns.write(1)
    columns.put(1, OWN, {"seldom": 0.5})
    columns.write(2)
    columns.cut(2)
    assert np.isnan(group["seldom"][0])
    assert group["seldom"][1] == 0.5


def test_columns_are_continued(group: h5py.Group) -> None:
    for row in (0, 1):
        columns = Columns(group)
        columns.put(row, OWN, {"x": row + 1})
        columns.write(row + 1)
    assert group["x"][()].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"a/b": 1}, "a/b"),
        ({"checksum": 5}, "checksum"),
        ({"x": 2**63}, "x"),
        ({"": 1}, ""),
    ],
)
def test_what_can_be_no_column_is_left_out_by_name(group: h5py.Group, metadata: dict[str, int], name: str) -> None:
    columns = Columns(group)
    columns.put(0, OWN, metadata)
    columns.write(1)
    assert list(columns.left_out) == [name]
    assert int(group["checksum"][0]) == 2**64 - 1


def test_a_whole_column_takes_no_fractions(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {"x": 1})
    columns.put(1, OWN, {"x": 2.0})
    columns.put(2, OWN, {"x": 2.5})
    columns.write(3)
    assert group["x"][()].tolist() == [1, 2, 0]
    assert "x" in columns.left_out


def test_texts_and_lists_are_no_columns(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {"text": "a", "list": [1], "none": None})
    columns.write(1)
    assert set(group) == set(OWN_COLUMNS)


def test_the_number_of_columns_is_bounded(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {f"x{i}": i for i in range(MAX_COLUMNS + 3)})
    columns.write(1)
    assert len(group) == MAX_COLUMNS + len(OWN_COLUMNS)
    assert len(columns.left_out) == 3
