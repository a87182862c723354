"""How much memory there is, how much an embedded server takes of it unasked, and when there is too little left."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Memory of an embedded server where there is plenty [bytes]; `stream broker run --memory` in design section
8."""

DEFAULT_MEMORY_SHARE = 0.4
"""Largest share of the machine's memory that is taken unasked; the rest belongs to producers, consumers and
page cache."""

HIGH_WATER = 0.85
"""Share of a memory above which payloads are released: the rest takes what a detector sends until the next look."""

LOW_WATER = 0.75
"""Share of a memory at which releasing ends; the distance keeps it from running all the time."""

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


def choose_memory(available_bytes: int) -> int:
    """Return what an embedded server takes of `available_bytes` when nobody says how much [bytes]."""
    return min(DEFAULT_MEMORY_BYTES, int(available_bytes * DEFAULT_MEMORY_SHARE))
