"""Amounts of memory as people write them. rich and typer only format, so this parses."""

from __future__ import annotations

import re

from .errors import SizeError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)

# A bare letter is binary, as systemd and docker read it.
_UNIT_BYTES = {"": 1, "b": 1} | {
    spelling: base**power
    for power, letter in enumerate("kmgt", start=1)
    for spelling, base in ((letter, 1024), (f"{letter}ib", 1024), (f"{letter}b", 1000))
}


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
