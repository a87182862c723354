"""What a file's name says: its scan and its number; and what the stream of a scan is called.

camserver writes `base_00001.cbf`, `base_00002.cbf`, …, with three digits or more, beginning with whatever number it was
told: 0, 1, 10001. What stands before the last `_` is the scan. Message ids count from 1 without holes, so that

    message id = number - number of the scan's first file + 1

and every message says its file's name and number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beamstream.address import MAX_NAME_LENGTH

MAX_NUMBER_DIGITS = 12
"""Longest number in a file's name [digits]; camserver writes five."""

_NUMBERED = re.compile(rf"(?P<base>.+)_(?P<number>[0-9]{{1,{MAX_NUMBER_DIGITS}}})", re.DOTALL)
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]")
_FOREIGN_START = re.compile(r"^[.-]+")


class ScanKey(NamedTuple):
    """Files of one folder with one base name."""

    folder: Path
    base: str

    def __str__(self) -> str:
        return f"{self.base} in {self.folder}"


def read_name(name: str) -> tuple[str, int] | None:
    """Return the scan's base name and the number that a file's name says; None where it has no number at its end."""
    stem, dot, _ = name.rpartition(".")
    found = _NUMBERED.fullmatch(stem if dot else name)
    return (found["base"], int(found["number"])) if found else None


def stream_names(scan: ScanKey) -> Iterator[str]:
    """Yield names for the stream of a scan: its base name, that with the folder's name before it, with numbers."""
    base = address_name(scan.base)
    yield base
    longer = address_name(f"{scan.folder.name}_{scan.base}")
    yield longer
    number = 2
    while True:
        yield f"{longer[: MAX_NAME_LENGTH - len(str(number)) - 1]}_{number}"
        number += 1


def address_name(text: str) -> str:
    """Return a text as a part of an address can be called."""
    return _FOREIGN_START.sub("", _FOREIGN.sub("_", text))[:MAX_NAME_LENGTH] or "scan"
