"""How much memory is left on this machine, or in this container: asked before a segment is made.

The kernel does not refuse pages that it has not got: it ends processes to get them.
"""

from __future__ import annotations

from pathlib import Path

MACHINE_FILE = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
"""Where a container (cgroup v2) finds its limit, the word ``max`` where there is none, and what it uses [bytes]."""

NO_LIMIT = 1 << 62
"""What nobody limits [bytes]."""

LEFT_SHARE = 32
"""A part of what is left is left to others: a 32nd, 3 %."""


def room_bytes(machine: Path = MACHINE_FILE, container: Path = CONTAINER) -> int:
    """Return how much memory may still be taken [bytes]."""
    left_bytes = min(_machine_bytes(machine), _container_bytes(container))
    return left_bytes - left_bytes // LEFT_SHARE


def _machine_bytes(path: Path) -> int:
    """Return what the machine can give without swapping [bytes]."""
    kib = _numbers(path).get("MemAvailable:")
    return NO_LIMIT if kib is None else kib * 1024


def _container_bytes(folder: Path) -> int:
    """Return what our container can give [bytes]: pages of files that are only kept for later count as used there."""
    limit_bytes, used_bytes = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit_bytes is None or used_bytes is None:
        return NO_LIMIT
    of = _numbers(folder / "memory.stat")
    kept_bytes = of.get("active_file", 0) + of.get("inactive_file", 0)
    return max(0, limit_bytes - used_bytes + kept_bytes)


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _numbers(path: Path) -> dict[str, int]:
    """Read a file of the kernel that has a name and a number in each line."""
    lines = [line.split() for line in _read(path).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
