"""The `bin` handler: each frame becomes a smaller one under the same id, in a stream beside its own.

A frame is acknowledged when its binned one is in the derived stream. What is binned again after a crash gives the same
bytes and is taken as the duplicate it is. Ids that are missing in the source are missing here too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Address, Frame, Gap, Producer, SourceAddress
from beamstream.errors import IdConflictError, QueueFullError, RetryLaterError, ShapeError, UsageError
from beamstream.service import StreamEnd, StreamStart
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.kernels.sum_blocks import MAX_FACTOR, flag_value, sum_and_count

from .metadata import binned_metadata

log = logging.getLogger(__name__)

CODEC = "bslz4"
"""How binned frames are packed: what detectors use, so that whoever reads one can read the other."""


WAIT_S = 1.0
"""How long a lost or full server is waited for before the loop is asked to come again [s]: it has signals to see to."""

CLOSE_TIMEOUT_S = 30.0
"""How long an interrupted service tries to send what it has binned [s]; the rest is binned again by its successor."""


class BinHandler:
    """Publishes binned frames.

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
        self._producer: Producer | None = None
        self._metadata: Mapping[str, Any] = {}
        self._pixels: npt.NDArray[Any] | None = None
        self._mask: npt.NDArray[np.bool_] | None = None
        self._mask_shape: tuple[int, ...] | None = None
        self._pending: list[Future[str]] = []
        self._n_binned = 0
        self._n_duplicate = 0

    def open(self, stream: StreamStart) -> None:
        """Open the derived stream.

        Raises
        ------
        UsageError
            If it would be the source itself.
        DatasetStreamError
            If the source's messages are datasets.
        """
        stream.refuse_datasets(self.name)
        address = derived_address(stream.address, self._to)
        self._metadata = stream.metadata
        self._pixels = self._mask = self._mask_shape = None
        self._n_binned = self._n_duplicate = 0
        self._pending.clear()
        self._producer = Producer(
            address,
            broker=stream.broker,
            metadata=binned_metadata(stream.metadata, self._factor, str(stream.address)),
            n_expected=stream.n_expected,
            block_timeout_s=WAIT_S,
            retry_timeout_s=None,
        )
        log.info("%s is binned %d x %d into %s", stream.address, self._factor, self._factor, address)

    def handle(self, frame: Frame) -> None:
        """Bin one frame and queue the result.

        Raises
        ------
        NotAnImageError, ShapeError
            If the message is no image that can be binned.
        CodecError
            If its payload is damaged.
        RetryLaterError
            If too much waits for the server.
        SendError
            If the derived stream does not take it.
        """
        if self._producer is None:
            raise RuntimeError("a frame came before its stream was opened")
        image = self._unpack(frame)
        sums, n_masked = sum_and_count(image, self._factor, self._mask, masked_value=flag_value(image.dtype))
        metadata = {
            **frame.metadata,
            "factor": self._factor,
            "n_masked": n_masked,
            "sum": sums.sum(dtype=np.float64 if sums.dtype.kind == "f" else None).item(),
        }
        try:
            future = self._producer.send_array(
                frame.message_id, sums, codec=CODEC, timestamp_ns=frame.header.timestamp_ns, metadata=metadata
            )
        except QueueFullError as error:
            raise RetryLaterError(str(error)) from error
        self._pending.append(future)
        self._n_binned += 1

    def gap(self, gap: Gap) -> None:
        """Do nothing: the same ids are missing in the derived stream, and its readers are told by it."""

    def commit(self) -> None:
        """Wait until everything binned so far is in the derived stream.

        Raises
        ------
        RetryLaterError
            If the server is lost or full.
        SendError, ServerError
            If something could not be sent; its frame is then delivered again.
        """
        if self._producer is None:
            return
        if not self._producer.flush(WAIT_S):
            raise RetryLaterError(f"{self._producer.queued_bytes} bytes for {self._producer.address} cannot be sent")
        pending, self._pending = self._pending, []
        for future in pending:
            try:
                self._n_duplicate += future.result() == "duplicate"
            except IdConflictError as error:
                # Somebody binned this frame before with another factor or program; the first one stays.
                log.warning("%s", error)
                self._n_duplicate += 1

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Finish the derived stream as its source ended; with `end` None leave it open.

        Raises
        ------
        ServerUnavailableError, BufferFullError
            If the server is lost; to be called again.
        """
        producer = self._producer
        if producer is None:
            return None
        if end is not None:
            producer.finish(end.last_id, reason=end.reason, next_stream=end.next_stream, retry_timeout_s=WAIT_S)
        producer.close(CLOSE_TIMEOUT_S)
        self._producer = None
        return {"n_binned": self._n_binned, "n_duplicate": self._n_duplicate, "stream": str(producer.address)}

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was binned since the stream was opened."""
        return {"binned": self._n_binned, "duplicate": self._n_duplicate}

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


def derived_address(address: Address, to: SourceAddress | None) -> Address:
    """Return the address of the binned stream of a stream.

    Raises
    ------
    UsageError
        If it is the stream itself.
    """
    source = to or SourceAddress(address.beamtime, f"{address.source}-bin")
    derived = source.stream(address.name)
    if derived == address:
        raise UsageError(f"--to {source}: binned frames cannot go into the stream they come from")
    return derived
