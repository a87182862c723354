"""Pictures as bytes, and texts as JSON that every browser reads; pure.

A picture is a 32-bit little-endian length, a JSON header of so many bytes, padded with spaces so that what follows
begins at a multiple of 8, and blocks, each padded to a multiple of 8: so a page can look at them as arrays without
copying.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.codecs import encode
from beamstream_consumers.monitor.pictures.picture import About, Picture

from .parts import Part

ALIGNMENT = 8
"""Header and blocks begin at multiples of this [bytes]; what the largest element of a browser's array asks for."""

LENGTH = struct.Struct("<I")
"""Length of the header [bytes]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One array of a message.

    Attributes
    ----------
    name : str
        ``image``, ``peaks`` or ``radial``.
    codec : str
        ``none`` or ``bslz4``.
    dtype : str
        ``u2``, ``u4`` or ``f4``; little-endian.
    shape : tuple of int
        Slowest axis first.
    payload : bytes
        The array, packed.
    """

    name: str
    codec: str
    dtype: str
    shape: tuple[int, ...]
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What is counted in a region of a picture.

    Attributes
    ----------
    n : int
        Pixels that have a value.
    total, mean, maximum : float or None
        Of these; None where there are none, but for the total.
    """

    n: int
    total: float
    mean: float | None
    maximum: float | None


def image_block(image: npt.NDArray[Any]) -> Block:
    """Pack pixels as detectors send them.

    Parameters
    ----------
    image : (n_slow, n_fast) uint16 or uint32
        Any strides.
    """
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    payload = bytes(encode(pixels, "bslz4"))  # a copy, because the encoder's memory is that of the worst case
    return Block(name="image", codec="bslz4", dtype=f"u{image.dtype.itemsize}", shape=pixels.shape, payload=payload)


def about_blocks(about: About) -> list[Block]:
    """Return peaks and radial profile of a picture as blocks, those that there are."""
    arrays = (("peaks", about.peaks), ("radial", about.radial))
    return [_float_block(name, array) for name, array in arrays if array is not None]


def _float_block(name: str, array: npt.NDArray[np.float32]) -> Block:
    values = np.ascontiguousarray(array, "<f4")
    return Block(name=name, codec="none", dtype="f4", shape=values.shape, payload=values.tobytes())


def region_of(picture: Picture, part: Part, *, masked: bool) -> Region:
    """Count what is in a region: pixels x0 ≤ x < x1, y0 ≤ y < y1 of level 0 that have a value."""
    pixels = picture.level(0, masked=masked)[part.y0 : part.y1, part.x0 : part.x1]
    good = pixels[pixels != picture.flag]
    if not good.size:
        return Region(n=0, total=0.0, mean=None, maximum=None)
    total = float(good.sum(dtype=np.uint64)) * picture.scale + picture.offset * good.size
    return Region(
        n=good.size,
        total=total,
        mean=total / good.size,
        maximum=float(good.max()) * picture.scale + picture.offset,
    )


def picture_header(
    picture: Picture,
    part: Part,
    *,
    pane: int,
    seq: int,
    follows: bool,
    now_s: float,
    roi: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the header of a picture's message, all but its blocks."""
    about = picture.about
    taken_s = picture.taken_ns / 1e9
    return {
        "t": "picture",
        "pane": pane,
        "seq": seq,
        "source": picture.source,
        "kind": picture.kind,
        "stream": picture.stream,
        "id": picture.message_id,
        "n_frames": picture.n_frames,
        "follows": follows,
        "age_s": round(now_s - taken_s, 6),
        "taken_s": taken_s,
        "full": list(picture.shape),
        "level": part.level,
        "x0": part.x0 << part.level,
        "y0": part.y0 << part.level,
        "shape": [part.y1 - part.y0, part.x1 - part.x0],
        "flag": picture.flag,
        "scale": picture.scale,
        "offset": picture.offset,
        "percentiles": about.percentiles,
        "histogram": about.histogram,
        "numbers": about.numbers,
        "hit": about.hit,
        "n_peaks": about.n_peaks,
        "roi": roi,
    }


def picture_message(header: Mapping[str, Any], blocks: Sequence[Block]) -> bytes:
    """Put a header and its blocks together."""
    listed, at = [], 0
    for block in blocks:
        n_bytes = len(block.payload)
        listed.append(
            {
                "name": block.name,
                "codec": block.codec,
                "dtype": block.dtype,
                "shape": block.shape,
                "offset": at,
                "bytes": n_bytes,
            }
        )
        at += n_bytes + -n_bytes % ALIGNMENT
    head = text_of({**header, "blocks": listed}).encode()
    head += b" " * (-(LENGTH.size + len(head)) % ALIGNMENT)
    pieces = [LENGTH.pack(len(head)), head]
    for block in blocks:
        pieces += [block.payload, bytes(-len(block.payload) % ALIGNMENT)]
    return b"".join(pieces)


def text_of(document: Mapping[str, Any]) -> str:
    """Return a document as JSON; what is no number (NaN, ∞) becomes null, for JSON has no such thing."""
    try:
        return _dumps(document)
    except ValueError:
        return _dumps(_with_nulls(document))


def _dumps(document: Any) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Return a value of NumPy's, or a mapping that is no dict, as what JSON knows."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a message of the monitor")


def _with_nulls(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _with_nulls(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(one) for one in value]
    return value
