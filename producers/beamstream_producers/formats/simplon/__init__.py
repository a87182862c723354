"""The stream of DECTRIS detectors, versions 1 and 2: bytes in, messages out, and back.

    message = decode(parts)          # Start, Image or End, from either version
    parts = encode_image(image)      # what a detector would have sent

Pure: no socket in sight. Whatever the bytes are, `decode` returns a message or raises a `SimplonError`, and
spends no memory on a size that is only claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import v1, v2
from .errors import (
    CborError,
    FieldError,
    JsonError,
    LimitError,
    PartsError,
    SimplonError,
    SizeError,
    UnknownMessageError,
    UnsupportedEncodingError,
)
from .messages import Buffer, End, Image, Message, Pixels, Start, Ticks
from .nexus import stream_metadata
from .times import ImageTimes, image_times, tick_rate_hz

__all__ = [
    "Buffer",
    "CborError",
    "End",
    "FieldError",
    "Image",
    "ImageTimes",
    "JsonError",
    "LimitError",
    "Message",
    "PartsError",
    "Pixels",
    "SimplonError",
    "SizeError",
    "Start",
    "Ticks",
    "UnknownMessageError",
    "UnsupportedEncodingError",
    "decode",
    "encode_end",
    "encode_image",
    "encode_start",
    "image_times",
    "stream_metadata",
    "tick_rate_hz",
]

_CBOR_MAP_BEGINS = frozenset(range(0xA0, 0xC0))
_WHITESPACE = b" \t\r\n"


def decode(parts: Sequence[Buffer]) -> Message:
    """Read one message of either version, told apart by what arrives.

    Parameters
    ----------
    parts : sequence of bytes-like
        The parts of one ZeroMQ message. Payloads and arrays of the result are views into them, so they must
        not change.

    Returns
    -------
    Start, Image or End
        `version` says which stream it came in.

    Raises
    ------
    SimplonError
        If it is no message of either.
    """
    if not parts or memoryview(parts[0]).nbytes == 0:
        raise PartsError("message", "its first part is empty")
    begin = bytes(memoryview(parts[0])[:3])
    if begin.startswith(v2.SELF_DESCRIBED) or begin[0] in _CBOR_MAP_BEGINS:
        if len(parts) != 1:
            raise PartsError("message", "CBOR comes in 1 part", len(parts))
        return v2.decode(parts[0])
    if begin.lstrip(_WHITESPACE)[:1] in (b"{", b""):
        return v1.decode(parts)
    raise UnknownMessageError("message", "is neither JSON of stream v1 nor CBOR of v2", parts[0])


def encode_start(start: Start) -> list[Buffer]:
    """Write the message that begins a series, in the version that it says."""
    return v1.encode(start) if start.version == 1 else v2.encode(start)


def encode_image(image: Image) -> list[Buffer]:
    """Write one image, in the version that it says.

    Raises
    ------
    UnsupportedEncodingError
        If that version has no name for the codec: v1 has no `lz4`, v2 no `lz4-block`.
    """
    return v1.encode(image) if image.version == 1 else v2.encode(image)


def encode_end(end: End) -> list[Buffer]:
    """Write the message that ends a series, in the version that it says."""
    return v1.encode(end) if end.version == 1 else v2.encode(end)
