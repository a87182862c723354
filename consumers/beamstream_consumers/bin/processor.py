"""The `bin` processor: each frame becomes a smaller one under the same id, in a stream beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Frame, SourceAddress
from beamstream.errors import ShapeError, UsageError
from beamstream.service import Output, Result, Results, StreamStart, derived_address
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.kernels.sum_blocks import MAX_FACTOR, flag_value, sum_and_count

from .metadata import binned_metadata

BINNED = "bin"
"""Name of the output, and what stands behind the name of its data source."""


class BinProcessor:
    """Makes binned frames.

    Parameters
    ----------
    factor : int
        Edge of a block [pixels].
    to : SourceAddress, optional
        The data source whose streams are written; default: the source's own name with ``-bin`` behind it.

    Raises
    ------
    UsageError
        If the factor is out of range.
    """

    name = "bin"

    def __init__(self, factor: int, to: SourceAddress | None = None) -> None:
        if not 2 <= factor <= MAX_FACTOR:
            raise UsageError(f"--factor {factor} is not between 2 and {MAX_FACTOR}")
        self._factor = factor
        self._to = to
        self._metadata: Mapping[str, Any] = {}
        self._pixels: npt.NDArray[Any] | None = None
        self._mask: npt.NDArray[np.bool_] | None = None
        self._mask_shape: tuple[int, ...] | None = None

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Take the detector's mask, and say where binned frames go.

        Raises
        ------
        UsageError
            If that would be the source itself.
        """
        self._metadata = stream.metadata
        self._pixels = self._mask = self._mask_shape = None
        metadata = binned_metadata(stream.metadata, self._factor, str(stream.address))
        return {BINNED: Output(address=derived_address(stream.address, BINNED, self._to), metadata=metadata)}

    def process(self, frame: Frame) -> Results:
        """Bin one frame.

        Raises
        ------
        NotAnImageError, ShapeError
            If the message is no image that can be binned.
        CodecError
            If its payload is damaged.
        """
        image = self._unpack(frame)
        sums, n_masked = sum_and_count(image, self._factor, self._mask, masked_value=flag_value(image.dtype))
        metadata = {
            **frame.metadata,
            "factor": self._factor,
            "n_masked": n_masked,
            "sum": sums.sum(dtype=np.float64 if sums.dtype.kind == "f" else None).item(),
        }
        return {BINNED: Result(array=sums, metadata=metadata)}

    def status(self) -> Mapping[str, int | float | str]:
        """Return nothing: the loop counts results."""
        return {}

    def _unpack(self, frame: Frame) -> npt.NDArray[Any]:
        """Return a frame's pixels, in the array of the frame before where that fits."""
        shape, dtype = frame.header.shape, frame.header.dtype
        if shape is not None and len(shape) != 2:
            raise ShapeError(f"message {frame.message_id} has shape {shape}; an image is (n_slow, n_fast)")
        last = self._pixels
        reusable = last is not None and last.shape == shape and last.dtype.str == dtype
        image = frame.array(out=last if reusable else None)
        if shape != self._mask_shape:
            self._mask = pixel_mask(self._metadata, image.shape)
            self._mask_shape = image.shape
        self._pixels = image if image.flags.writeable else None
        return image
