"""`benchmarks/peers` works: everybody who is here carries the payloads. How fast is no test."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(__file__).parents[2] / "benchmarks" / "peers"
SIZE_BYTES = 1 << 16
N_MESSAGES = 20

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="the benchmarks are not part of an installation")


def compare(tmp_path: Path, *names: str, n_readers: int) -> dict[str, Any]:
    chosen = [option for name in names for option in ("--peer", name)]
    amounts = ("--size", "64KiB", "--gb", str(N_MESSAGES * SIZE_BYTES / 1e9), "--memory", "64MiB", "--repeats", "1")
    options = (*chosen, *amounts, "--readers", str(n_readers), "--json", str(tmp_path / "found.json"))
    done = subprocess.run([sys.executable, str(COMMAND), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    return found


def test_every_reader_of_beamstream_redis_and_zeromq_gets_every_message_once(tmp_path: Path) -> None:
    names = ("beamstream", "redis-streams", "zeromq-pushpull")
    results = compare(tmp_path, *names, n_readers=2)["results"]
    assert [result["peer"] for result in results] == list(names)
    for result in results:
        (once,) = result["rounds"]
        whole = {"n_received": N_MESSAGES, "n_missing": 0, "n_duplicated": 0, "n_corrupt": 0}
        assert once["readers"] == [{**whole, "n_bytes": N_MESSAGES * SIZE_BYTES}] * 2
        assert once["gb_per_s"] > 0
        assert set(once["cpu_s"]) == {"producer", "readers", "servers"}
    assert results[0]["of_reference"] == 1


@pytest.mark.skipif(importlib.util.find_spec("pvaccess") is not None, reason="PvaPy is installed")
def test_a_peer_that_is_not_installed_is_said_to_be_missing_and_not_measured(tmp_path: Path) -> None:
    found = compare(tmp_path, "pvapy", n_readers=1)
    assert found["results"] == []
    assert "--install" in found["not_here"]["pvapy"]
