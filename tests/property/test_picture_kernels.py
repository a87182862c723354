"""The kernels of pictures against a few lines of NumPy, for any image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from beamstream_consumers.kernels.picture_pixels import bin_values, count_values
from beamstream_consumers.kernels.powder_sums import FULL, add_to_powder, empty_powder
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.measuring import PERCENTILES, measure
from beamstream_consumers.monitor.pictures.pooling import halve
from beamstream_consumers.monitor.pictures.scene import Scene

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def values_of(dtype: str) -> st.SearchStrategy[int]:
    limits = np.iinfo(dtype)
    edges = [limits.min, 0, 1, 4095, 4096, 4097, limits.max - 1, limits.max]
    return st.sampled_from([edge for edge in edges if edge <= limits.max]) | st.integers(limits.min, limits.max)


def images(dtypes: tuple[str, ...]) -> st.SearchStrategy[npt.NDArray[Any]]:
    return st.sampled_from(dtypes).flatmap(lambda dtype: arrays(dtype, SHAPES, elements=values_of(dtype)))


def halved(image: npt.NDArray[Any], flag: int, pool: str) -> npt.NDArray[Any]:
    n_slow, n_fast = image.shape
    below = np.full((2 * -(-n_slow // 2), 2 * -(-n_fast // 2)), flag, image.dtype)
    below[:n_slow, :n_fast] = image
    four = np.stack([below[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    good = four != flag
    largest, total = np.where(good, four, 0).max(axis=0), np.where(good, four, 0).sum(axis=0, dtype=np.uint64)
    pooled = largest if pool == "max" else total // np.maximum(1, good.sum(axis=0, dtype=np.uint64))
    return np.where(good.any(axis=0), pooled, flag).astype(image.dtype)


@given(images(("u2", "u4")), st.sampled_from(["max", "mean"]))
@example(np.full((3, 3), 65535, "u2"), "max")
@example(np.full((1, 1), 2**32 - 1, "u4"), "mean")
def test_a_smaller_level_says_the_largest_or_the_mean_of_what_has_a_value(
    image: npt.NDArray[Any], pool: Literal["max", "mean"]
) -> None:
    flag = int(np.iinfo(image.dtype).max)
    np.testing.assert_array_equal(halve(image, flag, pool), halved(image, flag, pool))


@given(images(("u2", "u4")), st.data())
def test_counting_says_what_numpy_says(image: npt.NDArray[Any], data: st.DataObject) -> None:
    mask = data.draw(st.none() | arrays(np.bool_, st.just(image.shape)))
    flag = np.iinfo(image.dtype).max
    there = np.ones(image.shape, bool) if mask is None else ~mask
    good = image[there & (image != flag)].astype(np.int64)
    counts, total, largest, n_flagged = count_values(image, mask)
    assert (counts.sum(), total, largest) == (good.size, good.sum(), good.max(initial=0))
    assert n_flagged == np.count_nonzero(image[there] == flag)
    edges = bin_values(image.dtype)
    np.testing.assert_array_equal(counts, np.bincount(np.searchsorted(edges, good, "right") - 1, minlength=edges.size))
    for name in PERCENTILES if good.size else ():
        exact = float(np.percentile(good, float(name), method="inverted_cdf"))
        said = measure(image, mask).percentiles[name]
        assert said == exact if exact < 4096 else exact * (1 - 1 / 2048) <= said <= exact


@given(images(("u1", "u2", "u4", "i1", "i2", "i4")), st.integers(1, 3))
def test_powders_are_sum_and_maximum_of_what_has_a_value(image: npt.NDArray[Any], n_frames: int) -> None:
    pixels = image.reshape(-1)
    powder = empty_powder(pixels.size, image.dtype)
    for _ in range(n_frames):
        add_to_powder(powder, pixels)
    limits = np.iinfo(image.dtype)
    bad = pixels == limits.max if limits.min == 0 else pixels < 0
    exact = pixels.astype(np.int64)
    np.testing.assert_array_equal(powder[0], np.where(bad, FULL + 1, np.minimum(exact * n_frames, FULL)))
    np.testing.assert_array_equal(powder[1], np.where(bad, FULL + 1, exact))


@given(images(("u1", "u2", ">u2", "u4", "i1", "i2", "<i4", "u8", "i8")))
def test_integers_are_shown_as_they_are(image: npt.NDArray[Any]) -> None:
    limits = np.iinfo(image.dtype)
    bad = image == limits.max if limits.min == 0 else image < 0
    image = np.where(bad | (image < 2**32 - 1), image, 7).astype(image.dtype)  # wider ones are shown as floats are
    picture = make_picture(image, Scene({}, image.shape), source="", kind="frame", stream="", message_id=1, taken_ns=0)
    np.testing.assert_array_equal(picture.image == picture.flag, bad)
    np.testing.assert_array_equal(picture.image[~bad].astype(np.int64), image[~bad].astype(np.int64))
    assert (picture.scale, picture.offset) == (1.0, 0.0)


@given(arrays("f4", SHAPES, elements=st.floats(width=32)) | arrays("f8", SHAPES, elements=st.floats()))
@settings(max_examples=200)
def test_floats_are_shown_in_steps_that_are_small_against_what_they_are(image: npt.NDArray[Any]) -> None:
    picture = make_picture(image, Scene({}, image.shape), source="", kind="frame", stream="", message_id=1, taken_ns=0)
    finite = np.abs(image.astype(np.float64)) < 1e300
    np.testing.assert_array_equal(picture.image == picture.flag, ~finite)
    if not finite.any():
        return
    values = image[finite].astype(np.float64)
    shown = picture.image[finite] * picture.scale + picture.offset
    wide = values.max() / 2**32 - min(0.0, values.min() / 2**32)
    typical = np.abs(values).mean()
    assert (np.abs(shown - values) <= max(4 * wide, typical / 512, 2.0**-126)).all()
    assert np.isfinite(list(picture.about.numbers.values())).all()
