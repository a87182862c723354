"""Azimuthal averages against a reference in plain Python: dtypes, odd shapes, masks, flags, pixels split or whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamstream.errors import UsageError
from beamstream_consumers.kernels.azimuthal_average import ERROR_MODELS, azimuthal_average, valid_values
from beamstream_consumers.kernels.radial_bins import RadialBins, make_bins

Case = dict[str, Any]


def shares(case: Case, bins: RadialBins) -> list[list[tuple[int, float]]]:
    """Return (pixel, weight) of each bin, from the definition: how much of its reach lies in the bin."""
    rings: list[list[tuple[int, float]]] = []
    inside = case["position"][~case["bad"]]
    first, last = case["limits"] or (inside.min(), inside.max())
    width = (last * (1 + np.finfo(np.float32).eps) - first) / len(bins.centers)
    for number, center in enumerate(bins.centers):
        low, high = center - bins.width / 2, center + bins.width / 2
        ring = []
        for pixel in np.flatnonzero(~case["bad"].reshape(-1)):
            at, half = case["position"].flat[pixel], case["half"]
            if half:
                near, far = at - half, at + half
                weight = (min(high, far) - max(low, near)) / (2 * half)
                if weight > 0:  # what lies beyond an end of the axis goes to the bin there
                    weight += max(low - near, 0.0) / (2 * half) * (number == 0)
                    weight += max(far - high, 0.0) / (2 * half) * (number == len(bins.centers) - 1)
            else:
                weight = float((at - first) // width == number)
            if weight > 0:
                ring.append((pixel, weight))
        rings.append(ring)
    return rings


def reference(case: Case, ring: list[tuple[int, float]]) -> tuple[float, float, float]:
    """Average one ring the slow way: intensity, sigma, shares of pixels."""
    low, high = valid_values(case["image"].dtype)
    good = [(float(case["image"].flat[p]), float(case["norm"].flat[p]), c) for p, c in ring]
    good = [(x, omega, c) for x, omega, c in good if low <= x <= high]
    if not good:
        return math.nan, math.nan, 0.0
    norm = math.fsum(c * omega for _, omega, c in good)
    mean = math.fsum(c * x for x, _, c in good) / norm
    variance = {
        "poisson": math.fsum(c * c * max(x, 1.0) for x, _, c in good),
        "azimuthal": math.fsum((c * (x - mean * omega)) ** 2 for x, omega, c in good),
        "none": 0.0,
    }
    return mean, math.sqrt(variance[case["error_model"]]) / norm, math.fsum(c for *_, c in good)


def images(dtype: np.dtype[Any], shape: tuple[int, int]) -> st.SearchStrategy[npt.NDArray[Any]]:
    if dtype.kind == "f":
        numbers: st.SearchStrategy[Any] = st.integers(-4, 2**20).map(float) | st.just(math.nan)
    else:
        limits = np.iinfo(dtype)
        ends = st.sampled_from([int(limits.min), int(limits.max), int(limits.max) - 1])
        numbers = st.integers(0, 9) | st.integers(int(limits.min), int(limits.max)) | ends
    return hnp.arrays(dtype, shape, elements=numbers)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4", "i4", "f4"])))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    eighths = st.integers(0, 64).map(lambda n: n / 8)  # bins are no whole number of them: nothing lies on an edge
    return {
        "image": draw(images(dtype, shape)),
        "position": draw(hnp.arrays(np.float64, shape, elements=eighths)),
        "norm": draw(hnp.arrays(np.float32, shape, elements=st.integers(1, 16).map(lambda n: n / 8))),
        "bad": draw(hnp.arrays(np.bool_, shape) | st.just(np.zeros(shape, bool)) | st.just(np.ones(shape, bool))),
        "half": draw(st.sampled_from([0.0, 0.7, 2.3])),
        "limits": draw(st.sampled_from([None, (0.03, 5.01), (1.97, 7.03)])),
        "n_bins": draw(st.integers(1, 7)),
        "error_model": draw(st.sampled_from(ERROR_MODELS)),
    }


@settings(max_examples=40)  # the first example of a dtype compiles its kernel
@given(cases())
def test_curves_agree_with_the_reference(case: Case) -> None:
    half_width = np.full(case["image"].shape, case["half"]) if case["half"] else None
    maps = {"normalization": case["norm"], "bad": case["bad"], "half_width": half_width}
    try:
        bins = make_bins(case["position"], case["n_bins"], limits=case["limits"], **maps)
    except UsageError:  # no good pixel, or all of them in one place
        inside = case["position"][~case["bad"]]
        low, high = case["limits"] or (0.0, 0.0)
        reach = (inside + case["half"] > low) & (inside - case["half"] < high)
        assert np.unique(inside).size < 2 if case["limits"] is None else not reach.any()
        return
    curve = azimuthal_average(case["image"], bins, error_model=case["error_model"])
    expected = [reference(case, ring) for ring in shares(case, bins)]
    intensity, sigma, n_pixels = (np.array(column) for column in zip(*expected, strict=True))
    scale = np.nan_to_num(np.abs(intensity))
    np.testing.assert_allclose(curve.n_pixels, n_pixels, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(curve.intensity, intensity, rtol=1e-5, atol=1e-6)
    assert np.all(np.isnan(curve.sigma) == np.isnan(sigma))
    assert np.all(np.abs(np.nan_to_num(curve.sigma - sigma)) <= 1e-5 * (np.nan_to_num(sigma) + scale) + 1e-6)
