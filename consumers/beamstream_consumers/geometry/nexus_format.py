"""NeXus (NXmx) geometry in a tree of metadata: what our streams and files carry.

With modules that say where they are (`module_offset`, `fast_pixel_direction`, `slow_pixel_direction` and the chain of
transformations that they depend on), each module is a panel. Otherwise the detector is one panel across the beam at
`distance`, its fast axis along -x and its slow axis along -y, which is what DECTRIS's own files say and what
`stream consume write` writes; `beam_center_x` and `beam_center_y` are counted in pixels from the outer corner of the
first one. Axes that are scanned count with their first value.

References
----------
NXmx, NXdetector_module and NXtransformations, https://manual.nexusformat.org
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.detector_metadata import detector_of

from .description import EV_ANGSTROM, MAX_PANELS, Geometry, Panel
from .errors import GeometryFormatError, GeometryIncompleteError
from .metadata_values import as_vector, children, node_at, quantity
from .quantities import ANGLES_RAD, ENERGIES_EV, LENGTHS_M, unit_factor

MAX_CHAIN = 64
"""Longest chain of transformations; a kappa goniometer with a detector arm has ten."""

Matrix = npt.NDArray[np.float64]


def parse_nexus(
    metadata: Mapping[str, Any], where: str = "the stream's metadata", shape: tuple[int, int] | None = None
) -> Geometry:
    """Return the geometry in a tree of metadata.

    Parameters
    ----------
    metadata : mapping
        Groups as mappings, ``entry`` at the top.
    where : str
        What it is called in messages.
    shape : (n_slow, n_fast), optional
        Shape of the frames [pixels]; by default that of the mask, or what the modules cover.

    Raises
    ------
    GeometryIncompleteError
        If it does not say where the detector is.
    GeometryFormatError
        If it describes no possible detector.
    """
    detector = detector_of(metadata)
    if not detector:
        raise GeometryIncompleteError(where, "anything of a detector", "give a geometry file, .geom or .poni")
    shape = shape or _mask_shape(detector)
    panels, distance_m = _modules(metadata, detector, where, shape), 0.0
    if not panels:
        panels, distance_m = (_flat(detector, where, shape),), quantity(detector, "distance", LENGTHS_M, "m") or 0.0
    else:
        distance_m = quantity(detector, "distance", LENGTHS_M, "m") or _foot_m(panels[0])
        panels = tuple(_lower(panel, distance_m) for panel in panels)
    reach = (max(panel.slow[1] for panel in panels), max(panel.fast[1] for panel in panels))
    return Geometry(
        panels=panels,
        shape=shape or reach,
        distance_m=distance_m if distance_m > 0 else None,
        wavelength_a=wavelength_a(metadata),
        origin=where,
    )


def wavelength_a(metadata: Mapping[str, Any]) -> float | None:
    """Return the wavelength in a tree of metadata [Å], from the photon energy if need be; None where it is unknown."""
    entry = metadata.get("entry")
    instruments = [instrument for _, instrument in children(entry, "NXinstrument")]
    beams = [beam for group in instruments for _, beam in children(group, "NXbeam")]
    beams += [beam for _, sample in children(entry, "NXsample") for _, beam in children(sample, "NXbeam")]
    for beam in beams:
        length_m = quantity(beam, "incident_wavelength", LENGTHS_M, "angstrom")
        if length_m is not None and length_m > 0:
            return length_m * 1e10
    for group in (*beams, detector_of(metadata)):
        for name in ("incident_energy", "photon_energy"):
            energy_ev = quantity(group, name, ENERGIES_EV, "eV")
            if energy_ev is not None and energy_ev > 0:
                return EV_ANGSTROM / energy_ev
    return None


# --- one panel across the beam -----------------------------------------------------------------------------------


def _flat(detector: Mapping[str, Any], where: str, shape: tuple[int, int] | None) -> Panel:
    """Return the one panel that a beam centre describes."""
    names = ("beam_center_x", "beam_center_y", "x_pixel_size", "y_pixel_size")
    x = quantity(detector, names[0], {"pixel": 1.0, "": 1.0}, "pixel")
    y = quantity(detector, names[1], {"pixel": 1.0, "": 1.0}, "pixel")
    width_m, height_m = (quantity(detector, name, LENGTHS_M, "m") for name in names[2:])
    missing = [name for name, value in zip(names, (x, y, width_m, height_m), strict=True) if value is None]
    if x is None or y is None or width_m is None or height_m is None:
        advice = "set it at the detector before the next series, or give a geometry file, .geom or .poni"
        raise GeometryIncompleteError(where, " and ".join(missing), advice)
    if shape is None:
        raise GeometryIncompleteError(where, "how many pixels the detector has", "give the shape of its frames")
    return Panel(
        name="detector",
        slow=(0, shape[0]),
        fast=(0, shape[1]),
        corner_m=(x * width_m, y * height_m, 0.0),
        fast_step_m=(-width_m, 0.0, 0.0),
        slow_step_m=(0.0, -height_m, 0.0),
        saturation_adu=quantity(detector, "saturation_value", {"": 1.0}, ""),
    )


def _mask_shape(detector: Mapping[str, Any]) -> tuple[int, int] | None:
    mask = detector.get("pixel_mask")
    return (int(mask.shape[0]), int(mask.shape[1])) if isinstance(mask, np.ndarray) and mask.ndim == 2 else None


# --- modules and their axes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """A dataset that moves something: its path, its values, and what it depends on."""

    matrix: Matrix
    depends_on: str


def _modules(
    metadata: Mapping[str, Any], detector: Mapping[str, Any], where: str, shape: tuple[int, int] | None
) -> tuple[Panel, ...]:
    """Return the modules that say where they are; empty unless all do."""
    base = path_of_detector(metadata)
    found = children(detector, "NXdetector_module")
    if len(found) > MAX_PANELS:
        raise GeometryFormatError(where, 0, f"{len(found)} modules; the limit is {MAX_PANELS}")
    panels = []
    for name, module in found:
        panel = _module(metadata, f"{base}/{name}", module, where, shape if len(found) == 1 else None)
        if panel is None:
            return ()
        panels.append(panel)
    return tuple(panels)


def _module(
    metadata: Mapping[str, Any], path: str, module: Mapping[str, Any], where: str, shape: tuple[int, int] | None
) -> Panel | None:
    """Return a module as a panel; None where it does not say all of where it is."""
    size = _pair(module.get("data_size")) or shape
    origin = _pair(module.get("data_origin")) or (0, 0)
    steps = {}
    corner = None
    for name in ("fast_pixel_direction", "slow_pixel_direction"):
        vector = as_vector(module.get(f"{name}@vector"))
        length_m = quantity(module, name, LENGTHS_M, "m")
        chain = _chain(metadata, f"{path}/{name}", module, name, where)
        if size is None or vector is None or not length_m or chain is None or not math.hypot(*vector):
            return None
        unit = np.array(vector) / math.hypot(*vector)
        steps[name] = chain[:3, :3] @ (unit * length_m)
        if corner is None:
            corner = (chain @ np.array([*_offset_m(module, name), 1.0]))[:3]
    if corner is None or size is None:
        return None
    return Panel(
        name=path.rpartition("/")[2],
        slow=(origin[0], origin[0] + size[0]),
        fast=(origin[1], origin[1] + size[1]),
        corner_m=_triple(corner),
        fast_step_m=_triple(steps["fast_pixel_direction"]),
        slow_step_m=_triple(steps["slow_pixel_direction"]),
    )


def _chain(metadata: Mapping[str, Any], path: str, group: Mapping[str, Any], name: str, where: str) -> Matrix | None:
    """Return the product of everything that an axis depends on; None where it is unknown or has no vector."""
    total = np.eye(4)
    target = group.get(f"{name}@depends_on", ".")
    for _ in range(MAX_CHAIN):
        if not isinstance(target, str) or target in (".", ""):
            return total
        path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
        axis = _axis(metadata, path)
        if axis is None:
            return None
        total = axis.matrix @ total
        target = axis.depends_on
    raise GeometryFormatError(where, 0, f"what {path} depends on has no end; more than {MAX_CHAIN} axes")


def _axis(metadata: Mapping[str, Any], path: str) -> _Axis | None:
    """Return the axis at a path; None where there is none that can be used."""
    parent, _, name = path.rpartition("/")
    group = node_at(metadata, parent)
    if not isinstance(group, Mapping):
        return None
    vector = as_vector(group.get(f"{name}@vector"))
    kind = group.get(f"{name}@transformation_type")
    depends_on = group.get(f"{name}@depends_on", ".")
    if vector is None or not math.hypot(*vector) or not isinstance(depends_on, str):
        return None
    unit = np.array(vector) / math.hypot(*vector)
    matrix = np.eye(4)
    if kind == "rotation":
        angle = quantity(group, name, ANGLES_RAD, "degree")
        if angle is None:
            return None
        matrix[:3, :3] = _rotation(unit, angle)
        matrix[:3, 3] = _offset_m(group, name)
    else:
        length_m = quantity(group, name, LENGTHS_M, "m")
        if length_m is None:
            return None
        matrix[:3, 3] = unit * length_m + _offset_m(group, name)
    return _Axis(matrix, depends_on)


def _offset_m(group: Mapping[str, Any], name: str) -> Matrix:
    """Return the offset of an axis [m]; nothing where it has none."""
    offset = as_vector(group.get(f"{name}@offset"))
    units = group.get(f"{name}@offset_units", "m")
    factor = unit_factor(LENGTHS_M, units) if isinstance(units, str) else None
    return np.zeros(3) if offset is None or factor is None else np.array(offset) * factor


def _rotation(axis: Matrix, angle_rad: float) -> Matrix:
    """Return the matrix of a right-handed rotation (Rodrigues)."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: Matrix = np.eye(3) + math.sin(angle_rad) * skew + (1 - math.cos(angle_rad)) * (skew @ skew)
    return turned


def path_of_detector(metadata: Mapping[str, Any]) -> str:
    """Return the path of the detector in a tree of metadata, the one that `detector_of` gives."""
    detector = detector_of(metadata)
    for instrument, group in children(metadata.get("entry"), "NXinstrument"):
        for name, candidate in children(group, "NXdetector"):
            if candidate is detector:
                return f"/entry/{instrument}/{name}"
    return "/entry/instrument/detector"


def _pair(value: Any) -> tuple[int, int] | None:
    """Return two counts; of more axes the last two (a frame number may stand in front)."""
    try:
        numbers = np.asarray(value).ravel()
    except (TypeError, ValueError):
        return None
    if numbers.dtype.kind not in "iu" or not 2 <= numbers.size <= 4:
        return None
    return (int(numbers[-2]), int(numbers[-1]))


def _triple(vector: Matrix) -> tuple[float, float, float]:
    return (float(vector[0]), float(vector[1]), float(vector[2]))


def _foot_m(panel: Panel) -> float:
    """Return how far along the beam a panel's plane is met [m]; 0 where it is parallel to the beam."""
    normal = np.cross(panel.fast_step_m, panel.slow_step_m)
    return 0.0 if not normal[2] else float(normal @ np.array(panel.corner_m) / normal[2])


def _lower(panel: Panel, distance_m: float) -> Panel:
    """Return a panel with its z counted from the detector's distance."""
    x, y, z = panel.corner_m
    return replace(panel, corner_m=(x, y, z - distance_m))
