"""The `peaks` processor: Bragg peaks of every frame, and the frames that are hits, as streams of their own.

`peaks` has a small message for each frame, hit or not; `hits` has the bytes of the hits as they came, with their peaks.
Other frames are declined there. All that decides is in the settings, which can be changed between two frames.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Frame, SourceAddress
from beamstream.errors import BeamstreamError, CannotGoOnError, ShapeError
from beamstream.parameters import Parameters, Value
from beamstream.service import Output, Result, Results, StreamStart, derived_address
from beamstream_consumers.kernels.peakfinder8 import Peaks, find_peaks

from .placement import Placement, place
from .settings import PeakSettings, all_parameters, same_array

log = logging.getLogger(__name__)

HITS, PEAKS = "hits", "peaks"
"""Names of the outputs, and what stands behind the names of their data sources."""

BRIEFLY = frozenset({"fs", "ss", "intensity", "snr", "resolution"})
"""What is said of each peak in the message that every frame has: they stay in the server's index as long as the stream
does, and a number takes 9 bytes. Hits say everything."""


class PeakProcessor:
    """Finds peaks and hits.

    Parameters
    ----------
    settings : PeakSettings, optional
        What it begins with.
    hits_to, peaks_to : SourceAddress, optional
        The data sources that are written; default: the source's name with ``-hits`` and ``-peaks`` behind it.

    Attributes
    ----------
    parameters : Parameters
        What can be changed while it runs.
    """

    name = "peaks"

    def __init__(
        self,
        settings: PeakSettings | None = None,
        *,
        hits_to: SourceAddress | None = None,
        peaks_to: SourceAddress | None = None,
    ) -> None:
        self._settings = settings or PeakSettings()
        self.parameters: Parameters = all_parameters().starting_with(self._settings.values())
        self._to = {HITS: hits_to, PEAKS: peaks_to}
        self._metadata: Mapping[str, Any] = {}
        self._placement: Placement | None = None
        self._pixels: npt.NDArray[Any] | None = None
        self._n_frames = self._n_hits = self._n_peaks = 0

    def tune(self, values: Mapping[str, Value]) -> None:
        """Use these values from the next frame on.

        Raises
        ------
        ParameterError
            If a lower limit is above its upper one.
        GeometryFormatError, GeometryShapeError, ShapeError
            If geometry or mask do not fit the frames.
        """
        settings = PeakSettings.of(values)
        if self._placement is not None:
            self._placement = self._placed_anew(settings, self._placement)
        self._settings = settings

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Take the detector's geometry and mask, and say where peaks and hits go.

        Raises
        ------
        UsageError
            If that would be the source itself.
        """
        self._metadata = stream.metadata
        self._placement = None
        self._n_frames = self._n_hits = self._n_peaks = 0
        about = {
            "source": str(stream.address),
            "parameters": {name: value for name, value in self._settings.values().items() if _is_plain(name)},
            "geometry": "given" if self._settings.hits.geometry is not None else "the stream's own",
        }
        metadata = {HITS: {**stream.metadata, "peak_finding": about}, PEAKS: {"peak_finding": about}}
        return {
            name: Output(address=derived_address(stream.address, name, self._to[name]), metadata=metadata[name])
            for name in (HITS, PEAKS)
        }

    def process(self, frame: Frame) -> Results:
        """Find the peaks of one frame.

        Raises
        ------
        NotAnImageError, ShapeError
            If the message is no image that peaks can be found in.
        CodecError
            If its payload is damaged.
        CannotGoOnError
            If geometry or mask are for other frames.
        """
        image = self._unpack(frame)
        placement = self._placement_for(image.shape)
        found = find_peaks(image, placement.plan, valid=self._settings.valid(image.dtype))
        hit = self._settings.is_hit(found.n_found)
        self._n_frames += 1
        self._n_hits += hit
        self._n_peaks += found.n_found
        lists = peak_lists(found, placement)
        summary = {
            "n_peaks": found.n_found,
            "peaks": {name: values for name, values in lists.items() if name in BRIEFLY},
            "hit": hit,
            "total": found.total,
            "maximum": found.largest,
            "n_saturated": found.n_flagged,
            "n_good": found.n_good,
            "shape": list(image.shape),
        }
        results = {PEAKS: Result(metadata=summary)}
        if hit:
            told = {**frame.metadata, "n_peaks": found.n_found, "peaks": lists}
            results[HITS] = Result(frame=frame, metadata=told)
        return results

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was found since the stream was opened."""
        n_frames = max(1, self._n_frames)
        return {
            "hits": self._n_hits,
            "hit_rate": round(self._n_hits / n_frames, 4),
            "peaks_per_frame": round(self._n_peaks / n_frames, 2),
        }

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

    def _placement_for(self, shape: tuple[int, ...]) -> Placement:
        """Return where pixels are; worked out with the first frame."""
        placement = self._placement
        if placement is None:
            try:
                placement = place(self._settings, self._metadata, (shape[0], shape[1]))
            except BeamstreamError as error:  # of every frame
                raise CannotGoOnError(f"peaks cannot be found: {error}") from error
            log.info("geometry: %s; peaks are looked for in %d pixels", placement.name, placement.plan.n_searched)
            self._placement = placement
        return placement

    def _placed_anew(self, settings: PeakSettings, placement: Placement) -> Placement:
        """Return where pixels are with other settings; where only thresholds changed that costs nothing."""
        before, now = self._settings.hits, settings.hits
        if before.geometry != now.geometry or not same_array(before.mask, now.mask):
            return place(settings, self._metadata, placement.plan.shape)
        plan = placement.plan.with_parameters(settings.finder)
        return Placement(plan=plan, resolution=placement.resolution, name=placement.name)


def peak_lists(found: Peaks, placement: Placement) -> dict[str, list[float] | list[int]]:
    """Return the peaks as lists, the names that `stream consume write` knows as those of CXI files.

    Parameters
    ----------
    found : Peaks
        The peaks.
    placement : Placement
        Where they were found: says panels, if there are several, and resolutions, if they are known.
    """
    lists = {
        "fs": found.fs,
        "ss": found.ss,
        "intensity": found.intensity,
        "max_intensity": found.maximum,
        "snr": found.snr,
        "n_pixels": found.n_pixels,
    }
    if len(placement.plan.panels) > 1:
        lists["panel"] = found.panel
    if placement.resolution is not None:
        lists["resolution"] = placement.resolution.reshape(-1)[found.index].astype(np.float64)
    return {name: values.tolist() for name, values in lists.items()}


def _is_plain(name: str) -> bool:
    """Tell whether a parameter is a number, and not the mask or the geometry."""
    return name not in ("mask", "geometry")
