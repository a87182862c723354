"""What adds up over frames: counts, rates, histograms and the virtual powder, whatever the order and the restarts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
import pytest

from beamstream_consumers.peaks.errors import PeakMessageError
from beamstream_consumers.peaks.statistics import MAX_POWDER_EDGE, RECENT_IDS, PeakStatistics

SECOND_NS = 1_000_000_000


SHAPE = (100, 80)


def message(n_peaks: int, *, hit: bool, seed: int = 0, shape: tuple[int, int] = SHAPE, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    peaks = {
        "fs": rng.uniform(0, shape[1] - 1, n_peaks).tolist(),
        "ss": rng.uniform(0, shape[0] - 1, n_peaks).tolist(),
        "intensity": rng.lognormal(5, 1, n_peaks).tolist(),
        "resolution": rng.uniform(1, 20, n_peaks).tolist(),
    }
    return {"n_peaks": n_peaks, "hit": hit, "n_saturated": 0, "shape": list(shape), "peaks": peaks, **more}


def run_of(n_frames: int) -> list[tuple[int, int, dict[str, Any]]]:
    return [
        (number, number * SECOND_NS // 20, message(20 if number % 3 == 0 else 2, hit=number % 3 == 0, seed=number))
        for number in range(1, n_frames + 1)
    ]


def added(frames: list[tuple[int, int, dict[str, Any]]], to: PeakStatistics | None = None) -> PeakStatistics:
    statistics = to or PeakStatistics()
    for frame in frames:
        statistics.add(*frame)
    return statistics


def as_message(statistics: PeakStatistics) -> tuple[bytes, bytes]:
    return msgpack.packb(statistics.summary()), statistics.powder.tobytes()


def test_hits_peaks_and_saturated_pixels_are_counted() -> None:
    statistics = added(run_of(30))
    statistics.add(31, 31, message(4, hit=False, n_saturated=7))
    summary = statistics.summary()
    assert (summary["n_frames"], summary["n_hits"], summary["n_peaks"]) == (31, 10, 10 * 20 + 20 * 2 + 4)
    assert (summary["n_saturated"], summary["n_frames_saturated"]) == (7, 1)
    assert summary["hit_rate"] == 10 / 31
    counts = summary["histograms"]["peaks_per_frame"]["counts"]
    assert (counts[2], counts[4], counts[20], sum(counts)) == (20, 1, 10, 31)


def test_histograms_and_powder_are_of_the_peaks_of_hits() -> None:
    statistics = PeakStatistics()
    peaks = {"fs": [10.4, 10.6], "ss": [3, 99], "intensity": [150.0, 1e9], "resolution": [2.0, float("inf")]}
    statistics.add(1, 1, message(2, hit=True) | {"peaks": peaks})
    statistics.add(2, 2, message(2, hit=False))
    assert np.argwhere(statistics.powder[0]).tolist() == [[3, 10], [99, 11]]
    assert statistics.powder[1][3, 10] == 150.0
    summary = statistics.summary()["histograms"]
    assert {name: np.flatnonzero(one["counts"]).tolist() for name, one in summary.items()} == {
        "peaks_per_frame": [2],
        "log10_intensity": [22, 81],  # from 10**2.1 = 126 on, and above all
        "one_over_resolution": [0, 50],
    }


def test_a_large_detector_has_a_powder_of_bounded_size() -> None:
    statistics = added([(1, 1, message(50, hit=True, shape=(4362, 4148)))])
    assert statistics.powder_factor == 9
    assert max(statistics.powder.shape) <= MAX_POWDER_EDGE
    assert statistics.powder[0].sum() == 50


def test_the_rate_of_late_is_that_of_the_newest_frames() -> None:
    statistics = PeakStatistics()
    for number in range(1, 3001):
        statistics.add(number, number * SECOND_NS // 100, message(0, hit=number > 2500))
    summary = statistics.summary()
    assert summary["hit_rate"] == 500 / 3000
    assert summary["hit_rate_of_late"] == pytest.approx(500 / RECENT_IDS, rel=0.06)
    assert summary["hit_rate_of_last_minute"] == pytest.approx(500 / 3000)


def test_the_order_of_the_frames_and_restarts_change_no_bit() -> None:
    frames = run_of(120)
    straight = added(frames)
    shuffled = frames.copy()
    random.Random(1).shuffle(shuffled)
    assert as_message(added(shuffled)) == as_message(straight)
    first = added(frames[:50])
    told: Mapping[str, Any] = msgpack.unpackb(msgpack.packb(first.summary()))
    assert as_message(added(frames[50:], PeakStatistics.restored(told, first.powder))) == as_message(straight)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_peaks": "many"}, "ValueError"),
        ({"shape": [100]}, "ValueError"),
        ({"shape": [100, 10**9]}, "100 x 1000000000 pixels"),
        ({"peaks": None}, "TypeError"),
        ({"peaks": {"fs": [1.0], "ss": [1.0]}}, "'intensity'"),
        ({"peaks": {"fs": [1.0], "ss": [1.0, 2.0], "intensity": [1.0]}}, "different lengths"),
        ({"peaks": {"fs": [80.0], "ss": [1.0], "intensity": [1.0]}}, "fs is outside the frame"),
        ({"peaks": {"fs": [float("nan")], "ss": [1.0], "intensity": [1.0]}}, "fs is outside the frame"),
        ({"peaks": {"fs": [1.0], "ss": [1.0], "intensity": [float("inf")]}}, "no number"),
        ({"shape": [50, 50]}, "those before are"),
    ],
)
def test_what_says_no_peaks_is_refused_and_nothing_is_added(change: dict[str, Any], reason: str) -> None:
    statistics = added(run_of(3))
    before = as_message(statistics)
    with pytest.raises(PeakMessageError, match=reason):
        statistics.add(4, 4, message(3, hit=True) | change)
    assert as_message(statistics) == before
