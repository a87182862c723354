"""Binning: sums over blocks, on cases that can be added up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.sum_blocks import (
    MAX_FACTOR,
    binned_shape,
    flag_value,
    scale_blocks,
    sum_and_count,
    sum_blocks,
    sum_dtype,
)


def test_blocks_are_summed() -> None:
    image = np.arange(16, dtype="u2").reshape(4, 4)
    assert sum_blocks(image, 2).tolist() == [
        [0 + 1 + 4 + 5, 2 + 3 + 6 + 7],
        [8 + 9 + 12 + 13, 10 + 11 + 14 + 15],
    ]


def test_the_last_block_of_an_axis_covers_what_is_left() -> None:
    image = np.ones((5, 3), dtype="u2")
    assert sum_blocks(image, 2).tolist() == [[4, 2], [4, 2], [2, 1]]


def test_masked_and_flagged_pixels_are_left_out() -> None:
    image = np.array([[1, 2], [65535, 8]], dtype="u2")
    mask = np.array([[True, False], [False, False]])
    assert sum_blocks(image, 2, mask, masked_value=flag_value(image.dtype)).tolist() == [[10]]


def test_a_block_without_a_good_pixel_is_zero() -> None:
    image = np.full((2, 2), 255, dtype="u1")
    assert sum_blocks(image, 2, masked_value=flag_value("u1")).tolist() == [[0]]


def test_saturated_32_bit_pixels_do_not_overflow() -> None:
    image = np.full((8, 8), 2**32 - 1, dtype="u4")
    sums = sum_blocks(image, 8)
    assert sums.dtype == np.uint64
    assert int(sums[0, 0]) == 64 * (2**32 - 1)


def test_the_largest_factor_does_not_overflow_16_bit_pixels() -> None:
    image = np.full((MAX_FACTOR, MAX_FACTOR), 65535, dtype="u2")
    assert int(sum_blocks(image, MAX_FACTOR)[0, 0]) == MAX_FACTOR**2 * 65535


def test_big_endian_images_give_the_same_sums() -> None:
    image = np.arange(12, dtype="<u2").reshape(3, 4)
    assert np.array_equal(sum_blocks(image.astype(">u2"), 3), sum_blocks(image, 3))


def test_a_given_array_is_filled() -> None:
    out = np.full((1, 1), 77, dtype="u4")
    assert sum_blocks(np.ones((2, 2), dtype="u2"), 2, out=out) is out
    assert out.tolist() == [[4]]


@pytest.mark.parametrize("factor", [0, -1, MAX_FACTOR + 1])
def test_an_impossible_factor_is_refused(factor: int) -> None:
    with pytest.raises(ShapeError, match="blocks of"):
        sum_blocks(np.ones((2, 2), dtype="u2"), factor)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="the mask"):
        sum_blocks(np.ones((2, 2), dtype="u2"), 2, np.zeros((2, 3), dtype=bool))


def test_an_out_of_another_dtype_is_refused() -> None:
    with pytest.raises(ShapeError, match="out is"):
        sum_blocks(np.ones((2, 2), dtype="u2"), 2, out=np.zeros((1, 1), dtype="u2"))


@pytest.mark.parametrize("dtype", ["u8", "i8", "c8"])
def test_dtypes_whose_sums_would_not_fit_are_refused(dtype: str) -> None:
    with pytest.raises(ShapeError, match="cannot be binned"):
        sum_dtype(dtype)


def test_an_array_with_three_axes_is_no_image() -> None:
    with pytest.raises(ShapeError, match="two axes"):
        binned_shape((2, 3, 4), 2)


def test_not_a_number_counts_as_masked() -> None:
    image = np.array([[1.5, np.nan], [2.5, 4.0]], dtype="f4")
    sums, n_bad = sum_and_count(image, 2)
    assert (sums.tolist(), n_bad) == ([[8.0]], 1)
    assert scale_blocks(image, 2)[0].tolist() == [[pytest.approx(8.0 / 3 * 4)]]


def test_floats_are_added_row_by_row() -> None:
    image = np.array([[1e16, 1.0], [1.0, 1.0]])
    assert sum_blocks(image, 2).tolist() == [[((1e16 + 1.0) + 1.0) + 1.0]]


def test_a_flag_that_the_dtype_cannot_hold_flags_nothing() -> None:
    assert sum_and_count(np.full((2, 2), 255, dtype="u1"), 2, masked_value=65535)[1] == 0


def test_scaled_blocks_do_not_show_where_pixels_are_masked_or_missing() -> None:
    image = np.full((3, 5), 7, dtype="u2")
    mask = np.zeros((3, 5), dtype=bool)
    mask[0, 0] = True
    scaled, n_bad = scale_blocks(image, 2, mask)
    assert scaled.tolist() == [[28.0] * 3] * 2
    assert n_bad == 1


def test_a_scaled_block_without_a_good_pixel_is_not_a_number() -> None:
    assert np.isnan(scale_blocks(np.full((2, 2), 255, dtype="u1"), 2, masked_value=255)[0]).all()
