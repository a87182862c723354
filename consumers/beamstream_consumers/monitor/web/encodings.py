"""What pictures become on their way to viewers: packed parts and counted regions, made once and shared by all.

Work is done in a few threads, once per key even where several viewers ask at one time, and kept until newer work needs
the room. The kernels below let other threads run, so the loop that serves the viewers goes on meanwhile. They have no
threads of their own: those of OpenMP, which bitshuffle's library would start, spin at six times the cost.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from beamstream_consumers.monitor.pictures.picture import Picture, Pool

from .messages import Block, Region, image_block, region_of
from .parts import Part

T = TypeVar("T")

MAX_KEPT_BYTES = 64 << 20
"""How much packed work is kept [bytes]: some 40 views of 4.5 Mpixel, and one full picture of 16 Mpixel anyway."""

OVERHEAD_BYTES = 512
"""What keeping anything costs besides its payload [bytes]."""


class Encodings:
    """Makes and keeps packed parts of pictures; used from one event loop.

    Parameters
    ----------
    executor : Executor
        Where the work is done.
    max_bytes : int
        How much is kept [bytes]; what is being made, and sent, comes on top.
    """

    def __init__(self, executor: Executor, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._executor = executor
        self._kept: OrderedDict[Hashable, _Kept[Any]] = OrderedDict()
        self._making: dict[Hashable, asyncio.Future[Any]] = {}
        self._max_bytes = max_bytes
        self.kept_bytes = 0
        self.n_made = 0

    async def image(self, picture: Picture, part: Part, *, masked: bool, pool: Pool) -> Block:
        """Return a part of a picture, packed."""
        pool = pool if part.level else "max"  # nothing is put together at level 0
        masked = masked and picture.mask is not None

        def make() -> Block:
            level = picture.level(part.level, masked=masked, pool=pool)
            return image_block(level[part.y0 : part.y1, part.x0 : part.x1])

        key = (picture.number, part, masked, pool)
        return await self._get(key, make, lambda block: len(block.payload))

    async def region(self, picture: Picture, part: Part, *, masked: bool) -> Region:
        """Return what is counted in a region of a picture."""
        masked = masked and picture.mask is not None
        key = (picture.number, part, masked)
        return await self._get(key, lambda: region_of(picture, part, masked=masked), lambda _: 0)

    async def _get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key].value  # type: ignore[no-any-return]  # a key is always of the same kind of value
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.get_running_loop().run_in_executor(self._executor, make)
            making.add_done_callback(lambda done: self._made(key, done, size))
        return await asyncio.shield(making)  # who gives up does not spoil it for others

    def _made(self, key: Hashable, done: asyncio.Future[T], size: Callable[[T], int]) -> None:
        del self._making[key]
        self.n_made += 1
        if done.cancelled() or done.exception() is not None:
            return
        value = done.result()
        kept = _Kept(value, size(value) + OVERHEAD_BYTES)
        self._kept[key] = kept
        self.kept_bytes += kept.n_bytes
        while self.kept_bytes > self._max_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= oldest.n_bytes


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    n_bytes: int
