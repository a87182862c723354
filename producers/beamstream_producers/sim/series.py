"""What is made ready when the detector is armed: the frames of the series, and the messages around them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from .images.detectors import DetectorModel, find_model
from .images.frames import Recipe
from .images.pool import FramePool, choose_pool_size
from .images.recorded import RecordedPool
from .options import SimulatedEigerOptions
from .parameters import Configuration
from .sending.messages import VERSIONS, SeriesMessages, codec_of

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class SeriesMaker:
    """Makes frames and messages of series; keeps the frames for as long as the next series has the same."""

    def __init__(self, options: SimulatedEigerOptions) -> None:
        self.options = options
        self.model: DetectorModel = options.recorded.model if options.recorded else find_model(options.size)
        self._pool: FramePool | RecordedPool | None = None

    def recipe(self, detector: Configuration) -> Recipe:
        """Return what the frames of a series with this configuration are made from.

        Raises
        ------
        PoolTooLargeError
            If all images shall differ and are too many.
        """
        if self.options.recorded is not None:
            return self.options.recorded.recipe
        recipe = Recipe(
            model=self.model,
            seed=self.options.seed,
            n_frames=1,
            hit_fraction=self.options.hit_fraction,
            bit_depth=detector["bit_depth_image"],
            mask_applied=detector["pixel_mask_applied"],
        )
        n_images = detector["nimages"] * detector["ntrigger"]
        return recipe.dealt_from(choose_pool_size(recipe.frame_bytes, n_images, unique=self.options.unique))

    def pool(self, detector: Configuration, stream: Configuration) -> FramePool | RecordedPool:
        """Return the frames of a series with this configuration; made only if the last ones were others."""
        recipe = self.recipe(detector)
        codec = codec_of(VERSIONS[stream["format"]], detector["compression"])
        pool = self._pool
        if pool is None or (pool.recipe, pool.codec) != (recipe, codec):
            recorded = self.options.recorded
            pool = self._pool = FramePool(recipe, codec) if recorded is None else recorded.pool(codec)
        return pool

    def messages(self, series_id: int, detector: Configuration, stream: Configuration) -> SeriesMessages | None:
        """Return the messages of a series; None if its stream is disabled."""
        if stream["mode"] == "disabled":
            return None
        return SeriesMessages(
            series_id=series_id,
            detector=detector,
            stream=stream,
            pool=self.pool(detector, stream),
            arm_date=datetime.now(UTC).isoformat(timespec="milliseconds"),
            unique_id=make_ulid(time.time_ns() // 1_000_000, os.urandom(10)),
        )


def make_ulid(time_ms: int, randomness: bytes) -> str:
    """Return the 26 characters of a ULID.

    Parameters
    ----------
    time_ms : int
        Since 1970 [ms]; 48 bits of it are kept.
    randomness : bytes
        10 bytes.
    """
    number = (time_ms & (1 << 48) - 1) << 80 | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
