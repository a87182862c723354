"""What a CBF header says, as a NeXus tree and as the metadata of messages.

The tree is that of the first image; it has the notation and the conventions of `formats.simplon.nexus`, so that the
same writer makes an NXmx file of it. A detector that was never told its distance or energy says 0; such values are left
out rather than passed on as measured. The mask is nowhere but in the pixels: -1 between modules, -2 where a pixel is
listed as bad.

References
----------
NeXus application definition NXmx; NXdetector, NXbeam, NXtransformations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import codecs

from .image import CbfImage
from .mini_header import SENSOR, MiniHeader
from .times import parse_time

GAP, BAD = -1, -2
"""Values of pixels without a sensor, and of those that the detector's list calls bad."""

GAP_BIT, BAD_BIT = 1 << 0, 1 << 1
"""Bits of NXmx's pixel mask: no sensor, dead."""

MATERIALS = {"silicon": "Si", "cdte": "CdTe", "cadmium": "CdTe", "gaas": "GaAs"}
"""Chemical formulas by what the header calls a sensor."""

AXES = {
    "omega": "omega",
    "chi": "chi",
    "phi": "phi",
    "kappa": "kappa",
    "alpha": "alpha",
    "detector_2theta": "two_theta",
}
"""Names of axes in the tree, by their keys in the header."""

ROTATION = "rotation"
"""The axis that a scan turns, where the header does not say which one it is."""

# dataset, key, position of the number, unit
_NUMBERS = (
    ("count_time", "exposure_time", 0, "s"),
    ("frame_time", "exposure_period", 0, "s"),
    ("x_pixel_size", "pixel_size", 0, "m"),
    ("y_pixel_size", "pixel_size", 3, "m"),
    ("sensor_thickness", SENSOR, 2, "m"),
    ("dead_time", "tau", 0, "s"),
    ("threshold_energy", "threshold_setting", 0, "eV"),
    ("distance", "detector_distance", 0, "m"),
)
_BEAM = (
    ("incident_wavelength", "wavelength", "angstrom"),
    ("total_flux", "flux", "Hz"),
)
_SPECIFIC = [
    "n_excluded_pixels",
    "excluded_pixels",
    "flat_field",
    "trim_file",
    "image_path",
    "ratecorr_lut_directory",
    "retrigger_mode",
    "oscillation_axis",
    "polarization",
    "detector_voffset",
    "energy_range",
    "comment",
]
_PER_IMAGE = (
    *("start_angle", "angle_increment", "omega", "omega_increment", "chi", "chi_increment", "phi", "phi_increment"),
    *("kappa", "alpha", "detector_2theta", "exposure_time", "wavelength", "flux", "filter_transmission"),
)
_SERIAL = re.compile(r",?\s*S/N[\s:]*([^\s,]+)", re.IGNORECASE)


def stream_metadata(image: CbfImage, zone: tzinfo | None) -> dict[str, Any]:
    """Return the stream metadata that the first image of a scan gives.

    Parameters
    ----------
    image : CbfImage
        The first image.
    zone : tzinfo or None
        Whose local time its time stamp is; None: this machine's.

    Returns
    -------
    dict
        ``entry``: a tree like NXmx; ``cbf``: convention, data block and the lines of the header as they are.

    Raises
    ------
    CodecError
        If its pixels cannot be unpacked: the mask is in them.
    """
    header = image.header
    entry: dict[str, Any] = {"@NX_class": "NXentry", "definition": "NXmx"}
    if (time := parse_time(header.time, zone)) is not None:
        second, since_ns = time
        entry["start_time"] = second.replace(microsecond=since_ns % 1_000_000_000 // 1000).isoformat()
    instrument: dict[str, Any] = {"@NX_class": "NXinstrument", "detector": _detector(image)}
    if beam := _beam(header):
        instrument["beam"] = {"@NX_class": "NXbeam", **beam}
    if (transmission := header.number("filter_transmission")) is not None and transmission > 0:
        instrument["attenuator"] = {"@NX_class": "NXattenuator", "attenuator_transmission": transmission}
    entry["instrument"] = instrument
    if axes := _transformations(header):
        entry["sample"] = {"@NX_class": "NXsample", "transformations": axes}
    cbf = {"convention": header.convention, "block": header.block, "header": list(header.lines)}
    return {"entry": entry, "cbf": cbf}


def image_metadata(header: MiniHeader) -> dict[str, float]:
    """Return what the header of one image says about it alone: angles [degrees], exposure [s], wavelength [Å], flux."""
    values = {key: header.number(key) for key in _PER_IMAGE}
    return {key: value for key, value in values.items() if value is not None}


def timestamp_ns(header: MiniHeader, zone: tzinfo | None) -> int | None:
    """Return when an image was taken [ns since 1970, UTC]; None where the header does not say it."""
    time = parse_time(header.time, zone)
    return None if time is None else time[1]


def pixel_mask(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return NXmx's mask, (n_slow, n_fast) uint32, of signed pixels; nothing is masked where they are unsigned."""
    if pixels.dtype.kind != "i":
        return np.zeros(pixels.shape, np.uint32)
    mask = np.zeros(pixels.shape, np.uint32)
    mask[pixels == GAP] = GAP_BIT
    mask[pixels == BAD] = BAD_BIT
    return mask


def _detector(image: CbfImage) -> dict[str, Any]:
    header, section = image.header, image.section
    detector: dict[str, Any] = {
        "@NX_class": "NXdetector",
        "type": "Pixel",
        "bit_depth_image": 8 * section.dtype.itemsize,
    }
    _put_names(detector, header)
    for name, key, position, unit in _NUMBERS:
        _put(detector, name, header.number(key, position), unit)
    if (cutoff := header.number("count_cutoff")) is not None and cutoff > 0:
        detector["saturation_value"] = int(cutoff)
    x, y = header.number("beam_xy", 0), header.number("beam_xy", 1)
    if x is not None and y is not None and (x or y):
        for name, value in (("beam_center_x", x), ("beam_center_y", y)):
            detector |= {name: value, f"{name}@units": "pixel"}
    detector["pixel_mask"] = pixel_mask(codecs.decode(image.payload, section.codec, section.shape, section.dtype))
    if offset_m := header.number("detector_voffset"):
        detector["transformations"] = _vertical_offset(offset_m)
    specific = {key: text for key in _SPECIFIC if (text := header.text(key)) is not None}
    if specific:
        detector["detectorSpecific"] = {"@NX_class": "NXcollection", **specific}
    return detector


def _vertical_offset(offset_m: float) -> dict[str, Any]:
    """Return how far the detector was lifted; nothing depends on it, as the beam centre was found with it."""
    name = "detector_voffset"
    return {
        "@NX_class": "NXtransformations",
        name: offset_m,
        f"{name}@units": "m",
        f"{name}@transformation_type": "translation",
        f"{name}@vector": [0.0, 1.0, 0.0],
        f"{name}@depends_on": ".",
    }


def _put_names(detector: dict[str, Any], header: MiniHeader) -> None:
    """Put description, serial number, sensor material and gain."""
    if description := header.text("detector"):
        if serial := _SERIAL.search(description):
            detector["serial_number"] = serial[1]
            description = description[: serial.start()]
        detector["description"] = description.strip(" ,")
    if sensor := header.words.get(SENSOR):
        detector["sensor_material"] = MATERIALS.get(sensor[0].lower(), sensor[0])
    if (gain := header.text("gain_setting")) is not None:
        detector["gain_setting"] = gain.partition("(")[0].strip() or gain


def _beam(header: MiniHeader) -> dict[str, Any]:
    beam: dict[str, Any] = {}
    for name, key, unit in _BEAM:
        _put(beam, name, header.number(key), unit)
    fraction = header.number("polarization")
    if fraction is not None and 0 < abs(fraction) <= 1:
        beam["incident_polarization_stokes"] = [1.0, fraction, 0.0, 0.0]
    return beam


def _put(group: dict[str, Any], name: str, value: float | None, unit: str) -> None:
    """Put a dataset and its unit, unless the value is unknown or 0, which is how a detector says unknown."""
    if value:
        group |= {name: value, f"{name}@units": unit}


def _transformations(header: MiniHeader) -> dict[str, Any]:
    """Return start and increment of each axis [degrees]; their directions are the beamline's, and unknown here."""
    found: dict[str, tuple[float, float]] = {}
    for key, axis in AXES.items():
        start, step = header.number(key), header.number(f"{key}_increment")
        if start or step:
            found[axis] = (start or 0.0, step or 0.0)
    start, step = header.number("start_angle"), header.number("angle_increment")
    if start or step:
        found.setdefault(_scan_axis(header.words), (start or 0.0, step or 0.0))
    group: dict[str, Any] = {}
    for axis, (begin, increment) in found.items():
        group |= {axis: begin, f"{axis}@units": "degree"}
        group |= {f"{axis}_increment_set": increment, f"{axis}_increment_set@units": "degree"}
    return {"@NX_class": "NXtransformations", **group} if group else {}


def _scan_axis(words: Mapping[str, tuple[str, ...]]) -> str:
    """Return the name of the axis that the scan turns; ``X.CW`` names a direction in the laboratory, and no axis."""
    said = words.get("oscillation_axis", ("",))
    return AXES.get(said[0].lower() if said else "", ROTATION)
