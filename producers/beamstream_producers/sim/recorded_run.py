"""A recorded run that a simulated detector plays: what the detector was like, and its frames."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError
from beamstream.frame import Frame
from beamstream.offline import Recording, open_recording
from beamstream_producers.replay.header import detector_of, frame_time_s, number_of

from .images.detectors import MODULE_SHAPE
from .images.frames import EV_ANGSTROM, Recipe
from .images.recorded import RecordedModel, RecordedPool
from .parameters import MAX_FRAME_TIME_S, MAX_IMAGES, MIN_FRAME_TIME_S, ValueRefusedError, detector_configuration

log = logging.getLogger(__name__)

DTYPES = {"|u1": 8, "<u2": 16, "<u4": 32}
"""Bits per pixel by the dtypes that the stream carries."""

COMPRESSIONS = {"bslz4": "bslz4", "lz4": "lz4", "lz4-block": "lz4", "none": "none"}
"""What SIMPLON calls our codecs."""

UNKNOWN_ENERGY_EV = 12_398.42
"""Photon energy of a recording that does not say it [eV]: 1 Å."""

_ANGLES = ("chi", "kappa", "omega", "phi", "two_theta")


class RecordedRunError(UsageError):
    """A recording that a detector cannot have sent."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} cannot be played as a detector's stream: {reason}")


class RecordedRun:
    """A recording as a detector's run.

    Attributes
    ----------
    model : RecordedModel
        The detector.
    n_images : int
        Images of the run, those included that the recording lacks.
    rate_hz : float or None
        Images per second as recorded; None where nobody knows.
    bit_depth : int
        8, 16 or 32.
    compression : str
        ``bslz4``, ``lz4`` or ``none``; what is packed otherwise is sent as ``bslz4``.

    Raises
    ------
    RecordedRunError
        If its messages are no images that the stream can carry.
    NoRecordingError, RecordingFormatError, SegmentFormatError
        If there is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._recording: Recording = open_recording(path)
        try:
            self._metadata = self._recording.metadata()
            first = self._first_image()
        except BaseException:
            self._recording.close()
            raise
        shape, dtype = first.header.shape or (), first.header.dtype or ""
        self.bit_depth = DTYPES[dtype]
        self.compression = COMPRESSIONS.get(first.header.codec, "bslz4")
        state = self._recording.state()
        last_id = state.last_id if state.finished else state.next_id - 1
        self.n_images = min(MAX_IMAGES, max(last_id, first.message_id))
        self.model = _model(self._metadata, (shape[0], shape[1]))
        self.rate_hz = self._rate_hz(first)

    def _first_image(self) -> Frame:
        """Return the first image; raises `RecordedRunError` where it cannot be sent."""
        if self._recording.state().n_parts > 1:
            raise RecordedRunError(self.path, "its messages are datasets")
        for item in self._recording.items(1):
            if not isinstance(item, Frame):
                continue
            header = item.header
            if header.shape is None or len(header.shape) != 2 or header.dtype not in DTYPES:
                raise RecordedRunError(
                    self.path, f"message {item.message_id} is {header.shape} of {header.dtype}; "
                    f"the stream carries images of {', '.join(DTYPES)}",
                )  # fmt: skip
            return item
        raise RecordedRunError(self.path, "there is no image in it")

    def _rate_hz(self, first: Frame) -> float | None:
        """Return the rate, as the detector was told or as the messages came."""
        step_s = frame_time_s(self._metadata)
        last = None if step_s else self._recording.last()
        if last is not None and last.message_id > first.message_id:
            lasted_s = (last.header.timestamp_ns - first.header.timestamp_ns) / 1e9
            step_s = lasted_s / (last.message_id - first.message_id)
        if step_s is None or step_s <= 0:
            return None
        return 1 / min(max(step_s, MIN_FRAME_TIME_S), MAX_FRAME_TIME_S)

    def values(self) -> dict[str, object]:
        """Return what the detector's configuration holds, by key, beside what the model says."""
        detector = detector_of(self._metadata)
        wanted: dict[str, object] = {}
        for key, name in (("count_time", "count_time"), ("threshold_energy", "threshold_energy")):
            wanted[key] = number_of(detector, name)
        for key in ("pixel_mask_applied", "flatfield_applied", "countrate_correction_applied"):
            name = "flatfield_correction_applied" if key == "flatfield_applied" else key
            wanted[name] = bool(detector[key]) if isinstance(detector.get(key), bool | int) else None
        axes = _group(_group(_group(self._metadata, "entry"), "sample"), "transformations")
        for axis in _ANGLES:
            wanted[f"{axis}_start"] = number_of(axes, axis)
            wanted[f"{axis}_increment"] = number_of(axes, f"{axis}_increment_set")
        return self._accepted(wanted)

    def _accepted(self, wanted: Mapping[str, object]) -> dict[str, object]:
        """Return those values that the configuration takes."""
        configuration = detector_configuration(self.model)
        accepted: dict[str, object] = {}
        for key, value in wanted.items():
            if value is None:
                continue
            try:
                configuration, _ = configuration.change(key, value)
            except ValueRefusedError as error:
                log.info("%s: %s; the detector's own value is kept", self.path, error)
            else:
                accepted[key] = value
        return accepted

    @property
    def recipe(self) -> Recipe:
        """What there is to say about the frames."""
        return Recipe(model=self.model, seed=0, n_frames=self.n_images, hit_fraction=0.0, bit_depth=self.bit_depth)

    def pool(self, codec: str) -> RecordedPool:
        """Return the frames, packed with this codec."""
        detector, shape = detector_of(self._metadata), self.model.shape
        return RecordedPool(
            self._recording,
            self.recipe,
            codec,
            mask=_table(detector, "pixel_mask", shape, np.zeros(shape, np.uint32)),
            flatfield=_table(detector, "flatfield", shape, np.ones(shape, np.float32)),
        )

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _model(metadata: Mapping[str, Any], shape: tuple[int, int]) -> RecordedModel:
    """Return the detector that a recording describes; what it does not say is as with the simulated ones."""
    detector = detector_of(metadata)
    beam = _group(_group(_group(metadata, "entry"), "instrument"), "beam")
    wavelength_a = number_of(beam, "incident_wavelength")
    center_x, center_y = (number_of(detector, f"beam_center_{axis}") for axis in ("x", "y"))
    return RecordedModel(
        name="recorded",
        serial=_text(detector, "serial_number", "recorded"),
        n_modules=(max(1, shape[0] // MODULE_SHAPE[0]), max(1, shape[1] // MODULE_SHAPE[1])),
        max_frame_rate_hz=1 / MIN_FRAME_TIME_S,
        distance_m=_within(number_of(detector, "distance"), 0, 1e3, 0.1),
        pixel_size_m=_within(number_of(detector, "x_pixel_size"), 1e-7, 1, 75e-6),
        sensor_material=_text(detector, "sensor_material", "Si"),
        sensor_thickness_m=_within(number_of(detector, "sensor_thickness"), 1e-9, 1, 450e-6),
        photon_energy_ev=_within(EV_ANGSTROM / wavelength_a if wavelength_a else None, 3e3, 8e4, UNKNOWN_ENERGY_EV),
        readout_time_s=_within(number_of(detector, "detector_readout_time"), 1e-9, MIN_FRAME_TIME_S / 2, 1e-7),
        image_shape=shape,
        said=_text(detector, "description", "recorded detector"),
        center=(_within(center_y, -1e6, 1e6, shape[0] / 2), _within(center_x, -1e6, 1e6, shape[1] / 2)),
    )


def _within(value: float | None, least: float, most: float, otherwise: float) -> float:
    return value if value is not None and math.isfinite(value) and least <= value <= most else otherwise


def _group(group: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = group.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(group: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = group.get(name)
    return value if isinstance(value, str) and value else otherwise


def _table(
    detector: Mapping[str, Any], name: str, shape: tuple[int, int], otherwise: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return a table of the detector's that has a value for each pixel."""
    table = detector.get(name)
    if not isinstance(table, np.ndarray) or table.shape != shape or table.dtype.kind not in "iuf":
        return otherwise
    return table.astype(otherwise.dtype, copy=False)
