"""Stream metadata: a tree of plain values and arrays, packed as msgpack.

Groups are maps with string keys; leaves are None, bool, int, float, str, bytes, lists of these, and NumPy arrays and
scalars. In NeXus-like trees `@attr` is an attribute of the group, `name@attr` one of the dataset `name` beside it.
Arrays travel as a msgpack extension, see `metadata_arrays`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from beamstream.errors import BeamstreamError, EntryError

MAX_METADATA_BYTES = 256 << 20
"""Largest packed metadata [bytes]: mask and flatfield of a 16M detector are 72 MB each before compression."""


def encode_metadata(tree: Mapping[str, Any]) -> bytes:
    """Pack stream metadata.

    Raises
    ------
    EntryError
        If a leaf cannot travel or the whole is over `MAX_METADATA_BYTES`.
    """
    try:
        packed: bytes = msgpack.packb(_plain(tree), default=_encode_leaf)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EntryError("stream metadata", str(error)) from error
    if len(packed) > MAX_METADATA_BYTES:
        raise EntryError("stream metadata", f"{len(packed)} bytes packed, the limit is {MAX_METADATA_BYTES}")
    return packed


def decode_metadata(packed: bytes) -> dict[str, Any]:
    """Read stream metadata; the inverse of `encode_metadata`.

    Raises
    ------
    EntryError
        If the bytes are no metadata of ours.
    """
    try:
        tree = msgpack.unpackb(packed, ext_hook=_decode_extension)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, BeamstreamError) as error:
        raise EntryError("stream metadata", str(error)) from error
    if not isinstance(tree, dict):
        raise EntryError("stream metadata", f"a {type(tree).__name__} where a map is needed")
    return tree


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Check the keys, and turn mappings of any kind into dicts."""
    for key in tree:
        if not isinstance(key, str):
            raise TypeError(f"key {key!r:.40} is a {type(key).__name__} where a str is needed")
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _encode_leaf(value: object) -> Any:
    # A tree without arrays needs no NumPy, which takes a while to import.
    from .metadata_arrays import encode_leaf

    return encode_leaf(value)


def _decode_extension(code: int, data: bytes) -> Any:
    from .metadata_arrays import decode_extension

    return decode_extension(code, data)
