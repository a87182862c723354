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


def prove(name: str, *arguments: str) -> dict[str, Any]:
    """Run a proof; returns what it found, and fails where it fails."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_group_that_slept_gets_five_times_the_memory_from_disk_in_order(tmp_path: Path) -> None:
    found = prove(
        "through_memory", "--gb", "0.3", "--memory", "64MiB", "--frame-bytes", "262144", "--folder", str(tmp_path)
    )
    assert found["n_frames"] == 1144
    assert found["receipt_on_disk"] == found["receipt_online"] == found["chain_of_what_was_sent"]
    assert found["highest_used_bytes"] < found["memory_limit_bytes"]
    assert list(tmp_path.iterdir()) == [], "all files are removed"
