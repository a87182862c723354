"""The kernels under numba's own bounds checks: a read or write outside its array is an error there, not luck."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_no_damage_makes_the_kernels_leave_their_arrays(tmp_path):
    # a cache of its own: the usual one holds the kernels without the checks
    checked = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    examples = str(Path(__file__).with_name("test_codecs.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "harm or refused", examples]
    answer = subprocess.run(command, env=checked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-4000:]
