"""`benchmarks/pipeline.py` works: all its processes run, and every figure is there. How large they are is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "pipeline.py"
N_FRAMES = 5


def run_benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), "--size", "500k", "--frames", str(N_FRAMES), "--repeats", "2"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not BENCHMARK.exists(), reason="the benchmarks are not part of an installation")
def test_the_pipeline_benchmark_reads_every_frame_and_states_every_figure() -> None:
    finished = run_benchmark("--json")
    assert finished.returncode == 0, finished.stderr
    (found,) = json.loads(finished.stdout)["sizes"]
    assert set(found["rates"]) == {"pipeline", "bare", "bare SET", "bare GET", "pull", "memcpy"}
    figures = [rate[name] for rate in found["rates"].values() for name in ("frames_per_s", "mb_per_s", "duration_s")]
    assert all(figure > 0 for figure in [*figures, found["ratio_to_bare"], found["mean_payload_bytes"]])
    assert set(found["rates"]["pipeline"]["cpu_s"]) == {"sender", "connector", "server", "consumer"}
    assert [one["pipeline"]["n_frames"] for one in found["rounds"]] == [N_FRAMES, N_FRAMES]
    assert found["rounds"][0]["pipeline"]["n_bytes"] == found["rounds"][0]["bare"]["n_bytes"]
