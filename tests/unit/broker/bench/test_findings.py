"""What was measured: percentiles, what follows from others, and the JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream_broker.bench.findings import Findings, frame_text, summarise


def delays(*milliseconds: int) -> np.ndarray:
    return np.array(milliseconds, np.int64) * 1_000_000


def test_each_percentile_is_a_delay_that_so_many_did_not_exceed() -> None:
    found = summarise(delays(*range(100, 0, -1)), rate_hz=50.0, is_half=True, behind_s=0.0)
    assert (found.p50_s, found.p90_s, found.p99_s, found.max_s) == (0.050, 0.090, 0.099, 0.100)
    assert found.n_samples == 100


def test_one_delay_is_every_percentile() -> None:
    found = summarise(delays(7), rate_hz=1.0, is_half=False, behind_s=0.0)
    assert {found.p50_s, found.p90_s, found.p99_s, found.max_s} == {0.007}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_percentiles_are_the_nearest_ranks(samples_ns: list[int]) -> None:
    found = summarise(np.array(samples_ns, np.int64), rate_hz=1.0, is_half=True, behind_s=0.0)
    ordered = sorted(samples_ns)
    ranks = [ordered[-(-len(ordered) * share // 100) - 1] / 1e9 for share in (50, 90, 99, 100)]
    assert [found.p50_s, found.p90_s, found.p99_s, found.max_s] == ranks


def test_processor_time_is_per_gb_of_large_messages_and_per_million_of_small_ones(findings: Findings) -> None:
    (small,), large = findings.results_of(200), findings.results_of(1 << 20)[0]
    per_million = {"producer": 15.0, "server": 6.0, "broker": None, "readers": 14.0}
    assert small.cpu_per_unit() == pytest.approx(per_million)
    # three groups: what one of them takes to read a GB
    per_gb = {"producer": 0.3, "server": 0.6, "broker": 0.03, "readers": 0.3}
    assert large.cpu_per_unit() == pytest.approx(per_gb, rel=0.01)


def test_small_messages_are_compared_with_what_has_messages_and_large_ones_with_all(findings: Findings) -> None:
    assert [one.name for one in findings.ceilings_of(200)] == ["socket pair", "redis-py SET/GET"]
    names = ["memcpy", "socket pair", "redis-py SET/GET", "disk write, fsync", "disk read"]
    assert [one.name for one in findings.ceilings_of(1 << 20)] == names


def test_the_json_holds_every_figure_and_what_follows_from_it(findings: Findings) -> None:
    found = json.loads(json.dumps(findings.as_dict()))
    assert [result["tier"] for result in found["results"]] == ["inline", "memory", "shared", "disk", "disk"]
    large = found["results"][1]
    assert large["messages_per_s"] == 1480.0
    assert large["bytes_per_s"] == 1480.0 * (1 << 20)
    assert large["latency"]["p99_s"] == 0.004
    assert large["cpu_unit"] == "GB"
    assert found["results"][3]["latency"] is None
    assert found["left_out"] == [{"what": "shared, 9 MB", "reason": "no room [here]"}]


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(200, "200 B"), (100_000, "100 kB"), (1 << 20, "1 MiB"), (9_000_000, "9 MB"), (65536, "64 KiB"), (1025, "1025 B")],
)
def test_sizes_are_written_as_people_choose_them(n_bytes: int, text: str) -> None:
    assert frame_text(n_bytes) == text
