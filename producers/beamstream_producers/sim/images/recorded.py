"""The frames of a recorded run, in place of a pool that is made up: read when they are sent, their bytes untouched.

They are packed anew only where the version of the stream, or the configuration, wants another packing than they have.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream.errors import CodecError, CorruptDataError, PayloadGoneError
from beamstream.frame import Frame
from beamstream.offline import Recording

from .detectors import DetectorModel
from .frames import Recipe, Truth

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedModel(DetectorModel):
    """A detector as a recording describes it.

    Attributes
    ----------
    image_shape : (int, int)
        (n_slow, n_fast) of its images.
    said : str
        What it called itself.
    center : (float, float)
        (slow, fast) of the direct beam [pixels].
    """

    image_shape: tuple[int, int]
    said: str
    center: tuple[float, float]

    @property
    def description(self) -> str:
        """What the detector called itself."""
        return self.said

    @property
    def shape(self) -> tuple[int, int]:
        """(n_slow, n_fast) of the images [pixels]."""
        return self.image_shape

    @property
    def beam_center(self) -> tuple[float, float]:
        """(slow, fast) of the direct beam [pixels]."""
        return self.center


class RecordedPool:
    """Frames of a recording, and which image of a series shows which of them: image 0 is message 1.

    A series that is longer than the recording begins with its first frame again.

    Parameters
    ----------
    recording : Recording
        Where they are; read by one thread at a time.
    recipe : Recipe
        Their shape and depth; `n_frames` of it is how many ids the recording has, those included that it lacks.
    codec : str
        How they are sent.
    mask, flatfield : (n_slow, n_fast) uint32 and float32
        The detector's.
    """

    def __init__(
        self,
        recording: Recording,
        recipe: Recipe,
        codec: str,
        *,
        mask: npt.NDArray[np.uint32],
        flatfield: npt.NDArray[np.float32],
    ) -> None:
        self.recipe = recipe
        self.codec = codec
        self.mask = mask
        self.flatfield = flatfield
        self._recording = recording
        self._lock = threading.Lock()
        self._last: tuple[int, bytes] | None = None
        self._is_said = False

    def index_of(self, image_id: int) -> int:
        """Return which frame of the recording image `image_id` (from 0) of a series shows."""
        return image_id % self.recipe.n_frames

    def has(self, image_id: int) -> bool:
        """Whether the recording has this image, as the others are: else it is as if the detector had dropped it."""
        return self._read(image_id) is not None

    def payload(self, image_id: int) -> bytes:
        """Return the packed pixels of an image; of one that the recording lacks, pixels without data."""
        payload = self._read(image_id)
        if payload is None:
            blank = np.full(self.recipe.model.shape, np.iinfo(self.recipe.dtype).max, self.recipe.dtype)
            payload = bytes(codecs.encode(blank, self.codec))
        return payload

    def truth(self, image_id: int) -> Truth:
        """Return what is in an image: nobody knows it of real ones."""
        return Truth(index=self.index_of(image_id), peaks=())

    def frame(self, image_id: int) -> npt.NDArray[Any]:
        """Return the pixels of an image, (n_slow, n_fast) of the recipe's dtype."""
        payload = self.payload(image_id)
        return codecs.decode(payload, self.codec, self.recipe.model.shape, self.recipe.dtype)

    def _read(self, image_id: int) -> bytes | None:
        with self._lock:
            message_id = self.index_of(image_id) + 1
            if self._last is None or self._last[0] != message_id:
                payload = self._find(message_id)
                if payload is None:
                    return None
                self._last = message_id, payload
            return self._last[1]

    def _find(self, message_id: int) -> bytes | None:
        try:
            frame = self._recording.find(message_id)
            if frame is None:
                return None
            header = frame.header
            if (header.shape, header.dtype) != (self.recipe.model.shape, self.recipe.dtype.str):
                log.error(
                    "message %d is %s of %s, unlike the others; it is not sent", message_id, header.shape, header.dtype
                )
                return None
            return self._packed(frame)
        except (CorruptDataError, PayloadGoneError) as error:
            log.error("message %d is not sent: %s", message_id, error)
            return None

    def _packed(self, frame: Frame) -> bytes:
        """Return the payload as it is sent."""
        had, shape, dtype = frame.header.codec, self.recipe.model.shape, self.recipe.dtype
        if had == self.codec:
            return bytes(frame.payload)
        if (had, self.codec) == ("lz4-block", "lz4"):  # the same block, behind a header
            return bytes(codecs.to_hdf5_chunk(frame.payload, had, shape, dtype).data)
        if (had, self.codec) == ("lz4", "lz4-block"):
            try:
                return bytes(codecs.from_hdf5_chunk(frame.payload, self.codec))
            except CodecError:
                pass  # several blocks, where this version has one
        if not self._is_said:
            self._is_said = True
            log.info("the recording's frames are packed as %s, they are sent as %s: packed anew", had, self.codec)
        return bytes(codecs.encode(frame.array(), self.codec))
