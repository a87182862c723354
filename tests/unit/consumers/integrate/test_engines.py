"""Our kernels beside pyFAI's engine, on the same maps."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from beamstream.errors import ShapeError, UsageError
from beamstream_consumers.integrate.engines import ENGINES, NumbaEngine, PixelMaps, PyFaiEngine
from beamstream_consumers.integrate.errors import PyFaiMissingError

SHAPE = (97, 113)
DISTANCE_M = 0.1


def maps(*, splits: bool = False, is_flat: bool = True) -> PixelMaps:
    slow, fast = np.indices(SHAPE)
    radius_m = np.hypot(slow - 40.3, fast - 61.7) * 172e-6
    bad = (slow % 50 > 46) | (fast == 60)
    norm = np.full(SHAPE, 0.9) if is_flat else (DISTANCE_M / np.hypot(radius_m, DISTANCE_M)) ** 3 * 0.99
    position = np.degrees(np.arctan2(radius_m, DISTANCE_M))
    half_width = np.full(SHAPE, 0.06) if splits else None
    return PixelMaps(position=position, normalization=norm, bad=bad, half_width=half_width)


def image(dtype: str, seed: int = 3) -> np.ndarray:
    counts = np.random.default_rng(seed).poisson(0.8, SHAPE)
    counts[::9, ::7] += 40_000 if dtype != "u1" else 90
    pixels = counts.astype(dtype)
    flag = np.nan if pixels.dtype.kind == "f" else -1 if pixels.dtype.kind == "i" else np.iinfo(pixels.dtype).max
    pixels[5:9, 17:40] = flag
    return pixels


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("error_model", ["poisson", "azimuthal", "none"])
def test_curves_are_those_of_pyfai(error_model: str, splits: bool) -> None:
    pytest.importorskip("pyFAI")
    # pyFAI's azimuthal variance is found in one pass, which is exact for normalisations that do not differ in a ring
    pixel_maps = maps(splits=splits, is_flat=error_model == "azimuthal")
    for limits in (None, (1.03, 6.01)):
        ours, theirs = (ENGINES[name](pixel_maps, 60, limits) for name in ("numba", "pyfai"))
        np.testing.assert_allclose(ours.centers, theirs.centers, rtol=1e-12)
        for dtype in ("u1", "u2", "i4", "f4"):
            own, other = (engine.average(image(dtype), error_model, None, 2.5) for engine in (ours, theirs))
            np.testing.assert_allclose(own.intensity, other.intensity, rtol=2e-6)
            np.testing.assert_allclose(own.n_pixels, other.n_pixels, rtol=1e-6)
            if not (error_model == "azimuthal" and splits):  # nor is it exact for pixels that are split
                np.testing.assert_allclose(own.sigma, other.sigma, rtol=2e-5)
            assert own.n_left_out == other.n_left_out


def test_an_image_of_another_shape_is_refused_by_both() -> None:
    pytest.importorskip("pyFAI")
    for make in ENGINES.values():
        with pytest.raises(ShapeError, match=r"\(7, 9\).*\(97, 113\)"):
            make(maps(), 10, None).average(np.zeros((7, 9), "u2"), "poisson", None, 1.0)


def test_what_makes_no_axis_is_refused_in_the_same_words() -> None:
    pytest.importorskip("pyFAI")
    everything = dataclasses.replace(maps(), bad=np.ones(SHAPE, bool))
    for make in (NumbaEngine, PyFaiEngine):
        with pytest.raises(UsageError, match="no pixel is good"):
            make(everything, 10, None)


def test_without_pyfai_its_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyFAI.ext.splitBBoxCSR", None)
    with pytest.raises(PyFaiMissingError, match=r"beamstream\[integrate\]"):
        PyFaiEngine(maps(), 10, None)
