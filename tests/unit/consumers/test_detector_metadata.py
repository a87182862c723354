"""The detector and its mask in stream metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beamstream_consumers.detector_metadata import pixel_mask


def tree(mask: Any) -> dict[str, Any]:
    detector = {"@NX_class": "NXdetector", "pixel_mask": mask}
    return {"entry": {"instrument": {"@NX_class": "NXinstrument", "any_name": detector}}}


def test_every_set_bit_makes_a_pixel_bad() -> None:
    mask = pixel_mask(tree(np.array([[0, 1], [2, 16]], dtype="u4")), (2, 2))
    assert mask is not None
    assert mask.tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(
    "metadata", [{}, {"entry": 1}, tree("no mask"), tree(np.zeros((3, 2), "u4")), tree(np.zeros((2, 2), "f4"))]
)
def test_what_is_no_mask_of_these_images_is_none(metadata: dict[str, Any]) -> None:
    assert pixel_mask(metadata, (2, 2)) is None
