"""The peak finder beside OM's extension, where `BEAMSTREAM_OM_PYTHON` names a Python that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "peak_finder_oracle.py"
PYTHON = os.environ.get("BEAMSTREAM_OM_PYTHON")

pytestmark = pytest.mark.skipif(not BENCHMARK.exists(), reason="the benchmarks are not part of an installation")


@pytest.mark.skipif(not PYTHON, reason="BEAMSTREAM_OM_PYTHON names no Python with ondamonitor")
def test_every_difference_from_oms_extension_is_explained() -> None:
    command = [sys.executable, str(BENCHMARK), "--oracle-python", str(PYTHON), "--frames", "50", "--json"]
    compared = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert compared["unexplained"] == 0
    assert compared["steps"]["the kernel"]["frames"] == 50
    assert compared["steps"]["the kernel"]["peaks"] > 500


def test_without_the_extension_nothing_is_compared_and_that_is_said() -> None:
    finished = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "")
    assert "nothing to compare with" in finished.stderr
