"""CrystFEL's ``.geom`` files: bytes in, `Geometry` out.

Written from the format's documentation. Defaults hold for the panels that are first mentioned after them. Two things
are CrystFEL's own and kept: `corner_x`, `corner_y` and regions in x and y are counted in pixels of the panel, and what
`max_fs`, `max_ss` name belongs to the panel. Three are more than CrystFEL takes: a camera length for each panel (older
versions wrote it), bad regions in fs and ss without a panel (they then are bad in every panel), and exponents in
directions.

Frames here have two axes. A file whose panels lie in different datasets, or at different positions along a third axis,
is refused. What is no statement of the format is logged with its line and passed over, as CrystFEL does.

References
----------
crystfel_geometry(5), https://www.desy.de/~twhite/crystfel/manual-crystfel_geometry.html
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .crystfel_panels import PanelLines, bad_region, camera_lengths, mask_files, panel_of
from .description import EV_ANGSTROM, MAX_PANELS, BadArea, BadPixels, Geometry, Panel
from .errors import GeometryFormatError
from .metadata_values import number_at
from .quantities import ENERGIES_EV, LENGTHS_M, finite, unit_factor

log = logging.getLogger(__name__)

MAX_LINES = 1_000_000
"""Longest file [lines]; an AGIPD's has some thousand."""

MAX_BAD = 65_536
"""Most bad regions."""

_PANEL_KEY = re.compile(
    r"(min|max)_(fs|ss)|corner_[xy]|adu_per_(eV|photon)|clen|data|mask_edge_pixels|mask(_(bad|good|file))?"
    r"|mask[0-7]_(data|file|goodbits|badbits)|saturation_map(_file)?|coffset|res|max_adu"
    r"|flag_(equal|lessthan|morethan)|badrow_direction|no_index|fs|ss|dim\d"
)
_BAD_KEY = re.compile(r"(min|max)_(fs|ss|x|y)|panel")
_TOP_KEY = re.compile(
    r"photon_energy|wavelength|electron_voltage|bandwidth|peak_list(_type)?|detector_shift_[xy]|(rigid_)?group_.+"
    r"|rigid_group.*|photon_energy_bandwidth|beam_bandwidth|peak_info_location|integr_radii|ring_radii"
)

Text = tuple[str, int]
"""A value as it is written, and its line."""


@dataclass(slots=True)
class Statements:
    """What a file says, before anything is made of it."""

    where: str
    top: dict[str, Text] = field(default_factory=dict)
    panels: dict[str, PanelLines] = field(default_factory=dict)
    bad: dict[str, dict[str, Text]] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, list[Text]] = field(default_factory=dict)


def parse_geom(text: str, where: str = "geometry", metadata: Mapping[str, object] | None = None) -> Geometry:
    """Return what a ``.geom`` file says.

    Parameters
    ----------
    text : str
        The file.
    where : str
        What it is called in messages.
    metadata : mapping, optional
        Stream metadata, in which camera length and photon energy are looked up where the file gives a path.

    Returns
    -------
    Geometry
        `shape` reaches as far as the panels do. Distance and wavelength are None where the file refers to something
        that `metadata` does not have.

    Raises
    ------
    GeometryFormatError
        If it describes no possible detector; with the line.
    """
    said = _read(text, where)
    if not said.panels:
        raise GeometryFormatError(where, 0, "there is no panel in it; a panel has lines such as p0/min_fs = 0")
    shift_m = (_shift_m(said, "x"), _shift_m(said, "y"))
    lengths, location = camera_lengths(where, said.panels, said.defaults.get("clen", []))
    locations = {}
    distance_m = min(lengths.values()) if lengths else None
    if location is not None:
        locations["distance"], found = _look_up(location, metadata, LENGTHS_M, "mm")
        distance_m = found
    wavelength_a = _wavelength_a(said, metadata, locations)
    panels = []
    for name, lines in said.panels.items():
        offset_m = lengths[name] - (distance_m or 0.0) if name in lengths else 0.0
        panels.append(panel_of(where, name, lines, (*shift_m, offset_m)))
    _warn_of_overlaps(where, panels)
    data_location = _one_dataset(said)
    bad: list[BadPixels | BadArea] = [bad_region(where, name, lines, said.panels) for name, lines in said.bad.items()]
    return Geometry(
        panels=tuple(panels),
        shape=(max(panel.slow[1] for panel in panels), max(panel.fast[1] for panel in panels)),
        distance_m=distance_m,
        wavelength_a=wavelength_a,
        bad=tuple(bad),
        masks=mask_files(where, said.panels),
        groups=said.groups,
        locations=locations,
        data_location=data_location,
        origin=where,
    )


# --- lines -------------------------------------------------------------------------------------------------------


def _read(text: str, where: str) -> Statements:
    """Sort the lines by what they speak of."""
    said = Statements(where)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise GeometryFormatError(where, 0, f"{len(lines)} lines; the limit is {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        statement = line.partition(";")[0].strip()
        if not statement:
            continue
        name, sign, value = statement.partition("=")
        if not sign:
            raise GeometryFormatError(where, number, f"{statement[:80]!r} is no statement; write name = value")
        _sort(said, name.strip(), (value.strip(), number))
    return said


def _sort(said: Statements, name: str, value: Text) -> None:
    owner, slash, key = name.partition("/")
    owner, key = owner.strip(), key.strip()
    if not slash:
        _sort_top(said, owner, value)
    elif owner.startswith("bad"):
        if not _BAD_KEY.fullmatch(key):
            _pass_over(said, name, value)
            return
        said.bad.setdefault(owner, {})[key] = value
        if len(said.bad) > MAX_BAD:
            raise GeometryFormatError(said.where, value[1], f"more than {MAX_BAD} bad regions")
    elif not _PANEL_KEY.fullmatch(key):
        _pass_over(said, name, value)
    else:
        if owner not in said.panels:
            if len(said.panels) >= MAX_PANELS:
                raise GeometryFormatError(said.where, value[1], f"more than {MAX_PANELS} panels")
            said.panels[owner] = PanelLines({key: list(texts) for key, texts in said.defaults.items()}, value[1])
        said.panels[owner].put(key, value)


def _sort_top(said: Statements, name: str, value: Text) -> None:
    if name.startswith(("group_", "rigid_group_")) and not name.startswith("rigid_group_collection"):
        members = tuple(filter(None, (member.strip() for member in value[0].split(","))))
        said.groups[name.partition("group_")[2]] = members
    elif _TOP_KEY.fullmatch(name):
        said.top[name] = value
    elif _PANEL_KEY.fullmatch(name):
        PanelLines(said.defaults, value[1]).put(name, value)
    else:
        _pass_over(said, name, value)


def _pass_over(said: Statements, name: str, value: Text) -> None:
    log.warning("%s, line %d: %s is no statement of the format and is passed over", said.where, value[1], name)


# --- the whole detector ------------------------------------------------------------------------------------------


def _one_dataset(said: Statements) -> str | None:
    """Return where the images are; refuses panels in different datasets."""
    places = {lines.text("data")[0] for lines in said.panels.values() if "data" in lines.values}
    if len(places) > 1:
        reason = f"its panels are in different datasets ({', '.join(sorted(places)[:3])}); frames are one array"
        raise GeometryFormatError(said.where, 0, reason)
    return next(iter(places), None)


def _warn_of_overlaps(where: str, panels: Sequence[Panel]) -> None:
    """Say which panels hold the same pixels: `max_fs` and `max_ss` are the panel's own, and easily one too large."""
    boxes = np.array([(*panel.slow, *panel.fast) for panel in panels])
    for number, panel in enumerate(panels[:-1]):
        others = boxes[number + 1 :]
        shared = (others[:, 0] < panel.slow[1]) & (panel.slow[0] < others[:, 1])
        shared &= (others[:, 2] < panel.fast[1]) & (panel.fast[0] < others[:, 3])
        if shared.any():
            other = panels[number + 1 + int(np.argmax(shared))].name
            log.warning("%s: panels %s and %s hold the same pixels; the first one has them", where, panel.name, other)
            return


def _shift_m(said: Statements, axis: str) -> float:
    text, line = said.top.get(f"detector_shift_{axis}", ("0", 0))
    try:
        value, unit = _split(text, "m")
        return finite(value) * (unit_factor({"m": 1.0, "mm": 1e-3}, unit) or _unknown(unit))
    except ValueError:
        reason = f"detector_shift_{axis} = {text!r}: only a number in m or mm can be taken"
        raise GeometryFormatError(said.where, line, reason) from None


def _wavelength_a(said: Statements, metadata: Mapping[str, object] | None, locations: dict[str, str]) -> float | None:
    """Return the wavelength [Å]; None where the file refers to something that is not there."""
    found = [(key, *said.top[key]) for key in ("wavelength", "photon_energy", "electron_voltage") if key in said.top]
    if not found:
        return None
    key, text, line = found[-1]
    if key == "electron_voltage":
        raise GeometryFormatError(said.where, line, "electrons are not supported; photon_energy or wavelength is")
    units, default = (LENGTHS_M, "") if key == "wavelength" else (ENERGIES_EV, "eV")
    try:
        value, unit = _split(text, default)
        if _is_place(value):
            locations["wavelength"], measured = _look_up((value, unit), metadata, units, default)
        else:
            measured = finite(value) * (unit_factor(units, unit) or _unknown(unit))
    except ValueError as error:
        raise GeometryFormatError(said.where, line, f"{key} = {text!r}: {error}") from None
    if measured is None:
        return None
    if measured <= 0:
        raise GeometryFormatError(said.where, line, f"{key} = {text!r} is not above 0")
    return measured * 1e10 if key == "wavelength" else EV_ANGSTROM / measured


def _look_up(
    location: tuple[str, str], metadata: Mapping[str, object] | None, units: Mapping[str, float], default: str
) -> tuple[str, float | None]:
    """Return a path with its unit, and what the metadata has there in base units; None where it has nothing."""
    path, unit = location
    unit = unit or default
    factor = unit_factor(units, unit) or _unknown(unit)
    value = number_at(metadata or {}, path)
    return f"{path} {unit}", None if value is None or value <= 0 else value * factor


def _split(text: str, default: str) -> tuple[str, str]:
    """Return a value and its unit."""
    value, _, unit = text.strip().partition(" ")
    return value, unit.strip() or default


def _is_place(text: str) -> bool:
    """Whether a value is the place of a number rather than one."""
    return bool(text) and not re.fullmatch(r"[-+.]?\d.*|[-+]?(nan|inf.*)", text, re.IGNORECASE)


def _unknown(unit: str) -> float:
    raise ValueError(f"{unit!r} is no unit of it" if unit else "a unit is needed")
