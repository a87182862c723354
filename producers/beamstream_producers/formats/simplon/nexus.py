"""What a series' header says, as a NeXus tree: the stream metadata that readers and the NXmx writer get.

Notation: groups are dicts, attributes are keys `@name` of the group and `dataset@name` of the dataset beside
it. A detector that was never told its distance or energy says 0; such values are left out rather than passed
on as measured. Everything the header said, known here or not, is under `simplon/config` as it was sent.

References
----------
NeXus application definition NXmx; NXdetector, NXbeam, NXtransformations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import fields
from .messages import DEFAULT_CHANNEL, Start

PLANCK_TIMES_C_EV_A = 12_398.419_843_320_026
"""h·c [eV·Å], exact since the SI of 2019."""

MAX_APPENDIX_CHARACTERS = 2**20
"""Longest header appendix that is passed on [characters as Python writes it]; it may be anything."""

# dataset, key in v1, key in v2, unit
_NUMBERS = (
    ("count_time", "count_time", "count_time", "s"),
    ("frame_time", "frame_time", "frame_time", "s"),
    ("detector_readout_time", "detector_readout_time", "", "s"),
    ("x_pixel_size", "x_pixel_size", "pixel_size_x", "m"),
    ("y_pixel_size", "y_pixel_size", "pixel_size_y", "m"),
    ("sensor_thickness", "sensor_thickness", "sensor_thickness", "m"),
)
_COUNTS = (
    ("saturation_value", "countrate_correction_count_cutoff", "saturation_value"),
    ("bit_depth_readout", "bit_depth_readout", ""),
    ("bit_depth_image", "bit_depth_image", ""),
)
_TEXTS = (
    ("description", "description", "detector_description"),
    ("serial_number", "detector_number", "detector_serial_number"),
    ("sensor_material", "sensor_material", "sensor_material"),
)
_FLAGS = (
    ("pixel_mask_applied", "pixel_mask_applied", "pixel_mask_enabled"),
    ("flatfield_applied", "flatfield_correction_applied", "flatfield_enabled"),
    ("countrate_correction_applied", "countrate_correction_applied", "countrate_correction_enabled"),
    (
        "virtual_pixel_interpolation_applied",
        "virtual_pixel_correction_applied",
        "virtual_pixel_interpolation_enabled",
    ),
)
_AXES = ("omega", "chi", "phi", "kappa", "two_theta")


def stream_metadata(start: Start, channel: str | None = None) -> dict[str, Any]:
    """Return the stream metadata of one channel of a series.

    Parameters
    ----------
    start : Start
        Of either version.
    channel : str, optional
        Whose mask, flat field and threshold; the first one by default.

    Returns
    -------
    dict
        ``entry``: a tree like NXmx; ``simplon``: series and configuration as the detector sent them.
    """
    name = channel or (start.channels[0] if start.channels else DEFAULT_CHANNEL)
    simplon = {
        "version": start.version,
        "series_id": start.series_id,
        "series_unique_id": start.series_unique_id,
        "header_detail": start.header_detail,
        "channel": name,
        "channels": list(start.channels),
        "config": dict(start.config),
    }
    if start.appendix is not None and len(repr(start.appendix)) <= MAX_APPENDIX_CHARACTERS:
        simplon["appendix"] = start.appendix
    return {"entry": _entry(start, name), "simplon": simplon}


def _entry(start: Start, channel: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"@NX_class": "NXentry", "definition": "NXmx"}
    start_time = start.config.get("data_collection_date" if start.version == 1 else "arm_date")
    if isinstance(start_time, str) and start_time:
        entry["start_time"] = start_time
    instrument: dict[str, Any] = {"@NX_class": "NXinstrument", "detector": _detector(start, channel)}
    if (wavelength_a := _wavelength_a(start)) is not None:
        beam = {
            "@NX_class": "NXbeam",
            "incident_wavelength": wavelength_a,
            "incident_wavelength@units": "angstrom",
        }
        instrument["beam"] = beam
    entry["instrument"] = instrument
    if axes := _transformations(start):
        entry["sample"] = {"@NX_class": "NXsample", "transformations": axes}
    return entry


def _detector(start: Start, channel: str) -> dict[str, Any]:
    config = start.config
    column = start.version  # the tables above: dataset, key in v1, key in v2
    detector: dict[str, Any] = {"@NX_class": "NXdetector"}
    for row in _TEXTS:
        if isinstance(value := config.get(row[column]), str) and value:
            detector[row[0]] = value
    for row in _FLAGS:
        if (flag := fields.number(config, row[column])) is not None:
            detector[row[0]] = bool(flag)
    for row in _COUNTS:
        if (count := fields.number(config, row[column])) is not None:
            detector[row[0]] = int(count)
    for *keys, unit in _NUMBERS:
        _put(detector, keys[0], fields.number(config, keys[column]), unit)
    if "bit_depth_image" not in detector and start.dtype is not None:
        detector["bit_depth_image"] = 8 * np.dtype(start.dtype).itemsize
    _put(detector, "distance", _distance_m(start), "m")
    _put(detector, "threshold_energy", _threshold_energy_ev(start, channel), "eV")
    _put_beam_center(detector, config)
    return detector | _tables(start, channel)


def _put(group: dict[str, Any], name: str, value: float | None, unit: str) -> None:
    """Put a dataset and its unit, unless the value is unknown or 0, which is how a detector says unknown."""
    if value:
        group[name] = value
        group[f"{name}@units"] = unit


def _put_beam_center(detector: dict[str, Any], config: Mapping[str, Any]) -> None:
    x, y = fields.number(config, "beam_center_x"), fields.number(config, "beam_center_y")
    if x is None or y is None or (x == 0 and y == 0):
        return
    for name, value in (("beam_center_x", x), ("beam_center_y", y)):
        detector[name] = value
        detector[f"{name}@units"] = "pixel"


def _tables(start: Start, channel: str) -> dict[str, Any]:
    """Return the channel's mask (uint32) and flat field (float32), both (n_slow, n_fast), if they came."""
    tables = {}
    for name, dtype in (("pixel_mask", np.uint32), ("flatfield", np.float32)):
        values = start.arrays.get(f"{name}/{channel}", start.arrays.get(name))
        if values is not None:
            tables[name] = values.astype(dtype, copy=False)
    return tables


def _distance_m(start: Start) -> float | None:
    """Return the distance from the sample; v2 has it as the last component of a vector against the beam."""
    if start.version == 1:
        return fields.number(start.config, "detector_distance")
    vector = start.config.get("detector_translation")
    if not isinstance(vector, list) or len(vector) != 3:
        return None
    along_m = fields.number({"z": vector[2]}, "z")
    return None if along_m is None else abs(along_m)


def _threshold_energy_ev(start: Start, channel: str) -> float | None:
    energy = start.config.get("threshold_energy")
    if isinstance(energy, Mapping):
        return fields.number(energy, channel)
    return fields.number(start.config, "threshold_energy")


def _wavelength_a(start: Start) -> float | None:
    """Return the wavelength [Å], from the energy if need be; None if the detector knows neither."""
    keys = (("wavelength", "photon_energy"), ("incident_wavelength", "incident_energy"))[start.version - 1]
    wavelength_a, energy_ev = (fields.number(start.config, key) for key in keys)
    if wavelength_a and wavelength_a > 0:
        return wavelength_a
    return PLANCK_TIMES_C_EV_A / energy_ev if energy_ev and energy_ev > 0 else None


def _transformations(start: Start) -> dict[str, Any]:
    """Return start and increment of each goniometer axis that was set [degrees]; vectors are unknown."""
    goniometer = start.config.get("goniometer")
    group: dict[str, Any] = {}
    for axis in _AXES:
        if start.version == 1:
            begin, step = (fields.number(start.config, f"{axis}_{key}") for key in ("start", "increment"))
        else:
            values = goniometer.get(axis) if isinstance(goniometer, Mapping) else None
            values = values if isinstance(values, Mapping) else {}
            begin, step = fields.number(values, "start"), fields.number(values, "increment")
        if begin or step:
            group |= {axis: begin or 0.0, f"{axis}@units": "degree"}
            group |= {f"{axis}_increment_set": step or 0.0, f"{axis}_increment_set@units": "degree"}
    return {"@NX_class": "NXtransformations", **group} if group else {}
