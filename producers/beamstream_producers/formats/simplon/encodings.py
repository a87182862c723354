"""Names of element types and packings in both stream versions, and if packed pixels can be what they claim.

| packing            | v1            | v2                      | codec       |
|--------------------|---------------|-------------------------|-------------|
| none               | `<`           | tag 69 on a byte string | `none`      |
| one raw LZ4 block  | `lz4<`        |                         | `lz4-block` |
| LZ4, 12-byte header|               | `["lz4", 0, bytes]`     | `lz4`       |
| bit-shuffled LZ4   | `bs16-lz4<`   | `["bslz4", 2, bytes]`   | `bslz4`     |

Deliberately no unpacking: the blocks are walked by the codec of whoever wants pixels.
"""

from __future__ import annotations

import math
import re

import numpy as np

from .errors import LimitError, SizeError, UnsupportedEncodingError
from .messages import Pixels

MAX_IMAGE_BYTES = 2**30
"""Largest unpacked image that is believed [bytes]; EIGER2 16M at 32 bits has 72 MB."""

MAX_LZ4_RATIO = 256
"""LZ4 packs at most 255 bytes into one (its length byte); a claim beyond that cannot be true."""

HEADER_BYTES = 12
"""8-byte total and 4-byte block size in front of `lz4` and `bslz4` [bytes]."""

V1_TYPES = {
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "float32": "<f4",
    "float64": "<f8",
}
"""`type` of stream v1 and `image_dtype` of v2, to NumPy's name."""

V2_TAGS = {
    64: "|u1",
    65: ">u2",
    66: ">u4",
    67: ">u8",
    68: "|u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: "|i1",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    81: ">f4",
    82: ">f8",
    85: "<f4",
    86: "<f8",
}
"""Typed-array tags of RFC 8746, to NumPy's name; detectors use 64, 69, 70 and 85."""

_ENCODING = re.compile(r"(?:bs(?P<bits>8|16|32|64))?-?(?P<lz4>lz4)?(?P<order>[<>])")


def type_name(dtype: str) -> str:
    """Return the SIMPLON name of an element type, e.g. ``uint16`` for ``<u2``."""
    return np.dtype(dtype).name


def read_v1(encoding: str, type_: str) -> tuple[str, str]:
    """Return (codec, dtype) of stream v1's `encoding` and `type`, e.g. ``bs16-lz4<`` and ``uint16``.

    Raises
    ------
    UnsupportedEncodingError
        If it is none of those in the table, or `bsNN` has another width than `type`.
    """
    match = _ENCODING.fullmatch(encoding)
    dtype = V1_TYPES.get(type_)
    if match is None or dtype is None or (match["bits"] and not match["lz4"]):
        raise UnsupportedEncodingError("image", f"cannot be unpacked, type {type_[:20]!r}", encoding)
    bits = 8 * np.dtype(dtype).itemsize
    if match["bits"] and int(match["bits"]) != bits:
        raise UnsupportedEncodingError("image", f"shuffled by another width than {bits} bits", encoding)
    codec = "bslz4" if match["bits"] else "lz4-block" if match["lz4"] else "none"
    return codec, np.dtype(dtype).newbyteorder(">" if match["order"] == ">" else "<").str


def write_v1(pixels: Pixels) -> tuple[str, str]:
    """Return (`encoding`, `type`) of stream v1.

    Raises
    ------
    UnsupportedEncodingError
        For codec `lz4`, which v1 does not have: it sends one block without header.
    """
    dtype = np.dtype(pixels.dtype)
    order = ">" if dtype.str.startswith(">") else "<"
    names = {"none": order, "lz4-block": f"lz4{order}", "bslz4": f"bs{8 * dtype.itemsize}-lz4{order}"}
    if pixels.codec not in names:
        raise UnsupportedEncodingError("v1 image", "has no name for codec", pixels.codec)
    return names[pixels.codec], type_name(pixels.dtype)


def read_v2(algorithm: object, element_bytes: object, dtype: str) -> str:
    """Return the codec of stream v2's compression tag 56500."""
    itemsize = np.dtype(dtype).itemsize
    if algorithm == "lz4":
        return "lz4"
    if algorithm == "bslz4" and element_bytes == itemsize:
        return "bslz4"
    reason = f"cannot be unpacked, element size {element_bytes!r:.20} of {itemsize} bytes"
    raise UnsupportedEncodingError("image", reason, algorithm)


def write_v2(pixels: Pixels) -> tuple[str, int]:
    """Return (algorithm, element size) of stream v2's compression tag 56500."""
    names = {"lz4": ("lz4", 0), "bslz4": ("bslz4", np.dtype(pixels.dtype).itemsize)}
    if pixels.codec not in names:
        raise UnsupportedEncodingError("v2 image", "has no name for codec", pixels.codec)
    return names[pixels.codec]


def checked(pixels: Pixels) -> Pixels:
    """Return the pixels if their size can be true; costs 12 bytes of reading.

    Raises
    ------
    LimitError
        If they would unpack to more than `MAX_IMAGE_BYTES`.
    SizeError
        If the payload, or the total in its header, does not fit shape and dtype.
    """
    payload = memoryview(pixels.payload)
    unpacked = math.prod(pixels.shape) * np.dtype(pixels.dtype).itemsize
    if unpacked > MAX_IMAGE_BYTES:
        raise LimitError("image", f"unpacks to {unpacked} bytes, the limit is {MAX_IMAGE_BYTES} bytes")
    if pixels.codec == "none":
        if payload.nbytes != unpacked:
            raise SizeError("image", f"{payload.nbytes} bytes where {pixels.shape} takes {unpacked}")
        return pixels
    if unpacked > MAX_LZ4_RATIO * payload.nbytes:
        raise SizeError("image", f"{payload.nbytes} bytes of LZ4 cannot unpack to {unpacked} bytes")
    if pixels.codec in ("lz4", "bslz4"):
        total = int.from_bytes(payload[:8], "big")
        if payload.nbytes < HEADER_BYTES or total != unpacked:
            raise SizeError("image", f"its header says {total} bytes where {pixels.shape} takes {unpacked}")
    return pixels
