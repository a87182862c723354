"""How much memory there is, how much of it is left, and how much an embedded server takes unasked."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY_FILE = Path("/proc/meminfo")

DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Memory of an embedded server where there is plenty [bytes]; `stream broker run --memory` in design section
8."""

DEFAULT_MEMORY_SHARE = 0.4
"""Largest share of the machine's memory that is taken unasked; the rest belongs to producers, consumers and
page cache."""

CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
"""Where a container (cgroup v2) finds its own limit; the word ``max`` where there is none."""


def measure_memory() -> int:
    """Return how much memory this machine, or the container we are in, has [bytes]."""
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = CGROUP_LIMIT_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return machine_bytes
    return min(machine_bytes, int(limit)) if limit.isdecimal() else machine_bytes


def measure_available() -> int:
    """Return how much memory this machine, or the container we are in, can still give [bytes].

    The kernel does not refuse memory that it has not got: it ends some process for it, of whomever.
    """
    fields = _numbers(MEMORY_FILE)
    machine_bytes = fields["MemAvailable:"] * 1024
    try:
        limit = CGROUP_LIMIT_FILE.read_text(encoding="ascii").strip()
        if not limit.isdecimal():
            return machine_bytes
        used_bytes = int(CGROUP_LIMIT_FILE.with_name("memory.current").read_text(encoding="ascii"))
        of_files = _numbers(CGROUP_LIMIT_FILE.with_name("memory.stat"))
    except OSError:
        return machine_bytes
    return min(machine_bytes, int(limit) - used_bytes + of_files["inactive_file"] + of_files["active_file"])


def _numbers(path: Path) -> dict[str, int]:
    """Read a file of the kernel with a name and a number in each line."""
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    return {words[0]: int(words[1]) for words in lines}


def choose_memory(available_bytes: int) -> int:
    """Return what an embedded server takes of `available_bytes` when nobody says how much [bytes]."""
    return min(DEFAULT_MEMORY_BYTES, int(available_bytes * DEFAULT_MEMORY_SHARE))
