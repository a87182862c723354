"""Images as CBF files, line by line as a PILATUS's camserver writes them: for the simulator and for tests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from beamstream.frame import Payload

from .errors import CbfEncodingError
from .image import MAGIC, SECTION

VERSION_LINE = "###CBF: VERSION 1.5, CBFlib v0.7.8 - PILATUS detectors"
CONVENTIONS = ("PILATUS_1.2", "SLS/DECTRIS_1.1")
PADDING_BYTES = 4095
_CONVERSIONS = {"byte-offset": ';\n     conversions="x-CBF_BYTE_OFFSET"', "none": ""}


def encode(
    payload: Payload,
    *,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    codec: str,
    lines: Sequence[str],
    block: str = "image_00001",
    convention: str = CONVENTIONS[0],
    cif: str = "",
    newline: str = "\r\n",
    with_digest: bool = True,
) -> bytes:
    """Make a file of packed pixels.

    Parameters
    ----------
    payload : bytes-like
        The packed pixels.
    shape : (n_slow, n_fast)
        Shape of the image.
    dtype : dtype
        Its integers.
    codec : {"byte-offset", "none"}
        How they are packed.
    lines : sequence of str
        The detector's header, without the ``#``.
    block : str
        Name of the data block.
    convention : str
        How the header is said to be written.
    cif : str
        What a full CBF has before its mini header: items and loops.
    newline : str
        End of a line, CRLF as detectors write it.
    with_digest : bool
        Whether the MD5 of the pixels is stated.

    Raises
    ------
    CbfEncodingError
        If pixels cannot be packed like this.
    """
    n_slow, n_fast = shape
    head = [VERSION_LINE, "", f"data_{block}", ""]
    head += [*cif.splitlines(), f'_array_data.header_convention "{convention}"', "_array_data.header_contents", ";"]
    head += [*(f"# {line}" for line in lines), ";", "", "_array_data.data", ";"]
    head += [SECTION.decode(), *_mime(payload, dtype, codec, with_digest=with_digest)]
    head += [f"X-Binary-Number-of-Elements: {n_slow * n_fast}", f"X-Binary-Size-Fastest-Dimension: {n_fast}"]
    head += [f"X-Binary-Size-Second-Dimension: {n_slow}", f"X-Binary-Size-Padding: {PADDING_BYTES}", "", ""]
    tail = ["", f"{SECTION.decode()}--", ";", "", ""]
    before, behind = (newline.join(one).encode("latin-1") for one in (head, tail))
    return b"".join((before, MAGIC, payload, bytes(PADDING_BYTES), behind))


def _mime(payload: Payload, dtype: np.dtype[Any], codec: str, *, with_digest: bool) -> list[str]:
    if codec not in _CONVERSIONS or dtype.kind not in "iu" or (codec != "none" and dtype.byteorder == ">"):
        raise CbfEncodingError("pixels", "integers as byte-offset, or as they are, can be written", f"{dtype} {codec}")
    sign = "signed" if dtype.kind == "i" else "unsigned"
    mime = [
        *f"Content-Type: application/octet-stream{_CONVERSIONS[codec]}".split("\n"),
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {memoryview(payload).nbytes}",
        "X-Binary-ID: 1",
        f'X-Binary-Element-Type: "{sign} {8 * dtype.itemsize}-bit integer"',
        f"X-Binary-Element-Byte-Order: {'BIG' if dtype.byteorder == '>' else 'LITTLE'}_ENDIAN",
    ]
    if with_digest:
        digest = hashlib.md5(payload, usedforsecurity=False).digest()
        mime.append(f"Content-MD5: {base64.b64encode(digest).decode()}")
    return mime
