"""Azimuthal averages on cases that can be added up by hand, and beside pyFAI where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError, UsageError
from beamstream_consumers.kernels.azimuthal_average import azimuthal_average, valid_values
from beamstream_consumers.kernels.radial_bins import RadialBins, make_bins

SHAPE = (61, 47)


def two_rings(normalization: float = 1.0) -> RadialBins:
    position = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    return make_bins(position, 2, normalization=np.full(position.shape, normalization))


def test_a_curve_is_the_mean_of_each_ring() -> None:
    image = np.array([[1, 2, 10], [3, 20, 30]], dtype="u2")
    curve = azimuthal_average(image, two_rings(0.5))
    assert curve.intensity.tolist() == [4.0, 40.0]
    assert curve.sigma.tolist() == pytest.approx([np.sqrt(6) / 1.5, np.sqrt(60) / 1.5])
    assert curve.n_pixels.tolist() == [3, 3]


def test_a_pixel_that_counted_nothing_has_a_variance_of_one() -> None:
    curve = azimuthal_average(np.zeros((2, 3), dtype="u2"), two_rings())
    assert curve.intensity.tolist() == [0.0, 0.0]
    assert curve.sigma.tolist() == pytest.approx([np.sqrt(3) / 3] * 2)


def test_the_azimuthal_model_takes_differences_along_the_ring_for_noise() -> None:
    image = np.array([[1, 2, 7], [3, 7, 7]], dtype="u2")
    curve = azimuthal_average(image, two_rings(), error_model="azimuthal")
    assert curve.sigma.tolist() == pytest.approx([np.sqrt(2) / 3, 0.0])


def test_without_an_error_model_sigma_is_zero() -> None:
    assert not azimuthal_average(np.ones((2, 3), dtype="u2"), two_rings(), error_model="none").sigma.any()


def test_a_ring_without_a_good_pixel_is_not_a_number() -> None:
    image = np.array([[65535, 65535, 1], [65535, 2, 65535]], dtype="u2")
    curve = azimuthal_average(image, two_rings(0.3))
    assert np.isnan(curve.intensity).tolist() == np.isnan(curve.sigma).tolist() == [True, False]
    assert curve.intensity[1] == pytest.approx(5.0)
    assert (curve.n_pixels.tolist(), curve.n_left_out) == ([0, 2], 4)


def test_pixels_that_are_in_no_bin_are_not_counted_as_left_out() -> None:
    bins = make_bins(np.array([[0.0, 1.0, np.nan]]), 2)
    assert azimuthal_average(np.array([[1, 1, 65535]], dtype="u2"), bins).n_left_out == 0


def test_what_a_curve_is_divided_by_divides_its_error_too() -> None:
    image = np.array([[1, 2, 10], [3, 20, 30]], dtype="u2")
    curve, divided = (azimuthal_average(image, two_rings(), factor=factor) for factor in (1.0, 8.0))
    assert (divided.intensity * 8).tolist() == curve.intensity.tolist()
    assert (divided.sigma * 8).tolist() == curve.sigma.tolist()


def test_values_out_of_what_is_valid_are_left_out() -> None:
    image = np.array([[1, 2, 10], [3, 20, 30]], dtype="f4")
    curve = azimuthal_average(image, two_rings(), valid=(1.5, 20.0))
    assert (curve.intensity.tolist(), curve.n_left_out) == ([2.5, 15.0], 2)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("u1", (0, 254)), ("u2", (0, 65534)), ("u4", (0, 2**32 - 2)), ("i4", (0, 2**31 - 1))],
)
def test_what_a_detector_cannot_have_counted_is_not_valid(dtype: str, expected: tuple[int, int]) -> None:
    assert valid_values(dtype) == expected


def test_big_endian_images_give_the_same_curve() -> None:
    image = np.arange(6, dtype="u2").reshape(2, 3)
    little, big = (azimuthal_average(one, two_rings()) for one in (image, image.astype(">u2")))
    assert little.intensity.tolist() == big.intensity.tolist()


def test_an_image_of_another_shape_is_refused_with_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 2\).*\(2, 3\)"):
        azimuthal_average(np.zeros((3, 2), dtype="u2"), two_rings())


@pytest.mark.parametrize("dtype", ["u8", "i8", "c8", "?"])
def test_images_of_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ShapeError, match="cannot be averaged"):
        azimuthal_average(np.zeros((2, 3), dtype=dtype), two_rings())


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_factor_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="cannot be divided"):
        azimuthal_average(np.zeros((2, 3), dtype="u2"), two_rings(), factor=factor)


def test_an_unknown_error_model_is_refused() -> None:
    with pytest.raises(UsageError, match="poisson, azimuthal, none"):
        azimuthal_average(np.zeros((2, 3), dtype="u2"), two_rings(), error_model="gaussian")
