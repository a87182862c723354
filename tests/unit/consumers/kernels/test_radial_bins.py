"""Bins of a radial axis: which pixel goes where, on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError, UsageError
from beamstream_consumers.kernels.radial_bins import MAX_BINS, make_bins

POSITION = np.array([[0.5, 1.5, 2.5], [0.5, 3.5, np.nan]])


def test_the_axis_goes_from_the_first_pixel_to_the_last() -> None:
    bins = make_bins(POSITION, 3)
    assert bins.centers == pytest.approx([1.0, 2.0, 3.0])
    assert bins.bin_of.tolist() == [0, 0, 1, 0, 2, 3]  # the last number is that of no bin
    assert bins.n_pixels.tolist() == [3, 1, 1]


def test_limits_are_kept_and_include_their_ends() -> None:
    bins = make_bins(POSITION, 2, limits=(1.5, 3.5))
    assert bins.centers == pytest.approx([2.0, 3.0])
    assert bins.n_pixels.tolist() == [2, 1]  # the bins are wider than 1 by a little: 2.5 is still in the first


def test_bad_pixels_do_not_stretch_the_axis() -> None:
    bad = np.array([[False, False, False], [False, True, False]])
    assert make_bins(POSITION, 2, bad=bad).centers == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("norm", [0.0, -1.0, np.nan, np.inf])
def test_a_pixel_without_a_normalisation_is_in_no_bin(norm: float) -> None:
    normalization = np.where(POSITION == 1.5, norm, 2.0)
    bins = make_bins(POSITION, 3, normalization=normalization)
    assert bins.bin_of.tolist() == [0, 3, 1, 0, 2, 3]
    assert bins.sum_normalization.tolist() == [4, 2, 2]
    assert bins.sum_squares.tolist() == [8, 4, 4]


def test_a_split_pixel_gives_each_bin_what_it_covers() -> None:
    bins = make_bins(np.array([[2.0]]), 4, limits=(0.0, 4.0), half_width=np.array([[1.25]]))
    assert bins.n_pixels == pytest.approx([0.1, 0.4, 0.4, 0.1], rel=1e-5)


def test_what_a_split_pixel_covers_beyond_an_end_goes_to_the_bin_there() -> None:
    bins = make_bins(np.array([[0.5, 4.5, 5.5]]), 4, limits=(1.0, 5.0), half_width=np.full((1, 3), 1.0))
    assert bins.n_pixels == pytest.approx([1.0, 0.0, 0.25, 1.75], abs=1e-6)
    assert make_bins(
        np.array([[0.5, 4.5]]), 4, limits=(1.6, 5.0), half_width=np.full((1, 2), 1.0)
    ).counting.tolist() == [[False, True]]


def test_a_pixel_of_no_width_is_not_split() -> None:
    bins = make_bins(np.array([[1.5, 2.5]]), 2, limits=(1.0, 3.0), half_width=np.zeros((1, 2)))
    assert bins.n_pixels.tolist() == [1, 1]


@pytest.mark.parametrize("n_bins", [0, -1, MAX_BINS + 1])
def test_impossible_numbers_of_bins_are_refused(n_bins: int) -> None:
    with pytest.raises(UsageError, match="bins are not possible"):
        make_bins(POSITION, n_bins)


@pytest.mark.parametrize("limits", [(2.0, 2.0), (3.0, 1.0), (-1.0, 2.0), (np.nan, 2.0), (0.0, np.inf)])
def test_limits_that_make_no_axis_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="make no axis"):
        make_bins(POSITION, 3, limits=limits)


def test_limits_without_a_pixel_are_refused() -> None:
    with pytest.raises(UsageError, match="no good pixel is between 7 and 9"):
        make_bins(POSITION, 3, limits=(7.0, 9.0))


def test_an_image_without_a_good_pixel_is_refused() -> None:
    with pytest.raises(UsageError, match="no pixel is good"):
        make_bins(POSITION, 3, bad=np.ones(POSITION.shape, bool))


def test_pixels_that_are_all_in_one_place_make_no_axis() -> None:
    with pytest.raises(UsageError, match="have no width"):
        make_bins(np.zeros((2, 2)), 3)


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"the map of bad is \(3, 2\), that of positions \(2, 3\)"):
        make_bins(POSITION, 3, bad=np.zeros((3, 2), bool))
