"""What is known of the detector beside its geometry: bad pixels, valid values, dark, gain, flat field.

Policy: what is counted stays what was counted, as long as it can. A flat field goes into the normalisation, as pyFAI
has it, so that the images of photon counters are summed as integers; only with a dark or a gain is every frame
corrected first, in one pass, to photons in float32, and the Poisson variance is that of these photons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError
from beamstream_consumers.calibration_files import read_image
from beamstream_consumers.corrections import CalibrationShapeError, Corrections, ValueRules, rules_of
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.geometry import Geometry, GeometryMaps
from beamstream_consumers.kernels.azimuthal_average import valid_values

from .settings import IntegrationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What files say of a detector.

    Attributes
    ----------
    dark, flatfield : (n_slow, n_fast) or None
        What a pixel reads without a beam [ADU]; how sensitive it is.
    gain : (n_slow, n_fast), float or None
        What a photon adds [ADU].
    """

    dark: npt.NDArray[Any] | None = None
    gain: npt.NDArray[Any] | float | None = None
    flatfield: npt.NDArray[Any] | None = None

    @property
    def corrects(self) -> bool:
        """Whether every frame has to be corrected before it is averaged."""
        return self.dark is not None or self.gain is not None

    def check(self, shape: tuple[int, int]) -> None:
        """Refuse files of another detector.

        Raises
        ------
        CalibrationShapeError
            If one of them has another shape; both are named.
        """
        for what, array in (
            ("dark", self.dark),
            ("gain", self.gain),
            ("flat field", self.flatfield),
        ):
            if isinstance(array, np.ndarray) and array.shape != shape:
                raise CalibrationShapeError(what, array.shape, shape)


def read_calibration(settings: IntegrationSettings) -> Calibration:
    """Read the files that the settings name.

    Raises
    ------
    CalibrationFileError
        If one cannot be read, or is no image.
    UsageError
        If a gain is a number and not above 0.
    """
    gain: npt.NDArray[Any] | float | None = None
    if settings.gain is not None:
        try:
            gain = float(settings.gain)
        except ValueError:
            gain = read_image(settings.gain)
        if isinstance(gain, float) and not 0 < gain < np.inf:
            raise UsageError(f"--gain {settings.gain} is not above 0")
    return Calibration(
        dark=None if settings.dark is None else read_image(settings.dark),
        gain=gain,
        flatfield=None if settings.flatfield is None else read_image(settings.flatfield),
    )


def bad_pixels(geometry: Geometry, metadata: Mapping[str, Any], mask: npt.NDArray[Any] | None) -> npt.NDArray[np.bool_]:
    """Return which pixels never count: by the geometry, the detector's own mask, the mask that was given.

    Raises
    ------
    CalibrationShapeError
        If that mask is of another shape.
    """
    bad = GeometryMaps(geometry).bad.copy()
    own = pixel_mask(metadata, geometry.shape)
    if own is not None:
        bad |= own
    if mask is not None:
        if mask.shape != geometry.shape:
            raise CalibrationShapeError("mask", mask.shape, geometry.shape)
        bad |= mask != 0
    return bad


def valid_range(
    metadata: Mapping[str, Any], settings: IntegrationSettings, dtype: np.dtype[Any]
) -> tuple[float, float]:
    """Return the lowest and the highest value of a good pixel: settings before the detector's word before the dtype."""
    low, high = valid_values(dtype)
    rules = rules_of(metadata, dtype)
    low = low if rules.minimum is None else max(low, rules.minimum)
    high = high if rules.maximum is None else min(high, rules.maximum)
    return (
        low if settings.valid_min is None else settings.valid_min,
        high if settings.valid_max is None else settings.valid_max,
    )


def frame_corrections(
    shape: tuple[int, int], calibration: Calibration, valid: tuple[float, float]
) -> Corrections | None:
    """Return what corrects each frame; None where there is nothing to correct."""
    if not calibration.corrects:
        return None
    rules = ValueRules(minimum=valid[0], maximum=valid[1])
    return Corrections(shape, dark=calibration.dark, gain=calibration.gain, rules=rules, masked_value=np.nan)
