"""Numbers with units, as files write them."""

from __future__ import annotations

import math
from collections.abc import Mapping

LENGTHS_M: Mapping[str, float] = {
    "m": 1.0,
    "meter": 1.0,
    "metre": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "micron": 1e-6,
    "nm": 1e-9,
    "a": 1e-10,
    "å": 1e-10,
    "angstrom": 1e-10,
    "pm": 1e-12,
}
"""Metres in a unit of length, by its name in lower case."""

ENERGIES_EV: Mapping[str, float] = {"ev": 1.0, "kev": 1e3, "mev": 1e6}
"""Electron volts in a unit of energy, by its name in lower case: nobody scatters milli-electron volts here."""

ANGLES_RAD: Mapping[str, float] = {
    "rad": 1.0,
    "radian": 1.0,
    "mrad": 1e-3,
    "deg": math.pi / 180,
    "degree": math.pi / 180,
    "°": math.pi / 180,
}
"""Radians in a unit of angle, by its name in lower case."""


def unit_factor(units: Mapping[str, float], name: str) -> float | None:
    """Return how much one `name` is; None where the table does not know it. A plural's ``s`` does not matter."""
    lower = name.strip().lower()
    return units.get(lower, units.get(lower.removesuffix("s")))


def finite(text: str) -> float:
    """Read a number.

    Raises
    ------
    ValueError
        If it is none, infinite, or not a number.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no finite number")
    return value
