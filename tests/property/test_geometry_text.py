"""Geometry files as nobody should write them: read, or refused with an error of ours, and never anything else."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream_consumers.geometry import (
    Geometry,
    GeometryFormatError,
    GeometryIncompleteError,
    GeometryMaps,
    GeometryShapeError,
)
from beamstream_consumers.geometry.crystfel_format import parse_geom
from beamstream_consumers.geometry.crystfel_writing import to_geom
from beamstream_consumers.geometry.nexus_format import parse_nexus
from beamstream_consumers.geometry.poni_format import parse_poni

REFUSED = (GeometryFormatError, GeometryIncompleteError, GeometryShapeError)

VALUES = st.sampled_from(
    [
        "0",
        "1",
        "3",
        "-1",
        "1e9",
        "1e400",
        "nan",
        "inf",
        "x",
        "-y",
        "+0.5x -0.5y",
        "x+",
        "",
        "1 mm",
        "0.1 m",
        "5 eV",
        "/a/b",
        "/a/b mm",
        "true",
        "%",
        "ss",
        "fs",
        "p",
        "0xff",
        "-0x1",
        "9999999999999999999999",
        "1,2",
        "=",
        ";",
        "é",
    ]
)
KEYS = st.sampled_from(
    [
        "min_fs",
        "max_fs",
        "min_ss",
        "max_ss",
        "corner_x",
        "corner_y",
        "fs",
        "ss",
        "res",
        "coffset",
        "clen",
        "data",
        "dim0",
        "dim1",
        "mask",
        "mask_good",
        "mask0_badbits",
        "no_index",
        "flag_equal",
        "max_adu",
        "min_x",
        "max_x",
        "min_y",
        "max_y",
        "panel",
        "adu_per_eV",
        "mask_edge_pixels",
    ]
)
OWNERS = st.sampled_from(["p/", "q/", "bad1/", "badx/", "", "group_", "/"])
GOOD = ["p/min_fs=0", "p/max_fs=3", "p/min_ss=0", "p/max_ss=2", "p/corner_x=0", "p/corner_y=0"]
GOOD += ["p/fs=x", "p/ss=y", "p/res=1e4", "clen=0.1", "photon_energy=9000"]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def use(geometry: Geometry) -> None:
    """Make maps of what was read, unless it is large, and write it back."""
    if geometry.shape[0] * geometry.shape[1] < 10_000:
        maps = GeometryMaps(geometry)
        assert maps.radius_pixels.shape == maps.panel_id.shape == geometry.shape
    back = parse_geom(to_geom(geometry))
    assert [(panel.slow, panel.fast) for panel in back.panels] == [(p.slow, p.fast) for p in geometry.panels]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(OWNERS, KEYS, VALUES), max_size=6), st.integers(0, len(GOOD)), st.randoms())
def test_a_crystfel_file_is_read_or_refused(wrong: list[tuple[str, str, str]], n_good: int, random: Any) -> None:
    lines = GOOD[: n_good or len(GOOD)] + [f"{owner}{key} = {value}" for owner, key, value in wrong]
    random.shuffle(lines)
    try:
        geometry = parse_geom("\n".join(lines), metadata={"a": {"b": 85.0}})
    except REFUSED:
        return
    use(geometry)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_geom, parse_poni):
        with pytest.raises(REFUSED):
            parse(text)


PONI_KEYS = ["Detector", "Detector_config", "Distance", "Poni1", "Poni2", "Rot1", "Rot3", "Wavelength", "PixelSize1"]
PONI_VALUES = [
    "0.1",
    "-1",
    "nan",
    "1e999",
    "Eiger4M",
    "None",
    "",
    '{"pixel1": 1e-4, "pixel2": 1e-4}',
    "[]",
    "{",
    "null",
]
PONI_VALUES += ['{"max_shape": [3, 4], "orientation": 2}', '{"max_shape": [1e9, "x"]}', '{"orientation": []}', "1e-10"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PONI_KEYS), st.sampled_from(PONI_VALUES)), max_size=8))
def test_a_pyfai_file_is_read_or_refused(lines: list[tuple[str, str]]) -> None:
    try:
        geometry = parse_poni("".join(f"{key}: {value}\n" for key, value in lines), shape=(3, 4))
    except REFUSED:
        return
    if geometry.shape == (3, 4):
        use(geometry)


NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.floats(), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["module", "a@vector", "@NX_class", "a"]), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["beam_center_x", "beam_center_y", "x_pixel_size", "y_pixel_size", "distance", "distance@units", "pixel_mask"]
FIELDS += ["module", "x_pixel_size@units", "depends_on"]
MODULE_FIELDS = [
    "data_size",
    "data_origin",
    "fast_pixel_direction",
    "fast_pixel_direction@vector",
    "slow_pixel_direction",
]
MODULE_FIELDS += ["slow_pixel_direction@vector", "fast_pixel_direction@depends_on", "fast_pixel_direction@units"]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), NODES),
    st.dictionaries(st.sampled_from(MODULE_FIELDS), NODES | st.just([0, 0, 1.0]) | st.just([3, 4])),
)
def test_metadata_are_read_or_refused(fields: dict[str, Any], module: dict[str, Any]) -> None:
    detector = {"beam_center_x": 1.0, "beam_center_y": 1.0, "x_pixel_size": 1e-4, "y_pixel_size": 1e-4} | fields
    detector |= {"@NX_class": "NXdetector", "m": {"@NX_class": "NXdetector_module", **module}}
    instrument = {"@NX_class": "NXinstrument", "detector": detector}
    try:
        geometry = parse_nexus({"entry": {"instrument": instrument}}, shape=(3, 4))
    except REFUSED:
        return
    assert geometry.shape == (3, 4)
