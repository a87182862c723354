"""Metadata trees in HDF5: what can be written is, what cannot is named, and nothing brings the writer down."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamstream_consumers.write.nexus import COMPRESS_FROM_BYTES, MAX_DEPTH, MAX_NODES, write_tree


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "tree.h5", "w") as file:
        yield file


def test_groups_datasets_and_attributes_are_written(file: h5py.File) -> None:
    tree = {
        "@NX_class": "NXentry",
        "detector": {
            "@NX_class": "NXdetector",
            "distance": 0.25,
            "distance@units": "m",
            "n": np.uint16(7),
            "names": ["a", "ü"],
            "size": [1, 2],
            "blob": b"\x00\xff",
            "flag": True,
            "nothing": None,
        },
        "detector@long_name": "the one",
    }
    assert write_tree(file, tree) == []
    detector = file["detector"]
    assert file.attrs["NX_class"] == "NXentry"
    assert (detector["distance"][()], detector["distance"].attrs["units"]) == (0.25, "m")
    assert detector["n"].dtype == np.uint16
    assert detector["names"].asstr()[()].tolist() == ["a", "ü"]
    assert detector["size"][()].tolist() == [1, 2]
    assert detector["blob"][()].tolist() == [0, 255]
    assert bool(detector["flag"][()]) is True
    assert "nothing" not in detector
    assert detector.attrs["long_name"] == "the one"


def test_large_arrays_are_compressed(file: h5py.File) -> None:
    mask = np.zeros((512, 1030), dtype="u4")
    assert mask.nbytes > COMPRESS_FROM_BYTES
    write_tree(file, {"pixel_mask": mask})
    assert file["pixel_mask"].id.get_storage_size() < mask.nbytes // 50
    assert np.array_equal(file["pixel_mask"][()], mask)


HOSTILE_NODES: dict[str, Any] = {
    "path": {"a/b": 1},
    "parent": {"..": 1},
    "self": {".": {}},
    "absolute": {"/entry": 1},
    "empty name": {"": 1},
    "long name": {"x" * 256: 1},
    "NUL in a name": {"a\0b": 1},
    "control character": {"a\nb": 1},
    "surrogate in a name": {"a\udc80": 1},
    "number as a name": {7: 1},
    "NUL in a text": {"x": "a\0b"},
    "surrogate in a text": {"x": "\udc80"},
    "object": {"x": object()},
    "date": {"x": datetime.date(2026, 1, 1)},
    "date array": {"x": np.array(["2026-01-01"], dtype="M8[D]")},
    "complex": {"x": 1j},
    "record": {"x": np.zeros(1, dtype=[("a", "i4")])},
    "set": {"x": {1, 2}},
    "huge integer": {"x": 2**70},
    "ragged list": {"x": [[1], [1, 2]]},
    "mixed list": {"x": ["a", 1]},
    "list with None": {"x": [1, None]},
    "list of mappings": {"x": [{"a": 1}]},
    "attribute of nothing": {"x@units": "m"},
    "attribute of a path": {"a/b@units": "m"},
    "attribute without a name": {"@": "m"},
    "attribute with a path": {"@a/b": "m"},
    "attribute that is a mapping": {"@a": {"b": 1}},
    "attribute too large": {"@a": np.zeros(100_000)},
}


@pytest.mark.parametrize("tree", HOSTILE_NODES.values(), ids=HOSTILE_NODES.keys())
def test_a_hostile_node_is_left_out_and_the_rest_is_written(file: h5py.File, tree: dict[Any, Any]) -> None:
    rejected = write_tree(file, {**tree, "good": 1})
    assert len(rejected) == 1
    assert rejected[0].reason
    assert list(file) == ["good"]
    assert not file.attrs


def test_a_tree_that_is_too_deep_is_cut(file: h5py.File) -> None:
    tree: dict[str, Any] = {"leaf": 1}
    for _ in range(10 * MAX_DEPTH):
        tree = {"g": tree}
    assert len(write_tree(file, tree)) == 1
    assert "/".join("g" * MAX_DEPTH) in file


def test_a_tree_that_is_too_large_is_cut_and_named_once(file: h5py.File) -> None:
    tree = {f"n{i}": 1 for i in range(MAX_NODES + 10)}
    assert len(write_tree(file, tree)) == 1
    assert len(file) == MAX_NODES


def test_reserved_paths_and_what_is_there_stay_as_they_are(file: h5py.File) -> None:
    file["entry/mine"] = 1
    rejected = write_tree(file, {"entry": {"mine": 2, "data": 3, "other": 4}}, {"/entry/data"})
    assert sorted(error.path for error in rejected) == ["/entry/data", "/entry/mine"]
    assert file["entry/mine"][()] == 1
    assert file["entry/other"][()] == 4
