"""The short forms of the proofs in `benchmarks/`: the same commands with less of everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the benchmarks are not part of an installation")


def prove(name: str, *arguments: str, fails: bool = False) -> Any:
    """Run a proof; returns what it found, and fails where it fails, unless it may."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or (fails and done.returncode == 1), done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_group_that_slept_gets_five_times_the_memory_from_disk_in_order(tmp_path: Path) -> None:
    found = prove(
        "through_memory", "--gb", "0.3", "--memory", "64MiB", "--frame-bytes", "262144", "--folder", str(tmp_path)
    )
    assert found["n_frames"] == 1144
    assert found["receipt_on_disk"] == found["receipt_online"] == found["chain_of_what_was_sent"]
    assert found["highest_used_bytes"] < found["memory_limit_bytes"]
    assert list(tmp_path.iterdir()) == [], "all files are removed"


def test_one_reader_sees_what_four_producers_interleave_in_order_though_some_ids_come_late() -> None:
    found = prove("interleaved", "--messages", "20000")
    assert found["n_producers"] == 4
    assert found["n_delayed"] > 100
    assert (found["n_gaps"], found["n_failed"]) == (0, 0)


def test_the_index_of_small_messages_costs_less_than_250_bytes_each() -> None:
    found = prove("index_cost", "--messages", "30000")
    assert [one["name"] for one in found] == ["plain", "array", "frame"]
    assert all(0 < one["index_bytes_per_message"] <= 250 for one in found)


def test_the_benchmark_of_single_readings_states_every_figure_and_loses_none() -> None:
    # Whether a busy machine keeps the rate is no test.
    only = [word for name in ("unpaced", "large", "bare", "hundred") for word in ("--only", name)]
    found = prove("small_messages", "--rate", "2000", "--seconds", "0.5", *only, fails=True)
    numbers = {"unpaced": 15_000, "large": 50, "bare": 50, "hundred": 10}
    assert {one["name"]: one["n_messages"] for one in found} == numbers
    assert all(one["messages_per_s"] > 0 and one["us_per_message"]["producer"] > 0 for one in found)
    assert all(0 < one["delay_median_s"] <= one["delay_99_s"] <= one["delay_longest_s"] for one in found)


def test_a_short_soak_gives_every_group_every_id_and_leaves_clean_receipts(tmp_path: Path) -> None:
    figures, drawing = tmp_path / "soak.json", tmp_path / "soak.svg"
    command = [sys.executable, str(BENCHMARKS / "soak.py"), "--minutes", "0.02", "--round-seconds", "0.3"]
    command += [
        "--rate",
        "500",
        "--size",
        "256KiB",
        "--memory",
        "128MiB",
        "--spill-rate",
        "400",
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "--json", str(figures), "--plot", str(drawing)], capture_output=True, text=True, check=False
    )
    assert figures.exists(), done.stderr
    found = json.loads(figures.read_text())
    # Whether a busy machine's memory and latency are flat within seconds is no test.
    assert [flaw for flaw in found["flaws"] if not flaw.endswith("is not flat")] == []
    assert [one["name"] for one in found["rounds"]] == ["limit", "steady", "steady", "spill", "steady", "steady"]
    assert found["spilled"]["on_disk"] > 0
    assert {what for _, _, what in found["events"]} == {"sleeper sleeps", "reads from disk", "killed"}
    assert drawing.read_text().startswith("<svg")
    assert sorted(tmp_path.iterdir()) == [figures, drawing], "all files are removed"


def test_the_spill_benchmark_states_every_figure(tmp_path: Path) -> None:
    # How fast it is on a busy machine is no test.
    found = prove("spill", "--gb", "0.05", "--rounds", "1", "--cold", "--folder", str(tmp_path), fails=True)
    assert found["total_bytes"] == 47 << 20
    assert all(len(rates) == 1 and rates[0] > 0 for rates in found["gb_per_s"].values())
    assert found["ratio"] > 0


@pytest.mark.timeout(400)
def test_whatever_dies_nothing_is_lost_that_was_reported_as_sent() -> None:
    found = prove("faults", "--runs", "8")
    assert len(found) == sum(one["n_runs"] for one in found) == 8
    assert not any(one["n_lost"] or one["n_wrong"] or one["n_failed_runs"] for one in found)
