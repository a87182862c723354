"""Frames: the same for the same seed, masked where there is no sensor, and with the photons that truth tells of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from beamstream_producers.sim.images.detectors import DEAD_BIT, NOISY_BIT, find_model, gap_mask
from beamstream_producers.sim.images.frames import (
    BEAM_STOP_RADIUS_M,
    N_UNLISTED_HOT_PIXELS,
    FrameMaker,
    Recipe,
    background,
)
from beamstream_producers.sim.images.peaks import PATCH_RADIUS, SEPARATION, spot

RECIPE = Recipe(model=find_model("500k"), seed=7, n_frames=10, hit_fraction=0.3)
MAX = {8: 0xFF, 16: 0xFFFF, 32: 0xFFFF_FFFF}


@pytest.fixture(scope="module")
def maker():
    return FrameMaker(RECIPE)


@pytest.fixture(scope="module")
def expected():
    return background(RECIPE.model).astype(np.float64)


def hits(maker):
    return [index for index in range(maker.recipe.n_frames) if maker.truth(index).hit]


def misses(maker):
    return [index for index in range(maker.recipe.n_frames) if not maker.truth(index).hit]


def test_the_same_seed_gives_the_same_frames_in_any_order(maker):
    again = FrameMaker(RECIPE)
    backwards = [again.make(index) for index in (2, 1, 0)]
    for index, frame in zip((2, 1, 0), backwards, strict=True):
        assert np.array_equal(frame, maker.make(index))
        assert again.truth(index) == maker.truth(index)


def test_frames_and_seeds_differ(maker):
    first = maker.make(0)
    assert not np.array_equal(first, maker.make(1))
    assert not np.array_equal(first, FrameMaker(replace(RECIPE, seed=8)).make(0))


@pytest.mark.parametrize(("fraction", "n_hits"), [(0.0, 0), (0.01, 1), (0.3, 3), (1.0, 10)])
def test_as_many_frames_are_hits_as_was_asked_for(fraction, n_hits):
    assert len(hits(FrameMaker(replace(RECIPE, hit_fraction=fraction)))) == n_hits


@pytest.mark.parametrize("bit_depth", [8, 16, 32])
def test_masked_pixels_hold_the_largest_value_and_good_ones_of_a_miss_do_not(bit_depth):
    maker = FrameMaker(replace(RECIPE, bit_depth=bit_depth, hit_fraction=0.0))
    frame = maker.make(0)
    assert frame.dtype == np.dtype(f"<u{bit_depth // 8}")
    assert (frame[maker.mask != 0] == MAX[bit_depth]).all()
    overloaded = frame[maker.mask == 0] == MAX[bit_depth]
    assert overloaded.sum() == (N_UNLISTED_HOT_PIXELS if bit_depth == 8 else 0)


def test_gaps_hold_the_largest_value_on_a_hit_too():
    model = find_model("4M")
    frame = FrameMaker(Recipe(model=model, seed=1, n_frames=1, hit_fraction=1.0)).make(0)
    assert (frame[gap_mask(model)] == MAX[16]).all()


def test_without_the_mask_dead_pixels_count_nothing_and_noisy_ones_a_lot():
    maker = FrameMaker(replace(RECIPE, mask_applied=False, hit_fraction=0.0))
    frame = maker.make(0)
    assert (frame[maker.mask == DEAD_BIT] == 0).all()
    assert (frame[maker.mask == NOISY_BIT] > 1000).all()


def test_a_miss_is_poisson_noise_around_the_background(maker, expected):
    frames = np.array([maker.make(index) for index in misses(maker)], dtype=np.float64)
    good = (maker.mask == 0) & (frames.max(axis=0) < 500)
    # sums over a few hundred thousand pixels: one standard deviation is below 0.1 %, the levels round by 2.5 % at most
    assert frames[:, good].mean() == pytest.approx(expected[good].mean(), rel=0.005)
    spread = np.square(frames[:, good] - expected[good]).mean()
    assert spread == pytest.approx(expected[good].mean(), rel=0.02)


def test_the_beam_stop_throws_a_shadow_and_water_a_ring(expected):
    model = RECIPE.model
    slow, fast = (round(centre) for centre in model.beam_center)
    stop_px = round(BEAM_STOP_RADIUS_M / model.pixel_size_m)
    along = expected[slow, fast:]
    assert along[0] < 0.2
    assert along[stop_px + 2] > 5
    ring = stop_px + 10 + int(np.argmax(np.diff(along[stop_px + 10 :])))
    assert along[ring:].max() > along[ring]


def test_peaks_stand_where_truth_says_with_the_photons_it_says(maker, expected):
    checked = 0
    unlisted = maker.make(misses(maker)[0]) > 500
    for index in hits(maker):
        frame = maker.make(index).astype(np.float64)
        usable = ~unlisted & (frame < MAX[16])
        for peak in maker.truth(index).peaks:
            rows = slice(round(peak.slow) - PATCH_RADIUS, round(peak.slow) + PATCH_RADIUS + 1)
            columns = slice(round(peak.fast) - PATCH_RADIUS, round(peak.fast) + PATCH_RADIUS + 1)
            inside = usable[rows, columns]
            if peak.overloaded or inside.shape != (2 * PATCH_RADIUS + 1,) * 2 or not inside.all():
                continue
            should_be = spot(peak).sum() + expected[rows, columns].sum()
            assert abs(frame[rows, columns].sum() - should_be) < 6 * np.sqrt(should_be) + 0.03 * should_be
            checked += 1
    assert checked > 40


def test_overloaded_peaks_read_as_the_largest_value(maker):
    overloaded = [(index, peak) for index in hits(maker) for peak in maker.truth(index).peaks if peak.overloaded]
    assert overloaded
    for index, peak in overloaded:
        assert maker.make(index)[round(peak.slow), round(peak.fast)] == MAX[16]


def test_peaks_keep_apart_and_off_the_gaps():
    model = find_model("4M")
    maker = FrameMaker(Recipe(model=model, seed=5, n_frames=1, hit_fraction=1.0))
    gaps = gap_mask(model)
    peaks = maker.truth(0).peaks
    assert len(peaks) >= 15
    for number, peak in enumerate(peaks):
        assert not gaps[round(peak.slow), round(peak.fast)]
        for other in peaks[:number]:
            assert np.hypot(peak.slow - other.slow, peak.fast - other.fast) >= SEPARATION
