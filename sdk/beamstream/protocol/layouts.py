"""The map of a header without metadata: codec, shape and dtype, which are the same for all messages of a stream.

So it is packed and read once, and looked up from then on: for small messages that is most of what a header costs. Only
what cannot be changed is remembered, and no more than `LAYOUTS` of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack

from beamstream.errors import EntryError

DTYPES = frozenset(
    {"|b1", "|i1", "|u1"}
    | {
        f"{order}{kind}"
        for order in "<>"
        for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
    }
)
"""Elements that an array may have, as NumPy names them: plain numbers, and nothing that could hold objects."""

LAYOUTS = 256
"""How many maps are remembered, packed and read: more than the streams of one process."""

LAYOUT_BYTES = 128
"""Longest map that is remembered as read [bytes]: twice that of an image."""

LAYOUT_KEYS = frozenset("csd")
"""The keys of a map that says a layout and nothing else."""


class Layout(NamedTuple):
    """What the map of a header without metadata says; nothing in it can be changed, so that it can be shared."""

    codec: str
    shape: tuple[int, ...] | None
    dtype: str | None


def layout_fields(codec: str, shape: Sequence[int] | None, dtype: str | None) -> dict[str, Any]:
    """Return the map.

    Raises
    ------
    EntryError
        If `dtype` is no kind of number.
    """
    fields: dict[str, Any] = {}
    if codec != "none":
        fields["c"] = codec
    if shape is not None:
        fields["s"] = shape
    if dtype is not None:
        if dtype not in DTYPES:
            raise EntryError("header", f"dtype {dtype!r:.40} is none of {', '.join(sorted(DTYPES))}")
        fields["d"] = dtype
    return fields


@lru_cache(LAYOUTS, typed=True)  # True and 1.0 equal 1, and travel as what they are
def pack_layout(codec: str, dtype: str | None, no_array: bool, *shape: int) -> bytes:
    """Pack the map; the shape comes last and number by number, because the type of each counts."""
    packed: bytes = msgpack.packb(layout_fields(codec, None if no_array else shape, dtype))
    return packed


_read: dict[bytes, Layout] = {}


def known_layout(packed_map: bytes) -> Layout | None:
    """Return what a map says, if it was read before."""
    return _read.get(packed_map) if len(packed_map) <= LAYOUT_BYTES else None


def remember_layout(packed_map: bytes, layout: Layout) -> None:
    """Keep what a map says that has no other keys than `LAYOUT_KEYS`."""
    if len(packed_map) <= LAYOUT_BYTES:
        if len(_read) >= LAYOUTS:
            _read.clear()
        _read[packed_map] = layout


def forget_layouts() -> None:
    """Remember nothing; for tests."""
    _read.clear()
    pack_layout.cache_clear()
