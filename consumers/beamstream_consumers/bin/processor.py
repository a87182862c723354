"""The `bin` processor: each frame becomes a smaller one under the same id, in a stream beside its own.

Frames are unpacked and binned some rows at a time. A block is the sum of its good pixels: masked pixels, and those that
the detector flags as masked or saturated, add nothing. Each message says how many were left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Frame, SourceAddress
from beamstream.codecs.slabs import SlabReader
from beamstream.errors import NotAnImageError, ShapeError, UsageError
from beamstream.service import Output, Result, Results, StreamStart, derived_address
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.kernels.sum_blocks import MAX_FACTOR, flag_value, scale_blocks, sum_slabs

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
    scale : bool
        Make up for what is left out: each block is what it would have counted if all its pixels were good, float32.

    Raises
    ------
    UsageError
        If the factor is out of range.
    """

    name = "bin"

    def __init__(self, factor: int, to: SourceAddress | None = None, *, scale: bool = False) -> None:
        if not 2 <= factor <= MAX_FACTOR:
            raise UsageError(f"--factor {factor} is not between 2 and {MAX_FACTOR}")
        self._factor = factor
        self._to = to
        self._scale = scale
        self._reader = SlabReader()
        self._metadata: Mapping[str, Any] = {}
        self._mask: npt.NDArray[np.bool_] | None = None
        self._mask_shape: tuple[int, int] | None = None
        self._n_in_mask = 0

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Take the detector's mask, and say where binned frames go.

        Raises
        ------
        UsageError
            If that would be the source itself.
        """
        self._metadata = stream.metadata
        self._mask = self._mask_shape = None
        metadata = binned_metadata(stream.metadata, self._factor, str(stream.address), scaled=self._scale)
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
        shape, dtype = _image_type(frame)
        mask, flag = self._mask_for(shape), flag_value(dtype)
        if self._scale:
            image = frame.array()
            blocks, n_masked = scale_blocks(image, self._factor, mask, masked_value=flag)
        else:
            slabs = self._reader.slabs(frame.payload, frame.header.codec, shape, dtype, self._factor)
            blocks, n_masked = sum_slabs(slabs, shape, dtype, self._factor, mask, masked_value=flag)
        metadata = {
            **frame.metadata,
            "factor": self._factor,
            "n_masked": n_masked,
            "n_flagged": n_masked - self._n_in_mask,
            "sum": _total(blocks),
        }
        return {BINNED: Result(array=blocks, metadata=metadata)}

    def status(self) -> Mapping[str, int | float | str]:
        """Return nothing: the loop counts results."""
        return {}

    def _mask_for(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
        """Return the detector's mask, where it is of this shape."""
        if shape != self._mask_shape:
            self._mask, self._mask_shape = pixel_mask(self._metadata, shape), shape
            self._n_in_mask = 0 if self._mask is None else int(np.count_nonzero(self._mask))
        return self._mask


def _image_type(frame: Frame) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return shape and dtype of a frame's image."""
    shape, dtype = frame.header.shape, frame.header.dtype
    if shape is None or dtype is None:
        raise NotAnImageError(frame.message_id)
    if len(shape) != 2:
        raise ShapeError(f"message {frame.message_id} has shape {shape}; an image is (n_slow, n_fast)")
    return (shape[0], shape[1]), np.dtype(dtype)


def _total(blocks: npt.NDArray[Any]) -> int | float:
    """Return the sum over all blocks, in Python's own numbers; blocks without a value left out."""
    total: int | float = np.nansum(blocks, dtype=np.float64).item() if blocks.dtype.kind == "f" else blocks.sum().item()
    return total
