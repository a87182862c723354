"""A CBF file's bytes as an image: headers, and the packed pixels in place."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from beamstream.frame import Payload

from .binary_section import BinarySection, read_section
from .errors import CbfDigestError, CbfFieldError, CbfLimitError, IncompleteCbfError, NotCbfError
from .mini_header import MiniHeader, read_mini_header

START = b"###CBF"
"""What a file begins with."""

SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
"""What a binary section begins with."""

MAGIC = b"\x0c\x1a\x04\xd5"
"""What stands between a MIME header and its bytes; form feed and friends end the listing on old terminals."""

MAX_HEADER_BYTES = 256 * 1024
"""Where the pixels have begun [bytes]: a mini header ends after 1.3 kB, a full one with CIF loops before 8 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CbfImage:
    """One image.

    Attributes
    ----------
    header : MiniHeader
        What the detector wrote.
    section : BinarySection
        Shape, dtype, codec and sizes.
    payload : memoryview
        The packed pixels, a view into the file's bytes.
    """

    header: MiniHeader
    section: BinarySection
    payload: memoryview


def decode(data: Payload) -> CbfImage:
    """Find the image in the bytes of a file.

    The first binary section counts. Its padding and the lines behind it are not asked for: the image is there without
    them.

    Parameters
    ----------
    data : bytes-like
        The whole file, or as much of it as there is.

    Raises
    ------
    IncompleteCbfError
        If it ends too early, and nothing up to there is wrong.
    CbfError
        If it is no CBF image: see the classes of `errors`.
    """
    view = memoryview(data).cast("B")
    text, start = _split(view)
    before, _, mime = text.partition(SECTION)
    section = read_section(mime.decode("latin-1"))
    end = start + section.n_bytes
    if len(view) < end:
        raise IncompleteCbfError("file", len(view), end)
    payload = view[start:end]
    if section.digest is not None and section.digest != (measured := _digest(payload)):
        raise CbfDigestError("Content-MD5", f"the pixels have {measured}", section.digest)
    return CbfImage(header=read_mini_header(before.decode("latin-1")), section=section, payload=payload)


def _split(view: memoryview) -> tuple[bytes, int]:
    """Return what stands before the pixels, and where these begin [bytes]."""
    head = bytes(view[:MAX_HEADER_BYTES])
    if not head.startswith(START):
        if START.startswith(head):
            raise IncompleteCbfError("file", len(view))
        raise NotCbfError("file", f"does not begin with {START.decode()}", head[:16])
    at = head.find(MAGIC)
    if at >= 0:
        if SECTION not in head[:at]:
            raise CbfFieldError("binary section", "its first line is missing")
        return head[:at], at + len(MAGIC)
    if len(view) > MAX_HEADER_BYTES:
        raise CbfLimitError("header", f"is over the limit of {MAX_HEADER_BYTES} bytes")
    raise IncompleteCbfError("header", len(view))


def _digest(payload: Payload) -> str:
    """Return the MD5 of packed pixels as CBF states it: for finding damage, not for security."""
    return base64.b64encode(hashlib.md5(payload, usedforsecurity=False).digest()).decode()
