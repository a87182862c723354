"""Complete a file to what NXmx requires, whatever the detector's header did not say.

Only what is missing is added. What nobody said is written as such: a text ``unknown``, a number NaN. These places are
returned, so that the log can name them; a file that claims a wavelength it was never told would be worse than none.

Axes are McStas's: z along the beam, y up, x to the left seen along the beam. Detector axes start in the corner
where x and y are largest, so that fast runs along -x and slow along -y, as in DECTRIS's own files.

References
----------
NXmx in the NeXus definitions, https://manual.nexusformat.org/classes/applications/NXmx.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

PLANCK_TIMES_LIGHT_EV_ANGSTROM = 12398.419843320026
"""Photon energy [eV] times wavelength [angstrom]; exact since the SI of 2019."""

UNKNOWN = "unknown"
"""What stands for a text that nobody said."""

FAST_DIRECTION = (-1.0, 0.0, 0.0)
SLOW_DIRECTION = (0.0, -1.0, 0.0)
BEAM_DIRECTION = (0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """What the messages say about the whole recording.

    Attributes
    ----------
    shape : (n_slow, n_fast)
        Shape of one image.
    start_ns : int
        When the first message came [ns since 1970, UTC].
    n_expected : int or None
        How many images the producer promised.
    """

    shape: tuple[int, int]
    start_ns: int
    n_expected: int | None


@dataclass(frozen=True, slots=True)
class Completed:
    """What was added to a file: paths of all of it, and of what nobody said (filled with `UNKNOWN` or NaN)."""

    added: list[str]
    unknown: list[str]


def complete_nxmx(entry: h5py.Group, acquisition: Acquisition) -> Completed:
    """Add to `entry` what NXmx requires and is not there.

    Parameters
    ----------
    entry : h5py.Group
        The NXentry; its images are in ``data/data`` already.
    acquisition : Acquisition
        Shape and times.

    Returns
    -------
    Completed
        Which paths were added; readers that want what was said alone leave them out.
    """
    completion = _Completion()
    entry.attrs["NX_class"] = "NXentry"
    entry.attrs["default"] = "data"
    instrument = completion.group(entry, "instrument", "NXinstrument")
    completion.unknown(instrument, "name", UNKNOWN)
    detector = completion.group(instrument, "detector", "NXdetector")
    completion.add(entry, "definition", "NXmx")
    completion.add(entry, "start_time", iso_time(acquisition.start_ns))
    data = completion.group(entry, "data", "NXdata")
    data.attrs["signal"] = "data"
    sample = completion.group(entry, "sample", "NXsample")
    completion.unknown(sample, "name", UNKNOWN)
    completion.add(sample, "depends_on", ".")
    completion.add(entry, "end_time_estimated", iso_time(_estimated_end_ns(detector, acquisition)))
    completion.unknown(completion.group(entry, "source", "NXsource"), "name", UNKNOWN)
    _complete_beam(completion, completion.group(instrument, "beam", "NXbeam"), detector)
    _complete_detector(completion, detector, acquisition.shape)
    _complete_detector_group(completion, instrument, detector)
    if "data" not in detector and "data" in data:
        detector["data"] = data["data"]  # a hard link: the same images under NXdetector's own name
    return Completed(completion.added, completion.unknowns)


def finish_times(entry: h5py.Group, end_ns: int) -> None:
    """Say when the recording ended, now that it has [ns since 1970, UTC]."""
    if "end_time" in entry:
        del entry["end_time"]  # from before a late message
    entry["end_time"] = iso_time(end_ns)


def _estimated_end_ns(detector: h5py.Group, acquisition: Acquisition) -> int:
    """Return when the last of the promised images is due [ns since 1970, UTC]; the first one's time if unknown."""
    frame_time_s = _number(detector, "frame_time") or 0.0
    return acquisition.start_ns + int((acquisition.n_expected or 0) * frame_time_s * 1e9)


def iso_time(timestamp_ns: int) -> str:
    """Return a time [ns since 1970, UTC] as NeXus writes it, ISO 8601 with the zone, to the microsecond."""
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=nanoseconds // 1000)
    return moment.isoformat(timespec="microseconds")


class _Completion:
    """Adds what is missing and remembers what nobody said."""

    def __init__(self) -> None:
        self.unknowns: list[str] = []
        self.added: list[str] = []

    def group(self, parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
        """Return the first group of this class in `parent`, made as `name` where there is none."""
        for child in parent.values():
            if isinstance(child, h5py.Group) and _text(child.attrs.get("NX_class")) == nx_class:
                return child
        while name in parent and not isinstance(parent[name], h5py.Group):
            name += "_"  # the metadata has something else of this name; it stays
        if name not in parent:
            self.added.append(f"{parent.name}/{name}")
        group = parent.require_group(name)
        group.attrs["NX_class"] = nx_class
        return group

    def add(self, group: h5py.Group, name: str, value: Any, **attributes: Any) -> None:
        """Add a field that is known."""
        if name not in group:
            self.added.append(f"{group.name}/{name}")
            group[name] = value
        for attribute, content in attributes.items():
            if attribute not in group[name].attrs:
                group[name].attrs[attribute] = content

    def unknown(self, group: h5py.Group, name: str, value: Any, **attributes: Any) -> None:
        """Add a field that nobody said."""
        if name not in group:
            self.unknowns.append(f"{group.name}/{name}")
        self.add(group, name, value, **attributes)

    def number(self, group: h5py.Group, name: str, value: float | None, units: str) -> None:
        """Add a number with its unit, NaN where nobody said it."""
        if value is None:
            self.unknown(group, name, np.nan, units=units)
        else:
            self.add(group, name, value, units=units)


def _complete_beam(completion: _Completion, beam: h5py.Group, detector: h5py.Group) -> None:
    """The wavelength, from the photon energy where only that is known."""
    energies = (_number(beam, "incident_energy"), _number(detector, "photon_energy"))
    energy_ev = next((energy for energy in energies if energy), None)
    wavelength = PLANCK_TIMES_LIGHT_EV_ANGSTROM / energy_ev if energy_ev else None
    completion.number(beam, "incident_wavelength", wavelength, "angstrom")


def _complete_detector(completion: _Completion, detector: h5py.Group, shape: tuple[int, int]) -> None:
    """Sensor, position and the one module that the whole image is."""
    completion.unknown(detector, "sensor_material", UNKNOWN)
    completion.number(detector, "sensor_thickness", None, "m")
    origin = _complete_position(completion, detector)
    module = completion.group(detector, "module", "NXdetector_module")
    completion.add(module, "data_origin", np.zeros(2, dtype="i4"))
    completion.add(module, "data_size", np.array(shape, dtype="i4"))
    depends_on = _complete_offset(completion, module, detector, origin)
    for name, size, vector in (
        ("fast_pixel_direction", "x_pixel_size", FAST_DIRECTION),
        ("slow_pixel_direction", "y_pixel_size", SLOW_DIRECTION),
    ):
        completion.number(module, name, _number(detector, size), "m")
        _add_translation(completion, module, name, vector, depends_on)


def _complete_position(completion: _Completion, detector: h5py.Group) -> str:
    """Place the detector at its distance along the beam; return what it depends on."""
    if isinstance(said := detector.get("depends_on"), h5py.Dataset):
        return str(_text(said[()]))
    distance_m = _number(detector, "distance")
    if distance_m is None:
        completion.add(detector, "depends_on", ".")
        return "."
    transformations = completion.group(detector, "transformations", "NXtransformations")
    completion.number(transformations, "translation", distance_m, "m")
    _add_translation(completion, transformations, "translation", BEAM_DIRECTION, ".")
    path = f"{transformations.name}/translation"
    completion.add(detector, "depends_on", path)
    return path


def _complete_offset(completion: _Completion, module: h5py.Group, detector: h5py.Group, origin: str) -> str:
    """Move the module's first pixel away from the beam by the beam centre; return what its axes depend on."""
    centre = [_number(detector, name) for name in ("beam_center_x", "beam_center_y")]
    sizes_m = [_number(detector, name) for name in ("x_pixel_size", "y_pixel_size")]
    known = [value for value in (*centre, *sizes_m) if value is not None]
    if "module_offset" not in module:
        if len(known) < 4:
            return origin
        x_m, y_m = known[0] * known[2], known[1] * known[3]
        length_m = float(np.hypot(x_m, y_m))
        vector = (x_m / length_m, y_m / length_m, 0.0) if length_m else FAST_DIRECTION
        completion.number(module, "module_offset", length_m, "m")
        _add_translation(completion, module, "module_offset", vector, origin)
    return f"{module.name}/module_offset"


def _add_translation(
    completion: _Completion, group: h5py.Group, name: str, vector: Sequence[float], depends_on: str
) -> None:
    """Say what a length is a translation along, and what it stands on."""
    completion.add(
        group,
        name,
        None,
        transformation_type="translation",
        vector=np.array(vector, dtype="f8"),
        offset=np.zeros(3),
        offset_units="m",
        units="m",
        depends_on=depends_on,
    )


def _complete_detector_group(completion: _Completion, instrument: h5py.Group, detector: h5py.Group) -> None:
    """The hierarchy of detectors, which has one."""
    name = detector.name.rsplit("/", 1)[-1]
    group = completion.group(instrument, "detector_group", "NXdetector_group")
    completion.add(group, "group_names", np.array([name], dtype=h5py.string_dtype()))
    completion.add(group, "group_index", np.array([1], dtype="i4"))
    completion.add(group, "group_parent", np.array([-1], dtype="i4"))


def _number(group: h5py.Group, name: str) -> float | None:
    """Return a scalar field as a number, None where it is missing or none."""
    node = group.get(name)
    if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.kind not in "iuf":
        return None
    value = float(np.asarray(node[()]).reshape(()))
    return value if np.isfinite(value) else None


def _text(value: Any) -> Any:
    """Return a text that h5py may give as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
