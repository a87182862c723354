"""Writers killed at random moments, two rounds of `benchmarks/write_faults.py` for each layout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[3] / "benchmarks" / "write_faults.py"


@pytest.mark.skipif(not SUITE.exists(), reason="the benchmarks are not part of an installation")
@pytest.mark.parametrize("layout", ["one file", "master and data files", "two workers"])
def test_killed_writers_leave_complete_files(layout: str) -> None:
    command = [sys.executable, str(SUITE), "--rounds", "2", "--layout", layout, "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.stdout, finished.stderr
    rounds = json.loads(finished.stdout)["rounds"]
    assert [one["flaws"] for one in rounds] == [[], []]
