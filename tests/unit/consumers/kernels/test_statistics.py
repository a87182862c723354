"""Image statistics against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.statistics import image_statistics
from beamstream_consumers.kernels.sum_blocks import flag_value


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", ">u2"])
def test_statistics_agree_with_numpy(dtype: str) -> None:
    generator = np.random.default_rng(7)
    image = generator.poisson(1.5, (37, 41)).astype(dtype)
    mask = generator.random(image.shape) < 0.1
    flag = flag_value(dtype)
    if flag is not None:
        image[3, 5:9] = flag
    flagged = (image == flag) & ~mask if flag is not None else np.zeros_like(mask)
    good = image[~mask & ~flagged]
    measured = image_statistics(image, mask, masked_value=flag)
    assert measured.n_pixels == image.size
    assert measured.n_masked == np.count_nonzero(mask)
    assert measured.n_flagged == np.count_nonzero(flagged)
    assert measured.n_zero == np.count_nonzero(good == 0)
    assert measured.total == good.sum(dtype="f8")
    assert measured.maximum == good.max()
    assert measured.mean == pytest.approx(good.mean(dtype="f8"))


def test_not_a_number_counts_as_flagged() -> None:
    measured = image_statistics(np.array([[np.nan, 2.0]], dtype="f4"))
    assert (measured.n_flagged, measured.total, measured.maximum) == (1, 2.0, 2.0)


def test_negative_images_have_a_negative_maximum() -> None:
    assert image_statistics(np.full((2, 2), -3, dtype="i4")).maximum == -3


@pytest.mark.parametrize("shape", [(0, 0), (2, 2)])
def test_an_image_without_good_pixels_has_mean_zero(shape: tuple[int, int]) -> None:
    measured = image_statistics(np.full(shape, 65535, dtype="u2"), masked_value=65535)
    assert (measured.n_good, measured.mean, measured.maximum, measured.zero_fraction) == (0, 0.0, 0.0, 0.0)


def test_rows_of_32_bit_pixels_do_not_overflow() -> None:
    image = np.full((2, 3), 2**32 - 2, dtype="u4")
    assert image_statistics(image).total == 6 * (2**32 - 2)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="the mask"):
        image_statistics(np.ones((2, 2), dtype="u2"), np.zeros((1, 1), dtype=bool))


def test_a_profile_is_no_image() -> None:
    with pytest.raises(ShapeError, match="need an image"):
        image_statistics(np.ones(5))
