"""The `integrate` processor: each frame becomes a curve of the same id, in a stream beside its own.

A message is (2, n_bins) float32: intensity and sigma, small enough to travel in the index entry. The axis is in the
stream's metadata, and in each message's as its first bin, bin width and unit, because what is tuned while the service
runs may change it. What is made once for a stream (positions, bins, corrections, the engine) is made when the stream is
opened, so that a geometry that does not do is refused before the first frame; where only the frames say how many pixels
the detector has, with the first of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Address, Frame, SourceAddress
from beamstream.errors import CannotGoOnError, ShapeError, UsageError
from beamstream.parameters import Parameters, Value
from beamstream.service import Output, Result, Results, StreamStart, derived_address
from beamstream_consumers.corrections import Corrections
from beamstream_consumers.geometry import Geometry, GeometryIncompleteError, read_geometry

from .axis import find_axis, given_geometry, normalization, radial_positions
from .calibration import bad_pixels, frame_corrections, read_calibration, valid_range
from .engines import ENGINES, Engine, PixelMaps, check_engine
from .errors import NoGeometryError, NormalizerError
from .metadata import announced_shape, curve_metadata
from .settings import IntegrationSettings, makes_another_engine, number_in

log = logging.getLogger(__name__)

CURVE = "curve"
"""Name of the one output."""

SUFFIX = "integrate"
"""What stands behind the name of the data source."""


class IntegrateProcessor:
    """Makes curves.

    Parameters
    ----------
    settings : IntegrationSettings
        How.
    to : SourceAddress, optional
        The data source whose streams are written; default: the source's own name with ``-integrate`` behind it.

    Raises
    ------
    PyFaiMissingError
        If pyFAI is to compute and is not installed.
    CalibrationFileError, UsageError
        If dark, gain or flat field cannot be read.
    """

    name = "integrate"

    def __init__(self, settings: IntegrationSettings, to: SourceAddress | None = None) -> None:
        self._settings = settings
        self._to = to
        self.parameters: Parameters = settings.parameters
        self._address: Address | None = None
        self._metadata: Mapping[str, Any] = {}
        self._engine: Engine | None = None
        self._used: Geometry | None = None
        self._pixels: npt.NDArray[Any] | None = None
        check_engine(settings.engine)
        self._calibration = read_calibration(settings)
        self._rules: tuple[np.dtype[Any], tuple[float, float], Corrections | None] | None = None
        self._n_integrated = 0
        self._n_engines = 0

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Make the engine; return the stream of curves.

        Raises
        ------
        NoGeometryError
            If nobody says where the detector is.
        GeometryFormatError, GeometryShapeError, CalibrationShapeError, UsageError
            If geometry, files and settings make no curve.
        """
        self._address, self._metadata = stream.address, stream.metadata
        self._engine = self._pixels = self._rules = None
        self._used = geometry = self._geometry(self._settings, None)
        if geometry is not None:
            self._engine = self._make_engine(geometry, self._settings)
        return {
            CURVE: Output(
                address=derived_address(stream.address, SUFFIX, self._to),
                metadata=curve_metadata(self._settings, stream.address, self._engine, geometry),
            )
        }

    def process(self, frame: Frame) -> Results:
        """Return the curve of one frame.

        Raises
        ------
        NotAnImageError, ShapeError
            If the message is no image that can be averaged.
        CannotGoOnError
            If geometry or files are of another detector: no frame of this stream can be averaged.
        CodecError
            If the payload is damaged.
        NormalizerError
            If the message does not say what its curve is to be divided by.
        """
        image = self._unpack(frame)
        engine = self._engine_for(image.shape)
        settings, factor = self._settings, self._factor(frame)
        valid, corrections = self._rules_for(image)
        if corrections is None:
            curve = engine.average(image, settings.error_model, valid, factor)
        else:
            curve = engine.average(corrections.apply(image), settings.error_model, None, factor)
        self._n_integrated += 1
        width = float(engine.centers[1] - engine.centers[0]) if engine.centers.size > 1 else 0.0
        told = {
            "unit": settings.unit,
            "first": float(engine.centers[0]),
            "step": width,
            "n_left_out": curve.n_left_out,
            "divided_by": factor,
        }
        array = np.stack([curve.intensity, curve.sigma])
        return {CURVE: Result(array=array, codec="none", metadata={**frame.metadata, "integration": told})}

    def tune(self, values: Mapping[str, Value]) -> None:
        """Use other settings from the next frame on.

        Raises
        ------
        UsageError
            If they make no curve; those before are used on.
        """
        tuned = replace(self._settings, **values)  # type: ignore[arg-type]  # checked by their declaration
        if self._used is not None and makes_another_engine(self._settings, tuned):
            geometry = self._needed_geometry(tuned, self._used.shape)
            self._engine, self._used = self._make_engine(geometry, tuned), geometry
        self._settings, self._rules = tuned, None

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was done since the service began."""
        return {"integrated": self._n_integrated, "engines_made": self._n_engines}

    # --- what is made once ---------------------------------------------------------------------------------------

    def _engine_for(self, shape: tuple[int, ...]) -> Engine:
        """Return the engine, made now if the stream did not say how many pixels the detector has."""
        try:
            if self._engine is None or self._used is None:
                geometry = self._needed_geometry(self._settings, (shape[0], shape[1]))
                self._engine, self._used = self._make_engine(geometry, self._settings), geometry
            self._used.check(shape)
        except UsageError as error:
            raise CannotGoOnError(str(error)) from error
        return self._engine

    def _geometry(self, settings: IntegrationSettings, shape: tuple[int, int] | None) -> Geometry | None:
        """Return the geometry; None if it cannot be known before the frames' shape is."""
        shape = shape or announced_shape(self._metadata)
        try:
            if settings.geometry is not None:
                return given_geometry(settings.geometry, shape, self._metadata)
            return read_geometry(self._metadata, shape)
        except GeometryIncompleteError as error:
            if shape is None and "how many pixels" in error.missing:
                return None
            if settings.geometry is not None:
                raise
            raise NoGeometryError(str(self._address), f"{error.where} does not say {error.missing}") from error

    def _needed_geometry(self, settings: IntegrationSettings, shape: tuple[int, int]) -> Geometry:
        geometry = self._geometry(settings, shape)
        if geometry is None:
            raise NoGeometryError(str(self._address), "its geometry says nothing of its pixels")
        return geometry

    def _make_engine(self, geometry: Geometry, settings: IntegrationSettings) -> Engine:
        """Find out where every pixel counts."""
        axis = find_axis(settings.unit)
        position, half_width = radial_positions(geometry, axis, splits=settings.split == "bbox")
        self._calibration.check(geometry.shape)
        norm = normalization(geometry, solid_angle=settings.solid_angle, polarisation=settings.polarisation)
        if self._calibration.flatfield is not None:
            norm = (norm * self._calibration.flatfield).astype(np.float32)
        bad = bad_pixels(geometry, self._metadata, settings.mask)
        maps = PixelMaps(position=position, normalization=norm, bad=bad, half_width=half_width)
        limits = None
        if settings.radial_min is not None or settings.radial_max is not None:
            good = position[~maps.bad & np.isfinite(position)]
            ends = (float(good.min()), float(good.max())) if good.size else (0.0, 0.0)
            limits = (
                ends[0] if settings.radial_min is None else settings.radial_min,
                ends[1] if settings.radial_max is None else settings.radial_max,
            )
        engine = ENGINES[settings.engine](maps, settings.n_bins, limits)
        self._n_engines += 1
        log.info(
            "%s is integrated by %s over %d bins, %s %.5g to %.5g",
            self._address,
            engine.name,
            engine.centers.size,
            axis.name,
            engine.centers[0],
            engine.centers[-1],
        )
        return engine

    # --- what is done for every frame ----------------------------------------------------------------------------

    def _unpack(self, frame: Frame) -> npt.NDArray[Any]:
        """Return a frame's pixels, in the array of the frame before where that fits."""
        shape, dtype = frame.header.shape, frame.header.dtype
        if shape is not None and len(shape) != 2:
            raise ShapeError(f"message {frame.message_id} has shape {shape}; an image is (n_slow, n_fast)")
        last = self._pixels
        reusable = last is not None and last.shape == shape and last.dtype.str == dtype
        image = frame.array(out=last if reusable else None)
        self._pixels = image if image.flags.writeable else None
        return image

    def _factor(self, frame: Frame) -> float:
        """Return what the curve is divided by."""
        key = self._settings.normalize_by
        if key is None:
            return 1.0
        value = number_in(frame.metadata, key)
        if value is None or not 0 < value < np.inf:
            raise NormalizerError(frame.message_id, key, value)
        return value

    def _rules_for(self, image: npt.NDArray[Any]) -> tuple[tuple[float, float], Corrections | None]:
        """Return which values are good, and what corrects the image before it is averaged."""
        if self._rules is None or self._rules[0] != image.dtype:
            valid = valid_range(self._metadata, self._settings, image.dtype)
            shape = (image.shape[0], image.shape[1])
            self._rules = (image.dtype, valid, frame_corrections(shape, self._calibration, valid))
        return self._rules[1:]
