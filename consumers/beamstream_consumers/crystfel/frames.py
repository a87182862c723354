"""What a stream's frames become on their way to CrystFEL: corrected pixels, peaks, energy and distance."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError
from beamstream.frame import Frame
from beamstream_consumers.corrections import Corrections, ValueRules
from beamstream_consumers.detector_metadata import detector_of
from beamstream_consumers.geometry import Geometry, GeometryIncompleteError, read_geometry, to_geom
from beamstream_consumers.geometry.description import EV_ANGSTROM
from beamstream_consumers.geometry.metadata_values import as_number, quantity
from beamstream_consumers.geometry.nexus_format import wavelength_a
from beamstream_consumers.geometry.quantities import LENGTHS_M
from beamstream_consumers.kernels.sum_blocks import flag_value

from .messages import DATA, PEAK_LIST, PLACES, Event, Peaks, encode_event, peaks_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions:
    """What the command was told about frames.

    Attributes
    ----------
    data_format : str
        ``msgpack`` or ``hdf5``.
    geometry : Path or None
        A geometry that frames have to fit; what it does not say is taken from the stream.
    write_geometry : Path or None
        Where a ``.geom`` for the messages is written.
    masks : mapping
        Further masks, (n_slow, n_fast) bool, by their names.
    photon_energy_ev, distance_mm : float or None
        In place of what the stream says.
    """

    data_format: str = "msgpack"
    geometry: Path | None = None
    write_geometry: Path | None = None
    masks: Mapping[str, npt.NDArray[np.bool_]]
    photon_energy_ev: float | None = None
    distance_mm: float | None = None


class FramePacker:
    """Packs the frames of one stream.

    Parameters
    ----------
    address : str
        The stream.
    metadata : mapping
        Its stream metadata.
    options : FrameOptions
        What the command was told.

    Attributes
    ----------
    n_peaks : int
        Peaks that went out.
    """

    def __init__(self, address: str, metadata: Mapping[str, Any], options: FrameOptions) -> None:
        self._address = address
        self._metadata = metadata
        self._options = options
        self._corrections: Corrections | None = None
        self._geometry: Geometry | None = None
        self._pixels: npt.NDArray[Any] | None = None
        self._energy_ev = math.nan
        self._distance_mm = math.nan
        self.n_peaks = 0

    def pack(self, frame: Frame) -> bytes:
        """Return a frame as CrystFEL reads it.

        Raises
        ------
        NotAnImageError, ShapeError
            If it is no image, or its pixels have no type that is known.
        GeometryShapeError
            If it does not fit the geometry.
        CodecError
            If its payload is damaged.
        """
        shape = frame.shape
        if frame.header.shape is not None and len(shape) != 2:
            raise ShapeError(f"message {frame.message_id} has shape {shape}; CrystFEL takes images, (n_slow, n_fast)")
        last = self._pixels
        fits = last is not None and last.shape == shape and last.dtype.str == frame.header.dtype
        image = frame.array(out=last if fits else None)
        self._pixels = image if image.flags.writeable else None
        corrections = self._corrections
        if corrections is None or corrections.shape != image.shape:
            corrections = self._begin(image)
        peaks = peaks_of(frame.metadata) or Peaks()
        self.n_peaks += len(peaks.fs)
        event = Event(
            pixels=corrections.apply(image),
            peaks=peaks,
            photon_energy_ev=self._energy_of(frame),
            distance_mm=self._distance_mm,
            event_id=f"{self._address}//{frame.message_id}",
            message_id=frame.message_id,
            timestamp_s=frame.header.timestamp_ns / 1e9,
            source=self._address,
        )
        return encode_event(event, self._options.data_format)

    def _begin(self, image: npt.NDArray[Any]) -> Corrections:
        """Prepare for frames of a shape."""
        shape = (image.shape[0], image.shape[1])
        options = self._options
        geometry: Geometry | None = None
        try:
            geometry = read_geometry(options.geometry or self._metadata, shape, self._metadata)
        except GeometryIncompleteError as error:
            if options.geometry is not None:
                raise
            log.info("%s; the geometry file given to indexamajig has to say it", error)
        self._energy_ev, self._distance_mm = self._numbers(geometry)
        if options.write_geometry is not None and self._corrections is None:
            self._write_geometry(geometry, options.write_geometry)
        rules = ValueRules(flag=flag_value(image.dtype))
        self._corrections = Corrections.for_stream(
            self._metadata, shape, image.dtype, masks=options.masks, rules=rules, masked_value=math.nan
        )
        return self._corrections

    def _numbers(self, geometry: Geometry | None) -> tuple[float, float]:
        """Return photon energy [eV] and distance [mm]; NaN where nobody says them."""
        energy_ev, distance_mm = self._options.photon_energy_ev, self._options.distance_mm
        if energy_ev is None:
            length_a = wavelength_a(self._metadata) or (geometry.wavelength_a if geometry else None)
            energy_ev = EV_ANGSTROM / length_a if length_a else math.nan
        if distance_mm is None:
            distance_m = quantity(detector_of(self._metadata), "distance", LENGTHS_M, "m")
            distance_m = distance_m or (geometry.distance_m if geometry else None)
            distance_mm = distance_m * 1000 if distance_m else math.nan
        unknown = {"photon energy (--photon-energy)": energy_ev, "distance (--distance)": distance_mm}
        for what, value in unknown.items():
            if math.isnan(value):
                log.warning("%s does not say the %s; write it into the .geom as a number", self._address, what)
        return energy_ev, distance_mm

    def _energy_of(self, frame: Frame) -> float:
        """Return the photon energy of one frame [eV]: its own wavelength, if it says one."""
        own_a = as_number(frame.metadata.get("wavelength"))
        if own_a is not None and own_a > 0 and self._options.photon_energy_ev is None:
            return EV_ANGSTROM / own_a
        return self._energy_ev

    def _write_geometry(self, geometry: Geometry | None, path: Path) -> None:
        """Write a ``.geom`` that finds in the messages what is in them."""
        if geometry is None:
            log.warning("%s: --write-geometry %s: nobody says where the detector is", self._address, path)
            return
        data_format = self._options.data_format
        values = {"distance": self._distance_mm, "wavelength": self._energy_ev}
        places = {name: place for name, place in PLACES[data_format].items() if math.isfinite(values[name])}
        text = to_geom(
            geometry,
            data=DATA[data_format],
            axes=("ss", "fs"),
            locations=places,
            comment=f"{self._address}, for indexamajig --zmq-input --data-format={data_format}",
            peak_list=PEAK_LIST[data_format],
        )
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            log.error("--write-geometry: %s", error)
        else:
            log.info("the geometry of %s is in %s", self._address, path)
