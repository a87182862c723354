"""A `Geometry` as a CrystFEL ``.geom`` file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .description import BadArea, BadPixels, Geometry, Panel, ValueFlags, Vector

KEYS = {"distance": "clen", "wavelength": "photon_energy"}
"""What CrystFEL calls what a geometry may take from somewhere else."""

ANY_FRAME = ("%", "ss", "fs")
"""Axes of a dataset with many frames."""


def to_geom(
    geometry: Geometry,
    *,
    data: str | None = None,
    axes: tuple[str, ...] = ANY_FRAME,
    locations: Mapping[str, str] | None = None,
    comment: str = "",
    peak_list: str | None = None,
) -> str:
    """Return a ``.geom`` file.

    Parameters
    ----------
    geometry : Geometry
        Where the pixels are.
    data : str, optional
        Where the images are; default: where the geometry says, else CrystFEL's own ``/data/data``.
    axes : tuple of str
        Of the dataset, slowest first: ``%`` for frames, ``ss`` and ``fs``.
    locations : mapping, optional
        Places of ``distance`` and ``wavelength`` (as an energy) with their units, e.g. ``detector_distance mm``, that
        are written in place of the numbers.
    comment : str
        Put at its beginning.
    peak_list : str, optional
        Where peak lists are.
    """
    places = {**geometry.locations, **(locations or {})}
    lines = [f"; {line}" for line in comment.splitlines()]
    lines += _beam(geometry, places, locations or {})
    if (where := data or geometry.data_location) is not None:
        lines.append(f"data = {where}")
    lines += [f"dim{number} = {axis}" for number, axis in enumerate(axes)]
    if peak_list is not None:
        lines.append(f"peak_list = {peak_list}")
    for number, mask in enumerate(geometry.masks[:8]):
        lines.append(f"mask{number}_data = {mask.location}")
        if mask.file is not None:
            lines.append(f"mask{number}_file = {mask.file}")
        lines.append(f"mask{number}_goodbits = {mask.good_bits:#x}")
        lines.append(f"mask{number}_badbits = {mask.bad_bits:#x}")
    names = _panel_names(geometry)
    for panel in geometry.panels:
        lines += ["", *_panel(panel, names[panel.name])]
    known = set(names.values()) | set(geometry.groups)
    for name, members in geometry.groups.items():
        renamed = [names.get(member, member) for member in members]
        if renamed and set(renamed) <= known:
            lines += ["", f"group_{name} = {','.join(renamed)}"]
    if len(geometry.panels) > 1 and "all" not in geometry.groups:
        lines += ["", f"group_all = {','.join(names[panel.name] for panel in geometry.panels)}"]
    for number, region in enumerate(geometry.bad):
        lines += ["", *_bad(region, number, geometry, names)]
    return "\n".join([*lines, ""])


def _beam(geometry: Geometry, places: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Yield camera length and photon energy: the numbers, or where they are to be found."""
    if geometry.distance_m is not None and "distance" not in wanted:
        yield f"clen = {geometry.distance_m!r} m"
    elif "distance" in places:
        yield f"clen = {places['distance']}"
    if geometry.photon_energy_ev is not None and "wavelength" not in wanted:
        yield f"photon_energy = {geometry.photon_energy_ev!r} eV"
    elif "wavelength" in places:
        is_length = places["wavelength"].rpartition(" ")[2].lower() in ("m", "a")
        yield f"{'wavelength' if is_length else 'photon_energy'} = {places['wavelength']}"


def _panel_names(geometry: Geometry) -> dict[str, str]:
    """Return names that CrystFEL takes: no slash, no blank, none of the words that mean something else."""
    names: dict[str, str] = {}
    for number, panel in enumerate(geometry.panels):
        name = _plain(panel.name)
        reserved = not name or name.startswith(("bad", "group", "rigid_group")) or name in names.values()
        names[panel.name] = f"p{number}_{name}" if reserved else name
    return names


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _panel(panel: Panel, name: str) -> Iterator[str]:
    size_m = panel.unit_m
    values: dict[str, object] = {
        "min_fs": panel.fast[0],
        "max_fs": panel.fast[1] - 1,
        "min_ss": panel.slow[0],
        "max_ss": panel.slow[1] - 1,
        "res": repr(1 / size_m),
        "corner_x": repr(panel.corner_m[0] / size_m),
        "corner_y": repr(panel.corner_m[1] / size_m),
        "coffset": repr(panel.corner_m[2]),
        "fs": _direction(panel.fast_step_m, size_m),
        "ss": _direction(panel.slow_step_m, size_m),
        "adu_per_eV": panel.adu_per_ev,
        # CrystFEL wants one of the two; a counting detector has one count for each photon.
        "adu_per_photon": panel.adu_per_photon or (1.0 if panel.adu_per_ev is None else None),
        "max_adu": panel.saturation_adu,
        "no_index": None if panel.usable else 1,
        "mask_edge_pixels": panel.edge_pixels or None,
    }
    for key, value in values.items():
        if value is not None:
            yield f"{name}/{key} = {value}"
    for key, flag in _flags(panel.flags):
        yield f"{name}/{key} = {flag!r}"


def _flags(flags: ValueFlags) -> Iterator[tuple[str, float]]:
    if flags.less_than is not None:
        yield "flag_lessthan", flags.less_than
    if flags.more_than is not None:
        yield "flag_morethan", flags.more_than
    for value in flags.equal:
        yield "flag_equal", value


def _direction(step_m: Vector, size_m: float) -> str:
    """Return a direction; CrystFEL takes no exponents."""
    return " ".join(f"{part / size_m:+.12f}{axis}" for part, axis in zip(step_m, "xyz", strict=True))


def _bad(region: BadPixels | BadArea, number: int, geometry: Geometry, names: Mapping[str, str]) -> Iterator[str]:
    plain = _plain(region.name)
    name = plain if plain.startswith("bad") else f"bad{number}_{plain}"
    if isinstance(region, BadArea):
        limits: dict[str, object] = {
            "min_x": region.x[0],
            "max_x": region.x[1],
            "min_y": region.y[0],
            "max_y": region.y[1],
        }
        yield from (f"{name}/{key} = {value}" for key, value in limits.items())
        return
    for panel in geometry.panels:
        if region.panel not in (None, panel.name):
            continue
        # CrystFEL wants a panel, and the region inside of it.
        fast = max(region.fast[0], panel.fast[0]), min(region.fast[1], panel.fast[1])
        slow = max(region.slow[0], panel.slow[0]), min(region.slow[1], panel.slow[1])
        if fast[0] < fast[1] and slow[0] < slow[1]:
            full = name if region.panel is not None or len(geometry.panels) == 1 else f"{name}_{names[panel.name]}"
            limits = {"min_fs": fast[0], "max_fs": fast[1] - 1, "min_ss": slow[0], "max_ss": slow[1] - 1}
            yield from (f"{full}/{key} = {value}" for key, value in limits.items())
            yield f"{full}/panel = {names[panel.name]}"
