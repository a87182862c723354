"""The frames of an acquisition, made and compressed once, so that sending them costs nothing but sending.

A detector of 10 GB/s cannot be simulated pixel by pixel while it runs. A pool of distinct frames is made when
the detector is armed, one at a time, and the images of the series are dealt from it: the first round in
order, every later round in an order of its own. Where every image must differ, `unique` makes the pool as
large as the series.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream.errors import UsageError

from .frames import FrameMaker, Recipe, Truth

POOL_BYTES = 512 << 20
"""Pixels that go into a pool before compression [bytes]; made in a few seconds."""

MIN_POOL, MAX_POOL = 8, 64
"""Fewest and most distinct frames of a pool that is not unique."""

MAX_UNIQUE_BYTES = 8 << 30
"""Pixels of a unique pool before compression [bytes]; about a quarter of it stays in memory."""


class PoolTooLargeError(UsageError):
    """A series in which every image should differ is too large to be made beforehand."""

    def __init__(self, pool_bytes: int) -> None:
        self.pool_bytes = pool_bytes
        self.limit_bytes = MAX_UNIQUE_BYTES
        super().__init__(
            f"{pool_bytes} bytes of distinct frames are over the limit of {MAX_UNIQUE_BYTES} bytes; "
            "take fewer images, a smaller detector, or frames that come again"
        )


def choose_pool_size(frame_bytes: int, n_images: int, *, unique: bool) -> int:
    """Return how many distinct frames a series of `n_images` is dealt from.

    Raises
    ------
    PoolTooLargeError
        If all of them shall be distinct and that is too much.
    """
    if unique:
        if n_images * frame_bytes > MAX_UNIQUE_BYTES:
            raise PoolTooLargeError(n_images * frame_bytes)
        return n_images
    return min(n_images, MAX_POOL, max(MIN_POOL, POOL_BYTES // frame_bytes))


@lru_cache(maxsize=4)
def _order(seed: int, n_frames: int, deal: int) -> tuple[int, ...]:
    if deal == 0:
        return tuple(range(n_frames))
    return tuple(int(index) for index in np.random.default_rng((seed, 5, deal)).permutation(n_frames))


class FramePool:
    """Compressed frames, and which image of a series shows which of them.

    Parameters
    ----------
    recipe : Recipe
        What the frames show and how many there are.
    codec : str
        How they are packed: a name of `beamstream.codecs`.
    """

    def __init__(self, recipe: Recipe, codec: str) -> None:
        self.recipe = recipe
        self.codec = codec
        self._maker = FrameMaker(recipe)
        self.payloads = [bytes(codecs.encode(self._maker.make(index), codec)) for index in range(recipe.n_frames)]

    def has(self, image_id: int) -> bool:
        """Whether there is such an image: there always is."""
        return True

    @property
    def flatfield(self) -> npt.NDArray[np.float32]:
        """What corrects the pixels, (n_slow, n_fast) float32: nothing has to."""
        return np.ones(self.mask.shape, dtype=np.float32)

    @property
    def mask(self) -> npt.NDArray[np.uint32]:
        """The detector's pixel mask, (n_slow, n_fast) uint32."""
        return self._maker.mask

    @property
    def largest_bytes(self) -> int:
        """Size of the largest compressed frame [bytes]."""
        return max(len(payload) for payload in self.payloads)

    def index_of(self, image_id: int) -> int:
        """Return which frame of the pool image `image_id` (from 0) of a series shows."""
        deal, place = divmod(image_id, self.recipe.n_frames)
        return _order(self.recipe.seed, self.recipe.n_frames, deal)[place]

    def payload(self, image_id: int) -> bytes:
        """Return the compressed pixels of an image."""
        return self.payloads[self.index_of(image_id)]

    def truth(self, image_id: int) -> Truth:
        """Return what is in an image; `index` of it is the number of the frame in the pool."""
        return self._maker.truth(self.index_of(image_id))

    def frame(self, image_id: int) -> npt.NDArray[Any]:
        """Make the pixels of an image again, (n_slow, n_fast) of the recipe's dtype."""
        return self._maker.make(self.index_of(image_id))
