"""The models: shapes as the manufacturer has them, masks with gaps and defects."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream_producers.sim.images.detectors import (
    DEAD_BIT,
    GAP_BIT,
    NOISY_BIT,
    UnknownModelError,
    find_model,
    gap_mask,
    pixel_mask,
)

SHAPES = {
    "500k": (512, 1028),
    "1M": (1062, 1028),
    "4M": (2162, 2068),
    "9M": (3262, 3108),
    "16M": (4362, 4148),
}


@pytest.mark.parametrize(("name", "shape"), list(SHAPES.items()))
def test_a_model_has_the_shape_of_the_real_one(name, shape):
    assert find_model(name).shape == shape


def test_models_are_found_in_lower_case_and_others_are_refused():
    assert find_model("16m").name == "16M"
    with pytest.raises(UnknownModelError, match="500k, 1M, 4M, 9M, 16M"):
        find_model("2M")


def test_gaps_lie_between_modules_and_nowhere_else():
    gaps = gap_mask(find_model("4M"))
    rows, columns = gaps.all(axis=1), gaps.all(axis=0)
    assert np.flatnonzero(rows).tolist() == [row for k in range(3) for row in range(k * 550 + 512, (k + 1) * 550)]
    assert np.flatnonzero(columns).tolist() == list(range(1028, 1040))
    assert np.array_equal(gaps, rows[:, None] | columns[None, :])


def test_the_mask_has_gaps_and_as_many_dead_as_noisy_pixels_outside_of_them():
    model = find_model("1M")
    mask = pixel_mask(model, seed=3)
    counts = {int(bits): int(n) for bits, n in zip(*np.unique(mask, return_counts=True), strict=True)}
    assert counts[GAP_BIT] == 38 * 1028
    assert counts[DEAD_BIT] == counts[NOISY_BIT] == round(1024 * 1028 / 20_000)
    assert set(counts) == {0, GAP_BIT, DEAD_BIT, NOISY_BIT}


def test_the_mask_follows_from_the_seed():
    model = find_model("500k")
    assert np.array_equal(pixel_mask(model, 1), pixel_mask(model, 1))
    assert not np.array_equal(pixel_mask(model, 1), pixel_mask(model, 2))
