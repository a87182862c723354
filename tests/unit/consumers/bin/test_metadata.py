"""What the metadata of pixels becomes when it has to speak of blocks."""

from __future__ import annotations

import numpy as np

from beamstream_consumers.bin.metadata import binned_mask, binned_metadata

DETECTOR = {
    "@NX_class": "NXdetector",
    "x_pixel_size": 75e-6,
    "x_pixel_size@units": "m",
    "beam_center_x": 1034.5,
    "saturation_value": 100,
    "bit_depth_image": 16,
    "flatfield": np.ones((5, 7), dtype="f4"),
    "distance": 0.2,
    "description": "Eiger",
    "pixel_mask": np.ones((5, 7), dtype="u4"),
    "module": {
        "@NX_class": "NXdetector_module",
        "data_origin": np.array([0, 0]),
        "data_size": np.array([5, 7]),
        "fast_pixel_direction": 75e-6,
        "fast_pixel_direction@vector": [-1, 0, 0],
    },
}
METADATA = {
    "entry": {
        "@NX_class": "NXentry",
        "title": "x",
        "instrument": {"@NX_class": "NXinstrument", "detector": DETECTOR},
    },
    "simplon": {"series_id": 1},
}


def test_lengths_grow_positions_shrink_and_the_rest_stays() -> None:
    binned = binned_metadata(METADATA, 4, "bt/eiger/run")
    detector = binned["entry"]["instrument"]["detector"]
    assert detector["x_pixel_size"] == 4 * 75e-6
    assert detector["x_pixel_size@units"] == "m"
    assert detector["beam_center_x"] == 1034.5 / 4
    assert detector["saturation_value"] == 1600
    assert detector["distance"] == 0.2
    assert detector["description"] == "Eiger"
    assert detector["pixel_mask"].shape == (2, 2)
    assert detector["module"]["data_size"].tolist() == [2, 2]
    assert detector["module"]["fast_pixel_direction"] == 4 * 75e-6
    assert detector["module"]["fast_pixel_direction@vector"] == [-1, 0, 0]
    assert not {"flatfield", "bit_depth_image"} & set(detector)
    assert binned["entry"]["title"] == "x"
    assert binned["binning"] == {"factor": 4, "source": "bt/eiger/run", "scaled": False}
    assert "simplon" not in binned


def test_the_source_metadata_is_not_changed() -> None:
    binned_metadata(METADATA, 2, "bt/eiger/run")
    assert DETECTOR["x_pixel_size"] == 75e-6


def test_a_block_is_bad_where_no_good_pixel_is_left() -> None:
    mask = np.array([[1, 1, 0], [1, 1, 8], [0, 1, 2]], dtype="u4")
    assert binned_mask(mask, 2).tolist() == [[1, 0], [0, 1]]


def test_metadata_that_is_no_nexus_tree_does_no_harm() -> None:
    for metadata in ({}, {"entry": 5}, {"entry": {"@NX_class": "NXdetector", "x_pixel_size": "wide"}}):
        assert binned_metadata(metadata, 2, "s")["binning"]["factor"] == 2
