"""The pool: how many frames there are, and which image shows which."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.sim.images.detectors import find_model
from beamstream_producers.sim.images.frames import Recipe
from beamstream_producers.sim.images.pool import (
    MAX_POOL,
    MIN_POOL,
    FramePool,
    PoolTooLargeError,
    choose_pool_size,
)

RECIPE = Recipe(model=find_model("500k"), seed=2, n_frames=4, hit_fraction=0.25)


@pytest.mark.parametrize(
    ("frame_bytes", "n_images", "unique", "size"),
    [
        (1_000_000, 10_000, False, MAX_POOL),
        (1_000_000, 10, False, 10),
        (36_000_000, 10_000, False, 14),
        (1 << 30, 10_000, False, MIN_POOL),
        (1_000_000, 1000, True, 1000),
    ],
)
def test_a_pool_is_bounded_unless_every_image_shall_differ(frame_bytes, n_images, unique, size):
    assert choose_pool_size(frame_bytes, n_images, unique=unique) == size


def test_a_unique_pool_beyond_the_limit_is_refused_with_its_size():
    with pytest.raises(PoolTooLargeError) as caught:
        choose_pool_size(36_000_000, 100_000, unique=True)
    assert caught.value.pool_bytes == 3_600_000_000_000


def test_images_are_dealt_so_that_every_frame_comes_once_per_round_in_changing_order():
    pool = FramePool(RECIPE, "bslz4")
    rounds = [[pool.index_of(image_id) for image_id in range(4 * deal, 4 * deal + 4)] for deal in range(6)]
    assert rounds[0] == [0, 1, 2, 3]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    again = FramePool(RECIPE, "none")
    assert [again.index_of(image_id) for image_id in range(24)] == [index for one in rounds for index in one]


def test_payload_frame_and_truth_speak_of_the_same_image():
    pool = FramePool(RECIPE, "bslz4")
    image_id = 9
    pixels = codecs.decode(pool.payload(image_id), "bslz4", RECIPE.model.shape, RECIPE.dtype)
    assert np.array_equal(pixels, pool.frame(image_id))
    assert pool.truth(image_id).index == pool.index_of(image_id)
