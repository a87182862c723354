"""pyFAI's ``.poni`` files (versions 1, 2 and 2.1): bytes in, `Geometry` out.

pyFAI's axes are 1 up (slow), 2 across (fast) and 3 along the beam, right-handed, so that 2 points to the right as seen
along the beam: here y = t1, x = -t2, z = t3. A pixel's centre lies half a pixel from its corner in both. With rotations
the position of a pixel is R3(rot3)·R2(-rot2)·R1(-rot1)·(p1 - poni1, p2 - poni2, distance): rot1 and rot2 are
left-handed, rot3 is right-handed. Orientations other than 3 (the native one) turn slow, fast or both around.

A file that is written again and again grows; the last value of a key counts. Distortion, splines and sensors of
pyFAI's own are not applied.

References
----------
Kieffer et al., J. Synchrotron Rad. 27 (2020) 558; pyFAI's documentation, «Default geometry in pyFAI».
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .description import Geometry, Panel, Vector
from .errors import GeometryFormatError, GeometryIncompleteError
from .known_detectors import known_detector
from .quantities import finite

MAX_LINES = 100_000
"""Longest file [lines]: some thousand calibrations, one after the other."""

Text = tuple[str, int]

ORIENTATIONS = {0: (False, False), 1: (True, True), 2: (True, False), 3: (False, False), 4: (False, True)}
"""Whether slow, fast are turned around, by pyFAI's number of the orientation."""

MAX_ANGLE_RAD = 1e3
"""Largest angle that is not taken for a slip [rad]."""


def parse_poni(text: str, where: str = "geometry", shape: tuple[int, int] | None = None) -> Geometry:
    """Return what a ``.poni`` file says.

    Parameters
    ----------
    text : str
        The file.
    where : str
        What it is called in messages.
    shape : (n_slow, n_fast), optional
        Shape of the frames [pixels], for files that do not say it.

    Raises
    ------
    GeometryFormatError
        If it describes no possible detector; with the line.
    GeometryIncompleteError
        If neither the file nor `shape` says how large the detector is, or its pixels are unknown.
    """
    lines = _lines(text, where)
    numbers = {key: _number(lines, key, where, 0.0) for key in ("poni1", "poni2", "rot1", "rot2", "rot3")}
    for key in ("rot1", "rot2", "rot3"):
        if abs(numbers[key]) > MAX_ANGLE_RAD:
            raise GeometryFormatError(where, lines[key][1], f"{key} = {numbers[key]:g} rad cannot be meant")
    distance_m = _number(lines, "distance", where, None)
    config = _config(lines, where)
    size_m, own_shape = _detector(lines, config, where)
    shape = own_shape or shape
    if shape is None:
        raise GeometryIncompleteError(where, "how many pixels the detector has", "give the shape of its frames")
    orientation = config.get("orientation", 3)
    if not isinstance(orientation, int) or orientation not in ORIENTATIONS:
        raise GeometryFormatError(where, lines["detector_config"][1], f"orientation {orientation!r} is none of 1 to 4")
    turned = ORIENTATIONS[orientation]
    rotate = _rotation(numbers["rot1"], numbers["rot2"], numbers["rot3"])
    # The corner of the first pixel, and the steps from it, before they are rotated.
    first = [n * size if back else 0.0 for n, size, back in zip(shape, size_m, turned, strict=True)]
    steps = [-size if back else size for size, back in zip(size_m, turned, strict=True)]
    x, y, z = rotate((first[0] - numbers["poni1"], first[1] - numbers["poni2"], distance_m))
    panel = Panel(
        name="detector",
        slow=(0, shape[0]),
        fast=(0, shape[1]),
        corner_m=(x, y, z - distance_m),
        slow_step_m=rotate((steps[0], 0.0, 0.0)),
        fast_step_m=rotate((0.0, steps[1], 0.0)),
    )
    wavelength_m = _number(lines, "wavelength", where, math.nan) if "wavelength" in lines else math.nan
    return Geometry(
        panels=(panel,),
        shape=shape,
        distance_m=distance_m,
        wavelength_a=None if math.isnan(wavelength_m) else wavelength_m * 1e10,
        origin=where,
    )


def _lines(text: str, where: str) -> dict[str, Text]:
    """Return values by their keys in lower case, with their lines."""
    found: dict[str, Text] = {}
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise GeometryFormatError(where, 0, f"{len(lines)} lines; the limit is {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        statement = line.strip()
        if not statement or statement.startswith("#"):
            continue
        key, sign, value = statement.partition(":")
        if not sign:
            raise GeometryFormatError(where, number, f"{statement[:80]!r} is no statement; write Name: value")
        found[key.strip().lower()] = (value.strip(), number)
    if "dist" in found:
        found.setdefault("distance", found["dist"])
    if "distance" not in found:
        raise GeometryFormatError(where, 0, "there is no Distance in it")
    return found


def _number(lines: Mapping[str, Text], key: str, where: str, default: float | None) -> float:
    if key not in lines:
        if default is None:
            raise GeometryFormatError(where, 0, f"there is no {key} in it")
        return default
    text, line = lines[key]
    if key == "wavelength" and text.lower() in ("", "none"):
        return math.nan
    try:
        return finite(text)
    except ValueError:
        raise GeometryFormatError(where, line, f"{key} = {text[:80]!r} is no number") from None


def _config(lines: Mapping[str, Text], where: str) -> Mapping[str, Any]:
    """Return the detector's own settings; empty in version 1."""
    text, line = lines.get("detector_config", ("{}", 0))
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise GeometryFormatError(where, line, "Detector_config is no JSON object")
    return config


def _detector(
    lines: Mapping[str, Text], config: Mapping[str, Any], where: str
) -> tuple[tuple[float, float], tuple[int, int] | None]:
    """Return the pixels' sizes along slow and fast [m], and the shape where it is known."""
    name, line = lines.get("detector", ("", 0))
    known = known_detector(name)
    binning = config.get("binning")
    sizes = []
    for axis, old in ((1, "pixelsize1"), (2, "pixelsize2")):
        value = config.get(f"pixel{axis}")
        if value is None and old in lines:
            value = _number(lines, old, where, None)
        if value is None and known is not None and binning is None:
            value = known.pixel_size_m
        if value is None:
            raise GeometryIncompleteError(
                where, f"how large the pixels of {name or 'its detector'!r} are", "add pixel1 and pixel2 to it"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise GeometryFormatError(where, line, f"pixels of {value!r} m cannot be")
        sizes.append(float(value))
    shape = config.get("max_shape")
    if shape is None:
        return (sizes[0], sizes[1]), known.shape if known is not None and binning is None else None
    if not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and 0 < n < 1 << 24 for n in shape)):
        raise GeometryFormatError(where, lines["detector_config"][1], f"max_shape {str(shape)[:80]} cannot be")
    return (sizes[0], sizes[1]), (shape[0], shape[1])


def _rotation(rot1: float, rot2: float, rot3: float) -> Any:
    """Return a function that turns (t1, t2, t3) of pyFAI and gives (x, y, z)."""
    c1, s1 = math.cos(rot1), math.sin(-rot1)
    c2, s2 = math.cos(rot2), math.sin(-rot2)
    c3, s3 = math.cos(rot3), math.sin(rot3)

    def rotate(vector: Vector) -> Vector:
        a, b, c = vector
        b, c = c1 * b - s1 * c, s1 * b + c1 * c
        a, c = c2 * a + s2 * c, -s2 * a + c2 * c
        a, b = c3 * a - s3 * b, s3 * a + c3 * b
        return (-b, a, c)

    return rotate
