"""Amounts of memory as people write them, and how much of it there is. rich and typer only format, so this
parses."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import SizeError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)

# A bare letter is binary, as systemd and docker read it.
_UNIT_BYTES = {"": 1, "b": 1} | {
    spelling: base**power
    for power, letter in enumerate("kmgt", start=1)
    for spelling, base in ((letter, 1024), (f"{letter}ib", 1024), (f"{letter}b", 1000))
}

DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Memory of an embedded server where there is plenty [bytes]; `stream broker run --memory` in design section
8."""

DEFAULT_MEMORY_SHARE = 0.4
"""Largest share of the machine's memory that is taken unasked; the rest belongs to producers, consumers and
page cache."""

CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
"""Where a container (cgroup v2) finds its own limit; the word ``max`` where there is none."""


def parse_bytes(text: str) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text : str
        A number with a unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB or K, M, G, T (powers of
        1024); upper and lower case mean the same. Without a unit: bytes.

    Returns
    -------
    int
        The amount [bytes], at least 1.

    Raises
    ------
    SizeError
        If it is something else.

    Examples
    --------
    >>> parse_bytes("1.5GiB")
    1610612736
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SizeError(text, "it is no number with a unit")
    number, unit = match.groups()
    if unit.lower() not in _UNIT_BYTES:
        raise SizeError(text, f"the unit {unit!r} is unknown")
    n_bytes = int(float(number) * _UNIT_BYTES[unit.lower()])
    if n_bytes < 1:
        raise SizeError(text, "it is less than a byte")
    return n_bytes


def format_bytes(n_bytes: float) -> str:
    """Write an amount of memory for people.

    Examples
    --------
    >>> format_bytes(1610612736)
    '1.50 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.2f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.2f} TiB"


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
