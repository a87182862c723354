"""Scenes, polygons and what is kept: without any server."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError, UsageError
from beamstream_consumers.monitor.pictures.history import Bounded
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.polygons import draw, inside, read_shapes
from beamstream_consumers.monitor.pictures.said_peaks import read_peaks
from beamstream_consumers.monitor.pictures.scene import Scene
from beamstream_consumers.peaks.errors import PeakMessageError

DETECTOR = {
    "entry": {
        "@NX_class": "NXentry",
        "instrument": {
            "@NX_class": "NXinstrument",
            "detector": {
                "@NX_class": "NXdetector",
                "beam_center_x": 10.5,
                "beam_center_y": 4.25,
                "x_pixel_size": 75e-6,
                "y_pixel_size": 75e-6,
                "distance": 0.1,
                "pixel_mask": np.eye(8, 16, dtype="u4"),
            },
        },
    }
}


def test_a_flat_detector_is_shown_as_its_frames_are_with_its_mask_and_its_beam() -> None:
    scene = Scene(DETECTOR, (8, 16), mask=np.ones((8, 16)) * (np.arange(16) == 15))
    document = scene.document()
    assert document is not None
    assert document["beam"] == pytest.approx([10.5, 4.25])
    assert (document["distance_m"], document["wavelength_a"]) == (0.1, None)
    assert scene.n_masked == 8 + 8
    image = np.arange(8 * 16, dtype="u2").reshape(8, 16)
    picture = make_picture(image, scene, source="", kind="frame", stream="", message_id=1, taken_ns=0)
    good = image[(np.eye(8, 16) == 0) & (np.arange(16) != 15)]
    assert picture.about.numbers["total"] == good.sum()
    assert picture.about.numbers["n_masked"] == 16
    assert picture.about.radial is not None
    radius, mean = picture.about.radial
    at = np.hypot(*np.meshgrid(np.arange(16) + 0.5 - 10.5, np.arange(8) + 0.5 - 4.25))
    bad = (np.eye(8, 16) != 0) | (np.arange(16) == 15)
    ring = (np.abs(at - radius[3]) < 0.5) & ~bad
    assert mean[3] == pytest.approx(image[ring].mean())
    assert scene.resolution_a(0, 0) is None, "without a wavelength"


def test_a_mask_of_another_shape_is_said_and_not_used() -> None:
    scene = Scene({}, (8, 16), mask=np.ones((3, 3)), geometry="nonsense")
    assert scene.mask is None
    assert any("(3, 3)" in flaw for flaw in scene.flaws)
    assert any("geometry" in flaw for flaw in scene.flaws)
    assert scene.document() is None


def test_what_is_no_image_of_the_run_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        make_picture(
            np.zeros((2, 2), "u2"), Scene({}, (8, 16)), source="", kind="frame", stream="s", message_id=3, taken_ns=0
        )


def test_pixels_are_in_a_polygon_if_their_centres_are() -> None:
    square, _ = read_shapes([{"polygon": [[1, 1], [4, 1], [4, 3], [1, 3]]}])[0]
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(inside(square, (5, 6)), expected)
    triangle, _ = read_shapes([{"polygon": [[-5, -5], [20, -5], [-5, 20]]}])[0]
    rows, columns = np.indices((5, 6))
    np.testing.assert_array_equal(inside(triangle, (5, 6)), (rows + 0.5) + (columns + 0.5) < 15)
    outside, _ = read_shapes([{"polygon": [[50, 50], [60, 50], [60, 60]]}])[0]
    assert not inside(outside, (5, 6)).any()


def test_what_is_drawn_is_added_to_the_mask_that_is_there_and_erased_from_it() -> None:
    scene = Scene({}, (5, 6))
    before = np.zeros((5, 6), "u1")
    before[4] = 7
    everything = {"polygon": [[0, 0], [6, 0], [6, 5], [0, 5]], "erase": True}
    left = {"polygon": [[0, 0], [2, 0], [2, 5], [0, 5]]}
    assert draw(read_shapes([left]), scene, before).sum() == 2 * 4 + 6
    assert draw(read_shapes([everything, left]), scene, before).sum() == 10
    assert draw(read_shapes([left]), scene, np.ones((2, 2))).sum() == 10


@pytest.mark.parametrize(
    "shapes",
    [
        None, [], "polygon", [3], [{}], [{"polygon": 3}], [{"polygon": [[0, 0], [1, 1]]}],
        [{"polygon": [[0, 0], [1, 1], ["x", 2]]}], [{"polygon": [[0, 0], [1, 1], [float("nan"), 2]]}],
        [{"polygon": [[0, 0], [1, 1], [1e9, 2]]}], [{"polygon": [[0, 0], [1, 1], [2]]}],
        [{"polygon": [[0, 0], [1, 0], [1, 1]], "erase": "yes"}], [{"polygon": [[0, 0]] * 2000}],
        [{"polygon": [[0, 0], [1, 0], [1, 1]]}] * 200,
    ],
)  # fmt: skip
def test_what_is_no_drawing_is_refused(shapes: object) -> None:
    with pytest.raises(UsageError):
        read_shapes(shapes)


@pytest.mark.parametrize(
    "metadata",
    [
        {}, {"n_peaks": 1}, {"n_peaks": 1, "peaks": []},
        {"n_peaks": "x", "peaks": {"fs": [], "ss": [], "intensity": []}},
        {"n_peaks": 1, "peaks": {"fs": [1.0], "ss": [], "intensity": [1.0]}},
        {"n_peaks": 0, "peaks": {"fs": [1.0], "ss": [1.0], "intensity": [1.0]}},
        {"n_peaks": 1, "peaks": {"fs": [1.0], "ss": [float("nan")], "intensity": [1.0]}},
        {"n_peaks": 1, "peaks": {"fs": [16.0], "ss": [1.0], "intensity": [1.0]}},
        {"n_peaks": 1, "peaks": {"fs": [[1.0]], "ss": [[1.0]], "intensity": [[1.0]]}},
    ],
)  # fmt: skip
def test_what_does_not_say_the_peaks_of_the_frame_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(PeakMessageError):
        read_peaks(3, metadata, (8, 16))


def test_what_is_kept_stays_below_its_bytes_and_the_oldest_leaves_first() -> None:
    kept: Bounded[int, str] = Bounded(10)
    for key in range(4):
        kept.put(key, f"thing {key}", 3)
    assert (kept.n_bytes, kept.get(0), kept.get(1)) == (9, None, "thing 1")
    kept.put(4, "thing 4", 3)
    assert (kept.get(2), kept.get(1)) == (None, "thing 1"), "what was used last leaves last"
    kept.put(1, "huge", 11)
    assert (kept.get(1), kept.n_bytes) == (None, 6)
