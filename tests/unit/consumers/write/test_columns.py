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


def test_texts_lists_and_mappings_are_columns_too(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {"text": "ångström", "list": [1, 2], "motor": {"x": 0.5}, "none": None})
    columns.put(2, OWN, {"text": "b", "list": list(range(70)), "motor": {"x": 1.5, "name": "y"}})
    columns.write(3)
    columns.cut(3)
    assert group["text"].asstr()[()].tolist() == ["ångström", "", "b"]
    assert group["list_length"][()].tolist() == [2, 0, 70]
    assert group["list"].shape == (3, 128)
    assert group["list"][0, :3].tolist() == [1, 2, 0]
    assert group["list"][2, :70].tolist() == list(range(70))
    assert group["motor/x"][()].tolist() == pytest.approx([0.5, np.nan, 1.5], nan_ok=True)
    assert group["motor/name"].asstr()[()].tolist() == ["", "", "y"]


def test_columns_of_every_kind_are_continued(group: h5py.Group) -> None:
    for row in (0, 1):
        columns = Columns(group)
        columns.put(row, OWN, {"text": str(row), "list": [row] * row, "deep": {"er": {"x": row}}})
        columns.write(row + 1)
        assert not columns.left_out
    assert group["text"].asstr()[()].tolist() == ["0", "1"]
    assert group["list_length"][()].tolist() == [0, 1]
    assert group["deep/er/x"][()].tolist() == [0, 1]


PEAKS = {"fs": [1.5, 2.0], "ss": [3.0, 4.5], "intensity": [100.0, 50.0], "n_pixels": [4, 5], "own": [1, 2]}


def test_lists_of_peaks_stand_where_crystfel_looks_for_them(group: h5py.Group) -> None:
    for _ in range(2):  # the second time they are continued
        columns = Columns(group, group.file.require_group("entry"))
        columns.put(0, OWN, {"peaks": PEAKS})
        columns.put(2, OWN, {"peaks": {"fs": [], "ss": [], "intensity": []}})
        columns.write(3)
        columns.cut(3)
        assert not columns.left_out
    result = group.file["entry/result_1"]
    assert result["nPeaks"][()].tolist() == [2, 0, 0]
    assert result["peakXPosRaw"].shape == (3, 64)
    assert result["peakXPosRaw"][0, :3].tolist() == [1.5, 2.0, 0]
    assert result["peakYPosRaw"][0, :2].tolist() == [3.0, 4.5]
    assert result["peakTotalIntensity"][0, :2].tolist() == [100.0, 50.0]
    assert result["peakNPixels"].dtype.kind == "i"
    assert "peak_own" in result


def test_lists_of_peaks_of_different_lengths_are_left_out(group: h5py.Group) -> None:
    columns = Columns(group, group.file.require_group("entry"))
    columns.put(0, OWN, {"peaks": {"fs": [1], "ss": [1, 2]}})
    columns.write(1)
    assert columns.left_out == {"peaks": "its lists are of different lengths"}


@pytest.mark.parametrize(
    "value", [[1, "a"], [[1], [2]], ["a"], [1j], b"bytes", "a\0b", "\ud800", [2**63], [[1], [2, 3]]]
)
def test_what_is_no_number_text_or_list_of_numbers_is_left_out(group: h5py.Group, value: object) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {"x": value})
    columns.write(1)
    assert "x" in columns.left_out


def test_the_number_of_columns_is_bounded(group: h5py.Group) -> None:
    columns = Columns(group)
    columns.put(0, OWN, {f"x{i}": i for i in range(MAX_COLUMNS + 3)})
    columns.write(1)
    assert len(group) == MAX_COLUMNS + len(OWN_COLUMNS)
    assert len(columns.left_out) == 3
