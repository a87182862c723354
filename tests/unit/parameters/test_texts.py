"""Values of parameters as texts and files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream.errors import UsageError
from beamstream.parameters import (
    ParameterError,
    ParameterRangeError,
    Parameters,
    ParameterTypeError,
    UnknownParameterError,
    parse_texts,
    read_files,
)


def analysis(
    frame: object,
    *,
    threshold: float = 8.0,
    min_pixels: int = 2,
    enabled: bool = True,
    geometry: str = "",
    limit: float | None = None,
    mask: npt.NDArray[Any] | None = None,
) -> None: ...


PARAMETERS = Parameters.of(analysis)


def test_texts_become_values_of_their_types() -> None:
    texts = ["threshold=1.2e1", "min-pixels=3", "enabled=off", "geometry=a=b", "limit=none"]
    assert parse_texts(PARAMETERS, texts) == {
        "threshold": 12.0,
        "min_pixels": 3,
        "enabled": False,
        "geometry": "a=b",
        "limit": None,
    }


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        (["threshold"], UsageError, "KEY=VALUE"),
        (["threshold=hot"], ParameterTypeError, "threshold=hot is no float"),
        (["threshold="], ParameterTypeError, "is no float"),
        (["min_pixels=2.5"], ParameterTypeError, "is no int"),
        (["enabled=maybe"], ParameterTypeError, "is no bool"),
        (["mask=bad.npy"], ParameterTypeError, "--file mask=FILE"),
        (["treshold=1"], UnknownParameterError, "'threshold'"),
        (["threshold=1", "threshold=2"], ParameterError, "twice"),
    ],
)
def test_a_text_that_cannot_be_meant_is_refused(texts: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_texts(PARAMETERS, texts)


def test_files_hold_masks_and_geometries(tmp_path: Path) -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.save(tmp_path / "bad.npy", mask)
    (tmp_path / "panels.geom").write_text("clen = 0.1\n")
    values = read_files(PARAMETERS, [f"mask={tmp_path / 'bad.npy'}", f"geometry={tmp_path / 'panels.geom'}"])
    assert values["geometry"] == "clen = 0.1\n"
    np.testing.assert_array_equal(values["mask"], mask)


def test_a_file_that_cannot_be_used_is_refused_by_its_path(tmp_path: Path) -> None:
    objects, words, large = tmp_path / "objects.npy", tmp_path / "words.npy", tmp_path / "large.geom"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    words.write_bytes(b"no array")
    large.write_bytes(b"x" * ((4 << 20) + 1))
    for text, error in (
        (f"mask={objects}", UsageError),
        (f"mask={words}", UsageError),
        (f"mask={tmp_path / 'nothing.npy'}", UsageError),
        (f"geometry={words.with_suffix('.latin')}", UsageError),
        (f"geometry={large}", ParameterRangeError),
        (f"threshold={words}", ParameterTypeError),
    ):
        with pytest.raises(error, match=re.escape(text.partition("=")[2])):
            read_files(PARAMETERS, [text])
