"""How much memory is left on this machine, or in this container: asked before a segment is made.

The kernel does not refuse pages that it has not got: it ends processes to get them.
"""

from __future__ import annotations

from pathlib import Path

MACHINE_FILE = Path("/proc/meminfo")
LIMIT_FILE, USED_FILE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
"""Where a container (cgroup v2) finds its limit, the word ``max`` where there is none, and what it uses [bytes]."""

LEFT_SHARE = 32
"""A part of what is left is left to others: a 32nd, 3 %."""


def room_bytes(machine: Path = MACHINE_FILE, limit: Path = LIMIT_FILE, used: Path = USED_FILE) -> int:
    """Return how much memory may still be taken [bytes]."""
    left_bytes = _available_bytes(machine)
    limit_bytes, used_bytes = _number(limit), _number(used)
    if limit_bytes is not None and used_bytes is not None:
        left_bytes = min(left_bytes, max(0, limit_bytes - used_bytes))
    return left_bytes - left_bytes // LEFT_SHARE


def _available_bytes(path: Path) -> int:
    """Return what the machine can give without swapping [bytes]; no limit where it does not say."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found and found[0].isdecimal() else 1 << 62


def _number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None
