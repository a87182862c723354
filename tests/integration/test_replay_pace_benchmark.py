"""`benchmarks/replay_pace.py` works: its processes run, and every figure is there. How large they are is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "replay_pace.py"
N_FRAMES = 20


@pytest.mark.skipif(not BENCHMARK.exists(), reason="the benchmarks are not part of an installation")
def test_the_replay_benchmark_replays_every_frame_and_states_every_figure() -> None:
    command = [sys.executable, str(BENCHMARK), "--rate", "100", "--seconds", "0.2", "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.stdout, finished.stderr
    (found,) = json.loads(finished.stdout)
    assert (found["n_frames"], found["is_receipt_equal"]) == (N_FRAMES, True)
    figures = [
        value for name in ("recorded", "handed_over", "replayed", "off_schedule") for value in found[name].values()
    ]
    assert all(figure >= 0 for figure in figures)
    assert found["ratio"] > 0
    assert finished.returncode == (0 if found["is_good"] else 1)
