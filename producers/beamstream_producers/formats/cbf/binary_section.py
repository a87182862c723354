"""The binary section of a CBF file: its MIME header, and what it says about the bytes that follow.

Policy: numbers are compared with one another, with the limits, and with the bytes that are really there, before
anything is done with them; nothing is allocated here at all.

References
----------
CBFlib manual, sections 2.2.2 (MIME header) and 3.3 (compressions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import CbfEncodingError, CbfFieldError, CbfLimitError, CbfSizeError

MAX_BINARY_BYTES = 256 * 2**20
"""Largest binary section [bytes]: ten times that of an uncompressed PILATUS3 6M, five times that of a 12M."""

MAX_PIXELS = 2**27
"""Most pixels of an image: twenty times a PILATUS3 6M."""

MAX_FIELDS = 100
"""Most fields of the MIME header; detectors write twelve."""

MAX_DIGITS = 18
"""Longest number that is read [digits]: it fits 64 bits."""

MIN_BYTES_PER_PIXEL = {"byte-offset": 1}
MAX_BYTES_PER_PIXEL = {"byte-offset": 15}
"""What one pixel can take [bytes]; of uncompressed ones it is known exactly."""

CODECS = {"": "none", "x-cbf_none": "none", "cbf_none": "none", "x-cbf_byte_offset": "byte-offset"}
"""Names of `beamstream.codecs` by that of the conversion, in small letters."""

_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)")
_CONVERSIONS = re.compile(r'conversions\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_INTEGER = re.compile(r'"?(signed|unsigned)\s+(8|16|32|64)-bit\s+integer"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinarySection:
    """What a MIME header says.

    Attributes
    ----------
    codec : str
        A name of `beamstream.codecs`: ``byte-offset`` or ``none``.
    shape : (n_slow, n_fast)
        Shape of the image.
    dtype : dtype
        Its pixels.
    n_bytes : int
        Size of the packed pixels [bytes].
    digest : str or None
        MD5 of the packed pixels, in base 64; None where it is not stated.
    binary_id : int or None
        The section's number.
    """

    codec: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    n_bytes: int
    digest: str | None
    binary_id: int | None


def read_section(text: str) -> BinarySection:
    """Read the MIME header of a binary section.

    Parameters
    ----------
    text : str
        What stands between the section's first line and its bytes, with any line ends.

    Raises
    ------
    CbfFieldError
        If a field is missing or cannot be.
    CbfEncodingError
        If pixels are packed, or of a type, that is not known here.
    CbfLimitError
        If it is larger than any detector makes it.
    CbfSizeError
        If its sizes contradict one another.
    """
    fields = _fields(text)
    codec = _codec(fields)
    dtype = _dtype(fields, codec)
    shape = (_number(fields, "X-Binary-Size-Second-Dimension"), _number(fields, "X-Binary-Size-Fastest-Dimension"))
    n_bytes = _number(fields, "X-Binary-Size")
    _check_sizes(fields, shape, n_bytes)
    n_pixels = shape[0] * shape[1]
    least = n_pixels * MIN_BYTES_PER_PIXEL.get(codec, dtype.itemsize)
    most = n_pixels * MAX_BYTES_PER_PIXEL.get(codec, dtype.itemsize)
    if not least <= n_bytes <= most:
        raise CbfSizeError("X-Binary-Size", f"{n_pixels} pixels take {least} to {most} bytes as {codec}", n_bytes)
    digest = fields.get("content-md5", "").strip('" ') or None
    binary_id = _number(fields, "X-Binary-ID", 0)
    return BinarySection(codec=codec, shape=shape, dtype=dtype, n_bytes=n_bytes, digest=digest, binary_id=binary_id)


def _check_sizes(fields: Mapping[str, str], shape: tuple[int, int], n_bytes: int) -> None:
    """Compare the sizes with the limits and with one another."""
    n_pixels = shape[0] * shape[1]
    if n_pixels == 0:
        raise CbfSizeError("dimensions", "an image without pixels", shape)
    if n_pixels > MAX_PIXELS:
        raise CbfLimitError("dimensions", f"over the limit of {MAX_PIXELS} pixels", shape)
    if n_bytes > MAX_BINARY_BYTES:
        raise CbfLimitError("X-Binary-Size", f"over the limit of {MAX_BINARY_BYTES} bytes", n_bytes)
    if (n_images := _number(fields, "X-Binary-Size-Third-Dimension", 1)) not in (0, 1):
        raise CbfSizeError("X-Binary-Size-Third-Dimension", "one image is expected", n_images)
    if (n_elements := _number(fields, "X-Binary-Number-of-Elements", n_pixels)) != n_pixels:
        raise CbfSizeError("X-Binary-Number-of-Elements", f"the dimensions say {n_pixels}", n_elements)


def _fields(text: str) -> dict[str, str]:
    """Return the fields by their names in small letters; a line that begins with a blank continues the one before."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and name:
            fields[name] += f" {line.strip()}"
        elif found := _FIELD.match(line):
            name = found[1].lower()
            fields.setdefault(name, found[2].strip())
        if len(fields) > MAX_FIELDS:
            raise CbfLimitError("binary section", f"over the limit of {MAX_FIELDS} fields")
    return fields


def _number(fields: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = fields.get(name.lower())
    if text is None and default is not None:
        return default
    if text is None:
        raise CbfFieldError(name, "is missing")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise CbfFieldError(name, "is no count", text)
    return int(text)


def _codec(fields: Mapping[str, str]) -> str:
    content_type = fields.get("content-type", "")
    found = _CONVERSIONS.search(content_type)
    conversion = found[1] if found else ""
    if conversion.lower() not in CODECS:
        raise CbfEncodingError("conversions", "x-CBF_BYTE_OFFSET and x-CBF_NONE are known", conversion)
    transfer = fields.get("content-transfer-encoding", "BINARY")
    if transfer.upper() != "BINARY":
        raise CbfEncodingError("Content-Transfer-Encoding", "BINARY is known", transfer)
    return CODECS[conversion.lower()]


def _dtype(fields: Mapping[str, str], codec: str) -> np.dtype[Any]:
    name = fields.get("x-binary-element-type", "")
    found = _INTEGER.fullmatch(name)
    if found is None:
        raise CbfEncodingError("X-Binary-Element-Type", "integers of 8, 16, 32 and 64 bits are known", name)
    order = fields.get("x-binary-element-byte-order", "LITTLE_ENDIAN").upper()
    if order != "LITTLE_ENDIAN" and (order != "BIG_ENDIAN" or codec != "none"):
        raise CbfEncodingError("X-Binary-Element-Byte-Order", f"LITTLE_ENDIAN is known of {codec}", order)
    sign = "i" if found[1].lower() == "signed" else "u"
    return np.dtype(f"{'>' if order == 'BIG_ENDIAN' else '<'}{sign}{int(found[2]) // 8}")
