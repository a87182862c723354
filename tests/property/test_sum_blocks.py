"""Binning against a reference in plain NumPy, over dtypes, odd shapes, masks and saturated pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamstream_consumers.kernels.sum_blocks import flag_value, scale_blocks, sum_and_count, sum_slabs


def good_pixels(image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, flag: int | None) -> npt.NDArray[np.bool_]:
    good = np.ones(image.shape, dtype=bool) if mask is None else ~mask
    return good if flag is None else good & (image != flag)


def reference(image: npt.NDArray[Any], factor: int, mask: npt.NDArray[np.bool_] | None, flag: int | None) -> Any:
    """Sum blocks the slow way, in Python's own numbers."""
    good = good_pixels(image, mask, flag)
    rows = range(0, image.shape[0], factor)
    columns = range(0, image.shape[1], factor)
    block = [[(slice(i, i + factor), slice(j, j + factor)) for j in columns] for i in rows]
    return [[sum(image[b][good[b]].tolist()) for b in row] for row in block]


@st.composite
def cases(draw: st.DrawFn) -> tuple[npt.NDArray[Any], int, npt.NDArray[np.bool_] | None, int | None]:
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4", "i4", ">u2", "f4"])))
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    if dtype.kind == "f":  # whole numbers, so that the reference's order of summation does not matter
        elements: st.SearchStrategy[Any] = st.integers(0, 2**20).map(float)
    else:
        limits = np.iinfo(dtype)
        elements = st.one_of(st.integers(0, 9), st.integers(int(limits.min), int(limits.max)), st.just(int(limits.max)))
    image = draw(hnp.arrays(dtype, shape, elements=elements))
    mask = draw(st.none() | hnp.arrays(np.bool_, shape) | st.just(np.ones(shape, dtype=bool)))
    flag = draw(st.sampled_from([None, flag_value(dtype)]))
    return image, draw(st.integers(1, 9)), mask, flag


@given(cases())
def test_sums_agree_with_the_reference(
    case: tuple[npt.NDArray[Any], int, npt.NDArray[np.bool_] | None, int | None],
) -> None:
    image, factor, mask, flag = case
    sums, n_bad = sum_and_count(image, factor, mask, masked_value=flag)
    assert sums.tolist() == reference(image, factor, mask, flag)
    assert n_bad == image.size - np.count_nonzero(good_pixels(image, mask, flag))


@given(cases(), st.integers(1, 5))
def test_rows_that_come_a_few_at_a_time_give_the_same_sums(
    case: tuple[npt.NDArray[Any], int, npt.NDArray[np.bool_] | None, int | None], n_slab: int
) -> None:
    image, factor, mask, flag = case
    rows = range(0, image.shape[0], n_slab * factor)
    slabs = ((row, image[row : row + n_slab * factor]) for row in rows)
    sums, n_bad = sum_slabs(slabs, image.shape, image.dtype, factor, mask, masked_value=flag)
    at_once, n_at_once = sum_and_count(image, factor, mask, masked_value=flag)
    assert (sums.tolist(), n_bad) == (at_once.tolist(), n_at_once)


@given(cases())
def test_scaled_blocks_are_the_mean_of_their_good_pixels_times_their_area(
    case: tuple[npt.NDArray[Any], int, npt.NDArray[np.bool_] | None, int | None],
) -> None:
    image, factor, mask, flag = case
    scaled, n_bad = scale_blocks(image, factor, mask, masked_value=flag)
    good = good_pixels(image, mask, flag)
    n_good = np.array(reference(good.astype("u1"), factor, None, None))
    sums = np.array(reference(image, factor, mask, flag), dtype=np.float64)
    expected = np.full(n_good.shape, np.nan)
    np.divide(sums * factor**2, n_good, out=expected, where=n_good > 0)
    np.testing.assert_array_equal(scaled, expected.astype(np.float32))
    assert n_bad == image.size - np.count_nonzero(good)
