"""What one series says on the stream: its start, images and end, in either version of the protocol.

Pure; the bytes come from `formats.simplon`. Times are those of the detector's own clock, which runs since
`initialize`: nanoseconds in version 1 (SIMPLON 1.8), 50 MHz ticks in version 2, as captured detectors send
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_producers.formats.simplon import (
    Buffer,
    End,
    Image,
    Pixels,
    Start,
    Ticks,
    encode_end,
    encode_image,
    encode_start,
)
from beamstream_producers.sim.images.frames import Recipe
from beamstream_producers.sim.images.pool import FramePool
from beamstream_producers.sim.images.recorded import RecordedPool
from beamstream_producers.sim.parameters import Configuration

CHANNEL = "threshold_1"
"""The only one that is simulated."""

V2_TICK_NS = 20
"""Length of the ticks that version 2 counts in: 50 MHz [ns]."""

VERSIONS: Mapping[str, int] = {"legacy": 1, "cbor": 2}
"""Version of the stream by the value of `format`."""

_CODECS = {
    (1, "bslz4"): "bslz4",
    (1, "lz4"): "lz4-block",
    (1, "none"): "none",
    (2, "bslz4"): "bslz4",
    (2, "lz4"): "lz4",
    (2, "none"): "none",
}

N_COUNTRATES = 1001
"""Rows of the count rate table, as a captured detector has them."""


def codec_of(version: int, compression: str) -> str:
    """Return the codec that this version means by `compression`; by ``lz4`` they mean different ones."""
    return _CODECS[version, compression]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesMessages:
    """Encodes the messages of one series.

    Attributes
    ----------
    detector, stream : Configuration
        As they were when the detector was armed.
    pool : FramePool or RecordedPool
        Where the pixels come from.
    arm_date : str
        When the detector was armed, ISO 8601 with time zone.
    unique_id : str
        ULID of the series; version 2 carries it.
    """

    series_id: int
    detector: Configuration
    stream: Configuration
    pool: FramePool | RecordedPool
    arm_date: str
    unique_id: str

    @property
    def version(self) -> int:
        """Version of the stream, 1 or 2."""
        return VERSIONS[self.stream["format"]]

    @property
    def n_images(self) -> int:
        """How many images the start promises."""
        return int(self.detector["nimages"] * self.detector["ntrigger"])

    def has_image(self, image_id: int) -> bool:
        """Whether there is such an image; a recording may lack it."""
        return self.pool.has(image_id)

    def start(self) -> list[Buffer]:
        """Return the parts of the first message."""
        detail = self.stream["header_detail"]
        recipe = self.pool.recipe
        return encode_start(
            Start(
                version=self.version,
                series_id=self.series_id,
                header_detail=detail,
                config=self._config_v1() if self.version == 1 else self._config_v2(),
                channels=(CHANNEL,),
                n_images=self.n_images,
                shape=recipe.model.shape,
                dtype=recipe.dtype.str,
                arrays=self._arrays() if detail == "all" else {},
                appendix=self._appendix("header_appendix"),
                series_unique_id=self.unique_id if self.version == 2 else None,
            )
        )

    def image(self, image_id: int, start_ns: int) -> list[Buffer]:
        """Return the parts of an image whose exposure began at `start_ns` by the detector's clock."""
        recipe: Recipe = self.pool.recipe
        count_ns = round(self.detector["count_time"] * 1e9)
        pixels = Pixels(
            shape=recipe.model.shape,
            dtype=recipe.dtype.str,
            codec=self.pool.codec,
            payload=self.pool.payload(image_id),
        )
        return encode_image(
            Image(
                version=self.version,
                series_id=self.series_id,
                image_id=image_id,
                channels={CHANNEL: pixels},
                start=self._ticks(start_ns),
                stop=self._ticks(start_ns + count_ns),
                real=self._ticks(count_ns),
                series_date=self.arm_date if self.version == 2 else None,
                series_unique_id=self.unique_id if self.version == 2 else None,
                appendix=self._appendix("image_appendix"),
            )
        )

    def end(self) -> list[Buffer]:
        """Return the parts of the last message."""
        unique_id = self.unique_id if self.version == 2 else None
        return encode_end(End(version=self.version, series_id=self.series_id, series_unique_id=unique_id))

    def _ticks(self, time_ns: int) -> Ticks:
        if self.version == 1:
            return Ticks(count=time_ns)
        return Ticks(count=time_ns // V2_TICK_NS, rate_hz=10**9 // V2_TICK_NS)

    def _appendix(self, key: str) -> bytes | str | None:
        text: str = self.stream[key]
        if not text:
            return None
        return text.encode() if self.version == 1 else text

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the tables; that of count rates corrects nothing, and is pairs in version 1, a list in 2."""
        rates = np.linspace(0, self.detector["countrate_correction_count_cutoff"], N_COUNTRATES)
        flatfield = self.pool.flatfield
        if self.version == 1:
            pairs = np.column_stack((rates, rates)).astype(np.float32)
            return {"flatfield": flatfield, "pixel_mask": self.pool.mask, "countrate_table": pairs}
        return {
            f"flatfield/{CHANNEL}": flatfield,
            f"pixel_mask/{CHANNEL}": self.pool.mask,
            "countrate_table": rates.astype(np.uint32),
        }

    def _config_v1(self) -> dict[str, Any]:
        return self.detector.values() | {"data_collection_date": self.arm_date}

    def _config_v2(self) -> dict[str, Any]:
        detector = self.detector
        axes = ("chi", "kappa", "omega", "phi", "two_theta")
        angles = {axis: {part: detector[f"{axis}_{part}"] for part in ("increment", "start")} for axis in axes}
        return {
            "arm_date": self.arm_date,
            "beam_center_x": detector["beam_center_x"],
            "beam_center_y": detector["beam_center_y"],
            "count_time": detector["count_time"],
            "countrate_correction_enabled": detector["countrate_correction_applied"],
            "detector_description": detector["description"],
            "detector_serial_number": detector["detector_number"],
            "detector_translation": [*detector["detector_translation"][:2], detector["detector_distance"]],
            "flatfield_enabled": detector["flatfield_correction_applied"],
            "frame_time": detector["frame_time"],
            "goniometer": angles,
            "incident_energy": detector["photon_energy"],
            "incident_wavelength": detector["wavelength"],
            "pixel_mask_enabled": detector["pixel_mask_applied"],
            "pixel_size_x": detector["x_pixel_size"],
            "pixel_size_y": detector["y_pixel_size"],
            "saturation_value": detector["countrate_correction_count_cutoff"],
            "sensor_material": detector["sensor_material"],
            "sensor_thickness": detector["sensor_thickness"],
            "threshold_energy": {CHANNEL: detector["threshold_energy"]},
            "virtual_pixel_interpolation_enabled": detector["virtual_pixel_correction_applied"],
        }
