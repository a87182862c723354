"""The peak finder against its description, to the last bit; and what OM's extension gets wrong, right."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.peakfinder8 import (
    MAX_RADIUS,
    Panel,
    PeakParameters,
    Peaks,
    Plan,
    find_peaks,
    grid_of_panels,
    make_plan,
    valid_values,
)
from beamstream_consumers.kernels.peakfinder8.finding import _count, _read

DESCRIPTION = Path(__file__).parents[2] / "benchmarks" / "peakfinder8_description.py"
pytestmark = pytest.mark.skipif(not DESCRIPTION.exists(), reason="the description is not part of an installation")


def load_description() -> Any:
    spec = importlib.util.spec_from_file_location("peakfinder8_description", DESCRIPTION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


description = load_description() if DESCRIPTION.exists() else None


def rows_of(peaks: Peaks) -> list[list[float]]:
    columns = (peaks.fs, peaks.ss, peaks.intensity, peaks.index, peaks.n_pixels, peaks.maximum, peaks.sigma, peaks.snr)
    return np.column_stack(columns).tolist()


def described(image: npt.NDArray[Any], plan: Plan, rules: Any = None) -> list[list[float]]:
    """Find the peaks the slow way."""
    p = plan.parameters
    lowest, ceiling = valid_values(image.dtype)
    with np.errstate(invalid="ignore"):
        known = (np.rint(plan.radius) >= 0) & (np.rint(plan.radius) <= MAX_RADIUS)
        radius = np.where(known, plan.radius, plan.radius[known].max(initial=0) + 1)  # a ring that nobody else is in
        used = plan.good & known & (radius >= p.min_res) & (radius <= p.max_res)
        used &= (image >= lowest) & (image < ceiling)
    inside = np.zeros(image.shape, dtype=bool)
    for top, left, bottom, right in (panel.box for panel in plan.panels):
        inside[top : bottom + 1, left : right + 1] = True
    thresholds = description.Thresholds(
        **{name: getattr(p, name) for name in description.Thresholds.__dataclass_fields__}
    )
    counts = np.where(used, image, 0)
    boxes = [panel.box for panel in plan.panels]
    found: list[list[float]] = description.find(
        counts, used & inside, radius, boxes, thresholds, rules or description.Rules()
    ).tolist()
    return found


def make_image(rng: np.random.Generator, dtype: str, shape: tuple[int, int], mean: float) -> npt.NDArray[Any]:
    """Draw a background with spots, and flagged pixels where the type has them."""
    image = rng.poisson(mean, shape).astype(float)
    for _ in range(30):
        y, x, size = int(rng.integers(shape[0])), int(rng.integers(shape[1])), int(rng.integers(1, 4))
        image[y : y + size, x : x + size] += int(rng.uniform(5, 400))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        image = image * 13.7 + rng.normal(0, 4, shape)
        image[rng.random(shape) < 0.01] = np.nan
        image[rng.random(shape) < 0.01] = np.inf
        return image.astype(kind)
    image = np.minimum(image, np.iinfo(kind).max).astype(kind)
    image[rng.random(shape) < 0.01] = -1 if kind.kind == "i" else np.iinfo(kind).max
    return image


def centred_radius(shape: tuple[int, int], centre: tuple[float, float]) -> npt.NDArray[np.float32]:
    slow, fast = np.indices(shape)
    return np.hypot(slow - centre[0], fast - centre[1]).astype(np.float32)


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4", "f4"])
def test_the_kernel_gives_the_bits_of_the_description(dtype: str) -> None:
    n_peaks = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        panels = grid_of_panels((41, 37), (1 + seed % 2, 1 + seed % 3))
        shape = panels[-1].box[2] + 1, panels[-1].box[3] + 1
        image = make_image(rng, dtype, shape, 10 ** rng.uniform(-3, 2))
        parameters = PeakParameters(adc_threshold=rng.uniform(-2, 30), minimum_snr=rng.uniform(1.5, 8))
        radius = centred_radius(shape, (rng.uniform(0, shape[0]), rng.uniform(0, shape[1])))
        plan = make_plan(radius, parameters, good=rng.random(shape) > 0.03, panels=panels)
        found = find_peaks(image, plan)
        assert rows_of(found) == described(image, plan)
        n_peaks += len(found)
    assert n_peaks > 20


def panels_of(draw: st.DrawFn, shape: tuple[int, int]) -> list[Panel] | None:
    """Draw panels of different sizes with gaps between them, or none."""
    if not min(shape) or draw(st.booleans()):
        return None
    cuts = [sorted(draw(st.sets(st.integers(0, n), min_size=2, max_size=4)) | {0, n}) for n in shape]
    pairs = [list(itertools.pairwise(cut)) for cut in cuts]
    gap = draw(st.integers(0, 1))
    panels = [
        Panel(slow=top, fast=left, n_slow=max(1, bottom - top - gap), n_fast=right - left)
        for top, bottom in pairs[0]
        for left, right in pairs[1]
    ]
    return draw(st.permutations(panels))


@st.composite
def cases(draw: st.DrawFn) -> tuple[npt.NDArray[Any], Plan]:
    shape = draw(st.tuples(st.integers(0, 32), st.integers(0, 32)))
    dtype = np.dtype(draw(st.sampled_from(["u2", "f4"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = rng.poisson(draw(st.sampled_from([0, 0.05, 1, 20, 300])), shape) + draw(st.sampled_from([0, 0, 7]))
    strange = [np.nan, np.inf, -np.inf, -3.0] if dtype.kind == "f" else [0xFFFF, 0xFFFE, 256, 255]
    image = image.astype(dtype)
    most = image.shape[0] - 1, image.shape[1] - 1
    for _ in range(draw(st.integers(0, 8)) if image.size else 0):
        y, x, size = draw(st.integers(0, most[0])), draw(st.integers(0, most[1])), draw(st.integers(1, 5))
        image[y : y + size, x : x + size] += draw(st.integers(1, 2000))
        image[draw(st.integers(0, most[0])), draw(st.integers(0, most[1]))] = draw(st.sampled_from([0, *strange]))
    radius = centred_radius(shape, draw(st.tuples(st.floats(-60, 60), st.floats(-60, 60))))
    if draw(st.booleans()):
        unknown = st.sampled_from([np.nan, np.inf, -1.0, 1e9, float(MAX_RADIUS)])
        for place in draw(st.lists(st.integers(0, max(0, radius.size - 1)), max_size=5 if radius.size else 0)):
            radius.reshape(-1)[place] = draw(unknown)
    good = draw(st.sampled_from([None, rng.random(shape) > 0.1, np.zeros(shape, dtype=bool)]))
    parameters = PeakParameters(
        adc_threshold=draw(st.floats(-5, 60) | st.just(300.0)),
        minimum_snr=draw(st.floats(1, 6)),
        min_pixel_count=draw(st.integers(1, 2)),
        max_pixel_count=draw(st.integers(3, 200)),
        local_bg_radius=draw(st.integers(1, 8)),
        min_res=draw(st.sampled_from([0.0, 4.0])),
        max_res=draw(st.sampled_from([12.5, 1e6])),
        max_num_peaks=draw(st.sampled_from([1, 2048])),
    )
    return image, make_plan(radius, parameters, good=good, panels=panels_of(draw, shape))


@settings(max_examples=200)  # the first example of a dtype compiles its kernels
@given(cases())
def test_the_kernel_agrees_with_the_description_on_anything(case: tuple[npt.NDArray[Any], Plan]) -> None:
    image, plan = case
    found = find_peaks(image, plan)
    assert rows_of(found) == described(image, plan)
    assert found.n_good + found.n_flagged == plan.n_searched
    assert len(found) == min(found.n_found, plan.parameters.max_num_peaks)


@pytest.mark.parametrize("mean", [0.5, 200.0, 400.0])
def test_counting_and_reading_an_image_give_the_same_bits(mean: float) -> None:
    image = make_image(np.random.default_rng(1), "u2", (60, 50), mean)
    plan = make_plan(centred_radius(image.shape, (20, 25)), PeakParameters(adc_threshold=30.5))
    counted, read = (measure(image, plan, valid_values("u2")) for measure in (_count, _read))
    assert (counted is None) == (mean == 400)  # then most pixels are too large to be counted
    if counted is not None:
        assert counted.threshold.tolist() == read.threshold.tolist()
        assert counted.offset.tolist() == read.offset.tolist()
        assert (counted.n_flagged, counted.total) == (read.n_flagged, read.total)
        assert counted.largest == read.largest == image[image != 0xFFFF].max()


@pytest.mark.parametrize("valid", [(3.0, 60.5), (-4.5, 1e9), (300.0, 400.0), (0.0, 0.0)])
def test_values_that_are_no_counts_are_left_out_however_an_image_is_measured(valid: tuple[float, float]) -> None:
    image = make_image(np.random.default_rng(2), "i4", (60, 50), 20.0)
    plan = make_plan(centred_radius(image.shape, (20, 25)), PeakParameters(adc_threshold=30.5))
    counted, read = (measure(image, plan, valid) for measure in (_count, _read))
    assert counted is not None
    assert counted.threshold.tolist() == read.threshold.tolist()
    assert counted.n_good == read.n_good == np.count_nonzero((image >= valid[0]) & (image < valid[1]))
    assert (counted.total, counted.largest) == (read.total, read.largest)


def spots_on(background: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint16], Plan]:
    """Put 40 spots of 3 x 3 pixels with 100 to 900 counts each on a background."""
    rng = np.random.default_rng(3)
    image = background.copy()
    for number in range(40):
        y, x = 20 + 40 * (number // 8), 20 + 30 * (number % 8)
        image[y : y + 3, x : x + 3] += rng.integers(100, 900, (3, 3))
    radius = centred_radius((220, 260), (110.3, 130.2))
    return image.astype(np.uint16), make_plan(radius, PeakParameters(adc_threshold=10, minimum_snr=6))


@pytest.mark.parametrize("mean", [0, 0.001, 0.01, 0.1, 1])
def test_peaks_on_next_to_no_background_are_found(mean: float) -> None:
    image, plan = spots_on(np.random.default_rng(4).poisson(mean, (220, 260)))
    assert len(find_peaks(image, plan)) == 40
    if mean < 0.1:
        assert len(described(image, plan, description.OM)) < 40


def test_peaks_on_a_background_of_one_value_are_found() -> None:
    image, plan = spots_on(np.ones((220, 260), np.int64))
    found = find_peaks(image, plan)
    assert (len(found), set(found.sigma.tolist())) == (40, {0.01})
    assert len(described(image, plan, description.OM)) < 40


def test_without_empty_rings_and_flat_backgrounds_it_finds_what_om_finds() -> None:
    rng = np.random.default_rng(5)
    image = make_image(rng, "u2", (120, 110), 8.0)
    image[image == 0xFFFF] = 8
    plan = make_plan(centred_radius(image.shape, (50.2, 60.1)), PeakParameters(adc_threshold=20))
    ours, oms = np.array(rows_of(find_peaks(image, plan))), np.array(described(image, plan, description.OM))
    assert len(ours) > 10
    np.testing.assert_array_equal(ours[:, 3:5], oms[:, 3:5])
    np.testing.assert_allclose(ours, oms, rtol=1e-4)


def flat_with(*spots: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Return a frame of noise with spots of 2 x 2 pixels, their first pixels given."""
    image = np.random.default_rng(6).poisson(3, (120, 140)).astype(np.uint16)
    for slow, fast in spots:
        image[slow : slow + 2, fast : fast + 2] = 200
    return image


def test_a_peak_ends_where_its_panel_ends() -> None:
    image = flat_with((10, 27), (10, 29), (10, 31), (30, 10))
    radius = centred_radius(image.shape, (60, 70))
    assert find_peaks(image, make_plan(radius)).n_pixels.tolist() == [12, 4]
    panels = [Panel(slow=0, fast=30, n_slow=120, n_fast=110), Panel(slow=0, fast=0, n_slow=120, n_fast=30)]
    split = find_peaks(image, make_plan(radius, panels=panels))
    assert (split.panel.tolist(), split.n_pixels.tolist()) == ([0, 1, 1], [6, 6, 4])
    assert split.fs.tolist() == [31, 28, 10.5]


def test_pixels_between_the_panels_are_left_out() -> None:
    image = flat_with((10, 10), (10, 40))
    panels = [Panel(slow=0, fast=20, n_slow=110, n_fast=40)]
    plan = make_plan(centred_radius(image.shape, (60, 70)), panels=panels)
    assert find_peaks(image, plan).fs.tolist() == [40.5]
    assert plan.n_searched == 4400


def test_saturated_pixels_are_no_counts_and_are_told() -> None:
    image = flat_with((10, 10), (30, 40))
    image[10, 10] = 0xFFFF
    found = find_peaks(image, make_plan(centred_radius(image.shape, (60, 70))))
    assert (found.n_pixels.tolist(), found.n_flagged) == ([3, 4], 1)
    assert (found.total, found.largest) == (image.sum() - 0xFFFF, 200)


@pytest.mark.parametrize(("dtype", "largest"), [("u2", 9), ("u2", 3000), ("i4", 0), ("f4", -2)])
def test_the_largest_count_is_known_without_any_bright_pixel(dtype: str, largest: int) -> None:
    image = np.full((20, 20), largest, dtype)
    plan = make_plan(centred_radius(image.shape, (9, 9)), PeakParameters(adc_threshold=1e6))
    assert find_peaks(image, plan).largest == largest


def test_peaks_beyond_the_limit_are_counted() -> None:
    image = flat_with((10, 10), (30, 40), (30, 20))
    found = find_peaks(image, make_plan(centred_radius(image.shape, (60, 70)), PeakParameters(max_num_peaks=2)))
    assert (len(found), found.n_found) == (2, 3)
    assert found.index.tolist() == [10 * 140 + 10, 30 * 140 + 20]


def test_the_same_frame_gives_the_same_bits_however_it_lies_in_memory() -> None:
    image = make_image(np.random.default_rng(8), "u2", (60, 70), 5.0)
    plan = make_plan(centred_radius(image.shape, (60, 70)))
    wider = np.zeros((60, 140), np.uint16)
    wider[:, ::2] = image
    assert rows_of(find_peaks(image, plan)) == rows_of(find_peaks(wider[:, ::2], plan))
    assert rows_of(find_peaks(image, plan)) == rows_of(find_peaks(np.asfortranarray(image), plan))


def test_a_plan_takes_other_parameters() -> None:
    image = flat_with((50, 70), (90, 20))
    plan = make_plan(centred_radius(image.shape, (60, 70)))
    far = replace(plan.parameters, min_res=20.0)
    assert find_peaks(image, plan.with_parameters(far)).fs.tolist() == [20.5]
    assert find_peaks(image, plan.with_parameters(replace(far, min_res=0.0))).fs.tolist() == [70.5, 20.5]
    same = plan.with_parameters(replace(plan.parameters, adc_threshold=500.0))
    assert same.rings is plan.rings
    assert len(find_peaks(image, same)) == 0


def test_frames_that_do_not_fit_are_refused_with_both_shapes() -> None:
    plan = make_plan(centred_radius((40, 60), (20, 30)))
    with pytest.raises(ShapeError, match=r"\(60, 40\).*\(40, 60\)"):
        find_peaks(np.zeros((60, 40), np.uint16), plan)
    for image in (np.zeros((40, 60), np.int64), np.zeros((40, 60), bool), np.zeros(2400, np.uint16)):
        with pytest.raises(ShapeError, match="peaks are found in images"):
            find_peaks(image, plan)
