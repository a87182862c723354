"""The configuration of the simulated detector: every key with its type, range and unit, and how keys pull one
another.

Pure: `Configuration.change` returns a new configuration and which keys changed, as SIMPLON answers a PUT.
What differs from a real EIGER2: `bit_depth_image` can be set (the real one derives it from the frame time),
`frame_time` goes down to 0.1 ms whatever the model, and file writer and monitor exist only to be disabled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from beamstream.errors import UsageError

from .images.detectors import DetectorModel
from .images.frames import EV_ANGSTROM, count_cutoff

SOFTWARE_VERSION = "1.8.0"
"""What the detector says it speaks; times are in nanoseconds, as they are since 1.8."""

FIRMWARE_VERSION = "release-2022.1.2"
"""The first family of releases with stream version 2."""

MIN_FRAME_TIME_S, MAX_FRAME_TIME_S = 1e-4, 3600.0
MAX_IMAGES = 2_000_000_000
"""Largest nimages and ntrigger, as the real detector has it."""

MAX_TEXT = 1 << 20
"""Longest text of a value, e.g. of an appendix [characters]."""

_ANGLES = ("chi", "kappa", "omega", "phi", "two_theta")

Value = bool | int | float | str | list[float]
ValueType = Literal["bool", "float", "uint", "string", "list"]


class UnknownKeyError(UsageError):
    """A path or key that this detector does not have."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"there is no {key!r} here")


class ValueRefusedError(UsageError):
    """A value that a key cannot take."""

    def __init__(self, key: str, value: object, reason: str) -> None:
        self.key = key
        self.value = value
        self.reason = reason
        super().__init__(f"{key} cannot be {value!r}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One key: its value, and what it may be.

    Attributes
    ----------
    value_type : str
        ``bool``, ``float``, ``uint``, ``string`` or ``list`` (of float).
    unit : str
        Empty where there is none.
    minimum, maximum : float or None
        Range of a number, both included.
    allowed : tuple
        The only values there are; empty for any.
    """

    value: Value
    value_type: ValueType
    writable: bool = True
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[Value, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what a GET answers."""
        answer: dict[str, Any] = {
            "value": self.value,
            "value_type": self.value_type,
            "access_mode": "rw" if self.writable else "r",
        }
        optional = {"unit": self.unit or None, "min": self.minimum, "max": self.maximum}
        answer |= {name: value for name, value in optional.items() if value is not None}
        if self.allowed:
            answer["allowed_values"] = list(self.allowed)
        return answer

    def convert(self, key: str, value: object) -> Value:
        """Return `value` as this parameter keeps it.

        Raises
        ------
        ValueRefusedError
            If it has the wrong type, is out of range or not among the allowed ones.
        """
        if not self.writable:
            raise ValueRefusedError(key, value, "it is read-only")
        converted = _convert(key, value, self.value_type)
        if self.allowed and converted not in self.allowed:
            raise ValueRefusedError(key, value, f"allowed are {', '.join(map(str, self.allowed))}")
        if not self._in_range(converted):
            limits = f"it must be from {self.minimum:g} to {self.maximum:g} {self.unit}"
            raise ValueRefusedError(key, value, limits.rstrip())
        return converted

    def _in_range(self, value: Value) -> bool:
        if self.minimum is None or self.maximum is None or not isinstance(value, int | float):
            return True
        return self.minimum <= value <= self.maximum


def _convert(key: str, value: object, value_type: ValueType) -> Value:
    match value_type, value:
        case "bool", bool() | 0 | 1:
            return bool(value)
        case "float", int() | float() if not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        case "uint", int() if not isinstance(value, bool) and value >= 0:
            return value
        case "string", str() if len(value) <= MAX_TEXT:
            return value
        case "list", list() if all(isinstance(item, int | float) and math.isfinite(item) for item in value):
            return [float(item) for item in value]
    raise ValueRefusedError(key, value, f"it must be a {value_type}")


@dataclass(frozen=True, slots=True)
class Configuration:
    """All keys of one module of the interface, e.g. ``stream``; changing one gives a new configuration."""

    parameters: Mapping[str, Parameter]

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key; `UnknownKeyError` if there is no such key."""
        return self.find(key).value

    def find(self, key: str) -> Parameter:
        """Return a parameter; `UnknownKeyError` if there is no such key."""
        if key not in self.parameters:
            raise UnknownKeyError(key)
        return self.parameters[key]

    def values(self) -> dict[str, Value]:
        """Return what stands in the header of a series: every key without a path of its own."""
        return {key: parameter.value for key, parameter in sorted(self.parameters.items()) if "/" not in key}

    def change(self, key: str, value: object) -> tuple[Configuration, list[str]]:
        """Set one key and whatever follows from it.

        Returns
        -------
        (Configuration, list of str)
            The new configuration, and all keys whose value changed with it, `key` first.

        Raises
        ------
        UnknownKeyError, ValueRefusedError
            If there is no such key, or it cannot have this value.
        """
        converted = self.find(key).convert(key, value)
        wanted = {key: converted, **_consequences(self, key, converted)}
        changed = {
            name: replace(self.parameters[name], value=new)
            for name, new in wanted.items()
            if name in self.parameters and (name == key or self.parameters[name].value != new)
        }
        return Configuration(MappingProxyType({**self.parameters, **changed})), list(changed)


def _consequences(configuration: Configuration, key: str, value: Any) -> dict[str, Value]:
    """Return the keys that change along with `key`, with their values."""
    follows: dict[str, Value]
    match key:
        case "photon_energy":
            follows = {"wavelength": EV_ANGSTROM / value, **_thresholds(value / 2)}
        case "wavelength":
            follows = {"photon_energy": EV_ANGSTROM / value, **_thresholds(EV_ANGSTROM / value / 2)}
        case "threshold_energy" | "threshold/1/energy":
            follows = _thresholds(value)
        case "count_time":
            shortest_s = value + configuration["detector_readout_time"]
            follows = {"frame_time": max(configuration["frame_time"], shortest_s)}
        case "frame_time":
            longest_s = value - configuration["detector_readout_time"]
            follows = {"count_time": min(configuration["count_time"], longest_s)}
        case "bit_depth_image":
            follows = {"countrate_correction_count_cutoff": count_cutoff(value)}
        case _:
            follows = {}
    return follows


def _thresholds(energy_ev: float) -> dict[str, Value]:
    return {"threshold_energy": energy_ev, "threshold/1/energy": energy_ev}


def _number(value: float, unit: str, minimum: float, maximum: float) -> Parameter:
    return Parameter(value=value, value_type="float", unit=unit, minimum=minimum, maximum=maximum)


def _count(value: int) -> Parameter:
    return Parameter(value=value, value_type="uint", minimum=1, maximum=MAX_IMAGES)


def _choice(*allowed: str | int) -> Parameter:
    value_type: ValueType = "string" if isinstance(allowed[0], str) else "uint"
    return Parameter(value=allowed[0], value_type=value_type, allowed=allowed)


def _flag(value: bool) -> Parameter:
    return Parameter(value=value, value_type="bool")


def _fixed(value: Value, unit: str = "") -> Parameter:
    match value:
        case str():
            value_type: ValueType = "string"
        case int():
            value_type = "uint"
        case list():
            value_type = "list"
        case _:
            value_type = "float"
    return Parameter(value=value, value_type=value_type, writable=False, unit=unit)


def detector_configuration(model: DetectorModel) -> Configuration:
    """Return what a detector of this model holds after `initialize`."""
    n_slow, n_fast = model.shape
    frame_time_s = 0.01
    parameters = {
        "auto_summation": _flag(True),
        "beam_center_x": _number(model.beam_center[1], "pixel", -1e6, 1e6),
        "beam_center_y": _number(model.beam_center[0], "pixel", -1e6, 1e6),
        "bit_depth_image": _choice(16, 8, 32),
        "bit_depth_readout": _fixed(16),
        "compression": _choice("bslz4", "lz4", "none"),
        "count_time": _number(frame_time_s - model.readout_time_s, "s", 1e-6, MAX_FRAME_TIME_S - 1),
        "countrate_correction_applied": _flag(True),
        "countrate_correction_count_cutoff": _fixed(count_cutoff(16)),
        "data_collection_date": _fixed(""),
        "description": _fixed(model.description),
        "detector_distance": _number(model.distance_m, "m", 0, 1e3),
        "detector_number": _fixed(model.serial),
        "detector_readout_time": _fixed(model.readout_time_s, "s"),
        "detector_translation": Parameter(value=[0.0, 0.0, model.distance_m], value_type="list", unit="m"),
        "eiger_fw_version": _fixed(FIRMWARE_VERSION),
        "element": _fixed(""),
        "flatfield_correction_applied": _flag(True),
        "frame_time": _number(frame_time_s, "s", MIN_FRAME_TIME_S, MAX_FRAME_TIME_S),
        "nimages": _count(1),
        "ntrigger": _count(1),
        "photon_energy": _number(model.photon_energy_ev, "eV", 3_000, 80_000),
        "pixel_mask_applied": _flag(True),
        "roi_mode": _choice("disabled"),
        "sensor_material": _fixed(model.sensor_material),
        "sensor_thickness": _fixed(model.sensor_thickness_m, "m"),
        "software_version": _fixed(SOFTWARE_VERSION),
        "threshold_energy": _number(model.photon_energy_ev / 2, "eV", 1_500, 80_000),
        "threshold/1/energy": _number(model.photon_energy_ev / 2, "eV", 1_500, 80_000),
        "trigger_mode": _choice("ints", "exts"),
        "virtual_pixel_correction_applied": _flag(True),
        "wavelength": _number(
            EV_ANGSTROM / model.photon_energy_ev, "angstrom", EV_ANGSTROM / 80_000, EV_ANGSTROM / 3_000
        ),
        "x_pixel_size": _fixed(model.pixel_size_m, "m"),
        "x_pixels_in_detector": _fixed(n_fast),
        "y_pixel_size": _fixed(model.pixel_size_m, "m"),
        "y_pixels_in_detector": _fixed(n_slow),
    }
    for axis in _ANGLES:
        parameters |= {f"{axis}_{part}": _number(0.0, "degree", -1e6, 1e6) for part in ("start", "increment")}
    return Configuration(MappingProxyType(parameters))


def stream_configuration() -> Configuration:
    """Return what the stream interface holds after `initialize`: the stream is off, as on the real one."""
    return Configuration(
        MappingProxyType(
            {
                "format": _choice("legacy", "cbor"),
                "header_appendix": Parameter(value="", value_type="string"),
                "header_detail": _choice("basic", "all", "none"),
                "image_appendix": Parameter(value="", value_type="string"),
                "mode": _choice("disabled", "enabled"),
            }
        )
    )


def absent_configuration() -> Configuration:
    """Return what the modules hold that are not simulated: they can be told to be off."""
    return Configuration(MappingProxyType({"mode": _choice("disabled")}))
