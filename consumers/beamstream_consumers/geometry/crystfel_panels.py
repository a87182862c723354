"""The lines of a ``.geom`` file that speak of one panel or of one bad region."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .description import BadArea, BadPixels, MaskFile, Panel, ValueFlags, Vector
from .errors import GeometryFormatError
from .quantities import finite, unit_factor

Text = tuple[str, int]

MAX_PIXEL = 1 << 24
"""Largest pixel number; the frame's size is limited on its own."""

MAX_CORNER_PIXELS = 1e7
"""Farthest corner [pixels]."""

MASKS = 8
"""How many masks a file may name."""

_REPEATED = re.compile(r"flag_(equal|lessthan|morethan)")
_TERM = re.compile(r"([+-]?)(\d*\.?\d*(?:[eE][+-]?\d+)?)([xyz])")
_PLACE = re.compile(r"\S+")
_NUMBER = re.compile(r"[-+.]?\d.*|[-+]?(nan|inf.*)", re.IGNORECASE)
_OLD_MASK_KEYS = {"mask": "data", "mask_file": "file", "mask_good": "goodbits", "mask_bad": "badbits"}


class PanelLines:
    """What a file says of one panel: key → values and their lines; the last one counts, of flags all do.

    Parameters
    ----------
    values : dict
        What it begins with: the defaults so far.
    line : int
        Where the panel is first mentioned.
    """

    def __init__(self, values: dict[str, list[Text]], line: int) -> None:
        self.values = values
        self.line = line

    def put(self, key: str, value: Text) -> None:
        """Take a line."""
        if _REPEATED.fullmatch(key):
            self.values.setdefault(key, []).append(value)
        else:
            self.values[key] = [value]

    def text(self, key: str, default: str = "") -> Text:
        """Return a value and its line."""
        return self.values[key][-1] if key in self.values else (default, self.line)


def panel_of(where: str, name: str, lines: PanelLines, shift_m: Vector) -> Panel:
    """Return a panel.

    Parameters
    ----------
    where : str
        The file, for messages.
    name : str
        The panel.
    lines : PanelLines
        What is said of it.
    shift_m : (x, y, z)
        What is added to its position [m].

    Raises
    ------
    GeometryFormatError
        If something is missing, no number, or impossible; with the line.
    """
    reader = _Reader(where, f"panel {name}", lines)
    reader.check_axes()
    size_m = reader.pixel_size_m()
    offset_m = reader.number("coffset", 0.0)
    corner = (reader.number("corner_x", limit=MAX_CORNER_PIXELS), reader.number("corner_y", limit=MAX_CORNER_PIXELS))
    fast, slow = reader.direction("fs"), reader.direction("ss")
    return Panel(
        name=name,
        slow=reader.range("ss"),
        fast=reader.range("fs"),
        corner_m=(corner[0] * size_m + shift_m[0], corner[1] * size_m + shift_m[1], offset_m + shift_m[2]),
        fast_step_m=(fast[0] * size_m, fast[1] * size_m, fast[2] * size_m),
        slow_step_m=(slow[0] * size_m, slow[1] * size_m, slow[2] * size_m),
        pitch_m=size_m,
        usable=not reader.truth("no_index"),
        edge_pixels=reader.whole("mask_edge_pixels", 0),
        adu_per_photon=reader.optional("adu_per_photon"),
        adu_per_ev=reader.optional("adu_per_eV"),
        saturation_adu=reader.optional("max_adu"),
        flags=ValueFlags(
            less_than=max(reader.all("flag_lessthan"), default=None),
            more_than=min(reader.all("flag_morethan"), default=None),
            equal=tuple(reader.all("flag_equal")),
        ),
    )


def bad_region(
    where: str, name: str, values: Mapping[str, Text], panels: Mapping[str, PanelLines]
) -> BadPixels | BadArea:
    """Return a bad region.

    Raises
    ------
    GeometryFormatError
        If limits are missing, mixed, reversed or no numbers, or its panel is not there; with the line.
    """
    line = max(line for _, line in values.values())
    reader = _Reader(where, name, PanelLines({key: [text] for key, text in values.items()}, line))
    kinds = {key[-1] for key in values if key != "panel"}
    if kinds & {"x", "y"} and kinds & {"s"}:
        raise GeometryFormatError(where, line, f"{name} has limits in x and y and in fs and ss; use one of them")
    panel = values["panel"][0] if "panel" in values else None
    if panel is not None and panel not in panels:
        raise GeometryFormatError(where, values["panel"][1], f"{name} is in panel {panel!r}, which is not there")
    if kinds & {"x", "y"}:
        return BadArea(name=name, x=reader.limits("x"), y=reader.limits("y"))
    return BadPixels(name=name, slow=reader.range("ss"), fast=reader.range("fs"), panel=panel)


def camera_lengths(
    where: str, panels: Mapping[str, PanelLines], top: list[Text]
) -> tuple[dict[str, float], tuple[str, str] | None]:
    """Return each panel's camera length [m], or the one place where it is to be found: path and unit.

    Raises
    ------
    GeometryFormatError
        If it is neither, or the panels refer to different places.
    """
    lengths: dict[str, float] = {}
    places: dict[tuple[str, str], int] = {}
    for name, lines in panels.items():
        if "clen" not in lines.values and top:
            lines.values["clen"] = top[-1:]  # it stands behind the panels
        if "clen" not in lines.values:
            continue
        text, line = lines.text("clen")
        value, _, unit = text.partition(" ")
        try:
            factor = unit_factor({"m": 1.0, "mm": 1e-3}, unit or "m")
            if factor is None:
                raise ValueError(unit)
            lengths[name] = finite(value) * factor
            if not lengths[name] > 0:
                raise GeometryFormatError(where, line, f"clen = {text!r} is not above 0")
        except ValueError:
            if (
                not value
                or unit not in ("", "m", "mm")
                or re.fullmatch(r"[-+.]?\d.*|[-+]?(nan|inf.*)", value, re.IGNORECASE)
            ):
                reason = f"clen = {text!r} is neither a length in m or mm nor a place"
                raise GeometryFormatError(where, line, reason) from None
            places[value, unit] = line
    if len(places) > 1 or (places and lengths):
        raise GeometryFormatError(where, max(places.values()), "the panels have their clen in different places")
    return lengths, next(iter(places), None)


def mask_files(where: str, panels: Mapping[str, PanelLines]) -> tuple[MaskFile, ...]:
    """Return the masks that the panels refer to, each once."""
    found: dict[MaskFile, None] = {}
    for name, lines in panels.items():
        reader = _Reader(where, f"panel {name}", lines)
        for number in range(MASKS):
            keys = {key: f"mask{number}_{key}" for key in _OLD_MASK_KEYS.values()}
            if number == 0:
                keys |= {key: old for old, key in _OLD_MASK_KEYS.items() if old in lines.values}
            location = lines.text(keys["data"])[0]
            if location:
                mask = MaskFile(
                    location=location,
                    file=lines.text(keys["file"])[0] or None,
                    good_bits=reader.bits(keys["goodbits"]),
                    bad_bits=reader.bits(keys["badbits"]),
                )
                found[mask] = None
    return tuple(found)


class _Reader:
    """Reads values of one owner; errors name it, and the line."""

    def __init__(self, where: str, owner: str, lines: PanelLines) -> None:
        self._where = where
        self._owner = owner
        self._lines = lines

    def number(self, key: str, default: float | None = None, limit: float = 1e30) -> float:
        text, line = self._lines.text(key)
        if not text:
            if default is not None:
                return default
            raise GeometryFormatError(self._where, line, f"{self._owner} has no {key}")
        try:
            value = finite(text)
        except ValueError:
            raise GeometryFormatError(self._where, line, f"{self._owner}: {key} = {text[:80]!r} is no number") from None
        if abs(value) > limit:
            raise GeometryFormatError(self._where, line, f"{self._owner}: {key} = {text[:80]} is over {limit:g}")
        return value

    def optional(self, key: str) -> float | None:
        return self.number(key) if key in self._lines.values else None

    def all(self, key: str) -> list[float]:
        texts = self._lines.values.get(key, [])
        return [_Reader(self._where, self._owner, PanelLines({key: [text]}, text[1])).number(key) for text in texts]

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.number(key, default, MAX_PIXEL)
        if value != int(value) or value < 0:
            text, line = self._lines.text(key)
            raise GeometryFormatError(self._where, line, f"{self._owner}: {key} = {text} is no pixel number")
        return int(value)

    def bits(self, key: str) -> int:
        text, line = self._lines.text(key, "0")
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 64:
            raise GeometryFormatError(self._where, line, f"{self._owner}: {key} = {text[:80]!r} are no bits")
        return value

    def truth(self, key: str) -> bool:
        text = self._lines.text(key, "0")[0]
        return text.lower() == "true" or (text.lower() != "false" and self.number(key, 0.0) != 0)

    def range(self, axis: str) -> tuple[int, int]:
        first, last = self.whole(f"min_{axis}"), self.whole(f"max_{axis}")
        if last < first:
            line = self._lines.text(f"max_{axis}")[1]
            raise GeometryFormatError(
                self._where, line, f"{self._owner}: max_{axis} = {last} is below min_{axis} = {first}"
            )
        return first, last + 1

    def limits(self, axis: str) -> tuple[float, float]:
        return self.number(f"min_{axis}"), self.number(f"max_{axis}")

    def pixel_size_m(self) -> float:
        value = self.number("res")
        if value <= 0:
            raise GeometryFormatError(self._where, self._lines.text("res")[1], f"{self._owner}: res is not above 0")
        return 1 / value

    def direction(self, key: str) -> Vector:
        text, line = self._lines.text(key)
        bare = "".join(text.split()).replace("(", "").replace(")", "")
        parts = {"x": 0.0, "y": 0.0, "z": 0.0}
        position = 0
        while position < len(bare):
            term = _TERM.match(bare, position)
            if term is None or (position and not term[1]) or (term[2] and not re.search(r"\d", term[2])):
                break
            parts[term[3]] += (-1.0 if term[1] == "-" else 1.0) * (finite(term[2]) if term[2] else 1.0)
            position = term.end()
        largest = max(map(abs, parts.values()))
        if not bare or position < len(bare) or not 0.01 <= largest <= 100:
            reason = f"{self._owner}: {key} = {text[:80]!r} is no direction; write e.g. +0.999x -0.001y"
            raise GeometryFormatError(self._where, line, reason)
        return (parts["x"], parts["y"], parts["z"])

    def check_axes(self) -> None:
        """Refuse a layout that is no image with two axes."""
        axes = {key: self._lines.text(key) for key in sorted(self._lines.values) if re.fullmatch(r"dim\d", key)}
        if not axes:
            return
        kinds = [text for text, _ in axes.values()]
        line = max(line for _, line in axes.values())
        if kinds.count("ss") != 1 or kinds.count("fs") != 1 or kinds.index("fs") < kinds.index("ss"):
            raise GeometryFormatError(self._where, line, f"{self._owner}: its axes need one ss, and one fs behind it")
        others = [text for text in kinds if text not in ("ss", "fs", "%")]
        if any(text != "0" for text in others):
            reason = f"{self._owner} is at {others[0]!r} along a further axis; frames here have two axes, slow and fast"
            raise GeometryFormatError(self._where, line, reason)
