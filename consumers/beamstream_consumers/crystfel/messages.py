"""A frame as CrystFEL reads it: a MessagePack map, or an HDF5 file in memory. Pure: arrays in, bytes out.

Pixels are float32 whatever the detector sends, with NaN in the bad ones: CrystFEL computes in float32, and calls NaN
bad by itself. Peaks are indices of pixels, as peak finders have them: a peak in the middle of pixel 7 is at 7.0.
CrystFEL counts from the pixel's edge and adds the half pixel on its own, unless told `--no-half-pixel-shift`.

Three things are as they are because of how CrystFEL reads: coordinates and intensities are always floats, because it
does not look at their type; no key is the beginning of another one, because it takes the first whose letters agree; and
every key that a geometry may refer to is always there, with NaN where nobody knows the value, because it does not look
whether it found one.

References
----------
CrystFEL's doc/articles/online.rst, «MsgPack data format».
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import msgpack
import numpy as np
import numpy.typing as npt

MAX_PEAKS = 100_000
"""Most peaks of a frame; more are no peaks."""

FORMATS = ("msgpack", "hdf5")

DATA = {"msgpack": "detector_data", "hdf5": "/data/data"}
"""Where the pixels are, by format: for the geometry's `data`."""

PLACES = {
    "msgpack": {"distance": "detector_distance mm", "wavelength": "beam_energy eV"},
    "hdf5": {"distance": "/data/detector_distance mm", "wavelength": "/data/beam_energy eV"},
}
"""Where distance and photon energy are, by format: for the geometry's `clen` and `photon_energy`."""

PEAK_LIST = {"msgpack": "peak_list", "hdf5": None}
"""Where the peaks are: of HDF5 in memory CrystFEL reads none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Peaks of a frame.

    Attributes
    ----------
    fs, ss : tuple of float
        Where they are, along fast and along slow [pixel indices].
    intensity : tuple of float
        What is in them [photons].
    """

    fs: tuple[float, ...] = ()
    ss: tuple[float, ...] = ()
    intensity: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A frame with what belongs to it.

    Attributes
    ----------
    pixels : (n_slow, n_fast) float32
        Counts [photons per pixel]; NaN where a pixel is bad.
    peaks : Peaks
        Empty where nobody has looked for any.
    photon_energy_ev, distance_mm : float
        Photon energy [eV] and distance of the detector [mm]; NaN where they are unknown.
    event_id : str
        What it is called in CrystFEL's stream: ``beamtime/source/stream//message id``.
    message_id : int
        The frame's number.
    timestamp_s : float
        When it was taken [s since 1970, UTC].
    source : str
        The stream's address.
    """

    pixels: npt.NDArray[np.float32]
    peaks: Peaks
    photon_energy_ev: float
    distance_mm: float
    event_id: str
    message_id: int
    timestamp_s: float
    source: str


def peaks_of(metadata: Mapping[str, Any]) -> Peaks | None:
    """Return the peaks in a message's metadata; None where there are none, or they cannot be meant.

    Parameters
    ----------
    metadata : mapping
        Of the message; ``peaks`` has lists ``fs``, ``ss`` and ``intensity`` of one length.
    """
    said = metadata.get("peaks")
    if not isinstance(said, Mapping):
        return None
    columns = [_floats(said.get(name)) for name in ("fs", "ss", "intensity")]
    fs, ss, intensity = columns
    if fs is None or ss is None or intensity is None or not len(fs) == len(ss) == len(intensity) <= MAX_PEAKS:
        return None
    return Peaks(fs=fs, ss=ss, intensity=intensity)


def encode_event(event: Event, data_format: str) -> bytes:
    """Return an event as ``msgpack`` or ``hdf5``."""
    return encode_msgpack(event) if data_format == "msgpack" else encode_hdf5(event)


def encode_msgpack(event: Event) -> bytes:
    """Return an event as a MessagePack map."""
    pixels = np.ascontiguousarray(event.pixels, dtype="<f4")
    peaks = event.peaks
    packed: bytes = msgpack.packb(
        {
            "peak_list": {
                "num_peaks": len(peaks.fs),
                "fs": list(peaks.fs),
                "ss": list(peaks.ss),
                "intensity": list(peaks.intensity),
            },
            "beam_energy": float(event.photon_energy_ev),
            "detector_distance": float(event.distance_mm),
            "event_id": event.event_id,
            "message_id": event.message_id,
            "timestamp": float(event.timestamp_s),
            "source": event.source,
            "detector_data": {
                "nd": True,
                "type": "<f4",
                "shape": list(pixels.shape),
                "data": pixels.data.cast("B"),
            },
        },
        use_bin_type=True,
    )
    return packed


def encode_hdf5(event: Event) -> bytes:
    """Return an event as an HDF5 file in memory; nothing in it is compressed, so that no plug-in is needed."""
    with h5py.File("event.h5", "w", driver="core", backing_store=False, libver=("earliest", "v108")) as file:
        group = file.create_group("data")
        group.create_dataset("data", data=event.pixels.astype("<f4", copy=False))
        group["beam_energy"] = event.photon_energy_ev
        group["detector_distance"] = event.distance_mm
        group["event_id"] = event.event_id
        group["message_id"] = event.message_id
        group["timestamp"] = event.timestamp_s
        group["source"] = event.source
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _floats(values: Any) -> tuple[float, ...] | None:
    """Return finite numbers; None where something else is among them."""
    if isinstance(values, np.ndarray):
        values = values.ravel().tolist()
    if not isinstance(values, list | tuple) or len(values) > MAX_PEAKS:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    try:
        numbers = tuple(float(value) for value in values)
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
