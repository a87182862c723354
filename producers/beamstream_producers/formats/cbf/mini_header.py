"""The detector's header: lines of `# Key value unit` in `_array_data.header_contents`.

DECTRIS's documents say that a reader goes by position: `#=:,()` are blanks, the first word of a line is its key, and
the words behind it count. Two lines have no key: the time stamp, and `Silicon sensor, thickness 0.000450 m`. Absent
keys are normal: a PILATUS of 2011 writes 20 of them, a beamline's template 40.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LINES = 2000
"""Lines that are looked at; a beamline's template has some 60."""

SENSOR = "sensor"
"""Key of the line about the sensor, which begins with the material: words material, ``thickness``, number, unit."""

_BLANKS = str.maketrans(dict.fromkeys("#=:,()", " "))
_CONVENTION = re.compile(r"_array_data\.header_convention\s+(?:\"([^\"\r\n]*)\"|'([^'\r\n]*)'|(\S+))", re.IGNORECASE)
_CONTENTS = re.compile(r"_array_data\.header_contents[ \t]*\r?\n;(.*?)(?:\r?\n;|\Z)", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"^data_(\S+)", re.MULTILINE)
_TIME = re.compile(r"\d{4}[-/](?:\d{2}|[A-Za-z]{3})[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniHeader:
    """What the detector wrote about an image.

    Attributes
    ----------
    convention : str
        ``PILATUS_1.2``, ``SLS/DECTRIS_1.1`` or what else stands there; empty where nothing does.
    block : str
        Name of the data block: that of the image when it was taken.
    lines : tuple of str
        The lines as they are, without the leading ``#``.
    words : mapping of str to tuple of str
        What follows each key, by the key in small letters.
    time : str or None
        The time stamp as it stands there: local time, without a zone.
    """

    convention: str = ""
    block: str = ""
    lines: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    time: str | None = None

    def number(self, key: str, position: int = 0) -> float | None:
        """Return the number at this position behind a key; None where there is none."""
        words = self.words.get(key, ())
        if position >= len(words):
            return None
        try:
            value = float(words[position])
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def text(self, key: str) -> str | None:
        """Return what follows a key, as it stands there; None where nothing does."""
        for line in self.lines:
            found = line.translate(_BLANKS).split(maxsplit=1)
            if found and found[0].lower() == key:
                return line.strip()[len(found[0]) :].lstrip(" \t=:,").strip() or None
        return None


def read_mini_header(text: str) -> MiniHeader:
    """Read the detector's header out of what stands before the binary section; whatever is not there is left out.

    Parameters
    ----------
    text : str
        The beginning of a file, with any line ends; a mini header, or a full one with CIF loops before or behind it.
    """
    convention, block, contents = _CONVENTION.search(text), _BLOCK.search(text), _CONTENTS.search(text)
    lines: list[str] = []
    words: dict[str, tuple[str, ...]] = {}
    time: str | None = None
    for line in contents[1].splitlines()[:MAX_LINES] if contents else ():
        said = line.strip().lstrip("#").strip()
        if not said:
            continue
        lines.append(said)
        if time is None and (found := _TIME.match(said)):
            time = found[0]
            continue
        key, *values = said.translate(_BLANKS).split() or [""]
        if values and values[0].lower() == SENSOR:
            key, values = SENSOR, [key, *values[1:]]
        words.setdefault(key.lower(), tuple(values))
    return MiniHeader(
        convention=next((name for name in convention.groups() if name is not None), "") if convention else "",
        block=block[1] if block else "",
        lines=tuple(lines),
        words=words,
        time=time,
    )
