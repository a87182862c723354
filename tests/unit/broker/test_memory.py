"""How much memory there is, and how much a server takes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream_broker import memory
from beamstream_broker.memory import choose_memory, measure_memory


def test_a_small_machine_keeps_most_of_its_memory() -> None:
    assert choose_memory(1000) == 400
    assert choose_memory(1024**4) == 4 * 1024**3


def test_a_containers_limit_counts_as_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMIT_FILE", limit)
    without = measure_memory()
    limit.write_text("max\n")
    assert measure_memory() == without
    limit.write_text("1048576\n")
    assert measure_memory() == 1048576
