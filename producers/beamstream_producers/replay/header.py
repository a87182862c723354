"""What a recording's stream metadata say about the run, as far as replaying needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LONGEST_FRAME_TIME_S = 3600.0
"""Longest time between frames that is believed [s]."""


def detector_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first NXdetector of the metadata; empty where there is none."""
    for instrument in _of_class(metadata.get("entry"), "NXinstrument", "instrument"):
        for detector in _of_class(instrument, "NXdetector", "detector"):
            return detector
    return {}


def _of_class(group: object, nx_class: str, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(group, Mapping):
        return []
    groups = {key: value for key, value in group.items() if isinstance(value, Mapping)}
    return [value for key, value in groups.items() if value.get("@NX_class") == nx_class or key == name]


def number_of(group: Mapping[str, Any], name: str) -> float | None:
    """Return a finite number of a group; None where there is none."""
    value = group.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def frame_time_s(metadata: Mapping[str, Any]) -> float | None:
    """Return the time between two frames as the detector was told [s]; None where nobody says it."""
    value = number_of(detector_of(metadata), "frame_time")
    return value if value is not None and 0 < value <= LONGEST_FRAME_TIME_S else None
