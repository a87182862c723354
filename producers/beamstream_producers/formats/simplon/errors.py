"""What can be wrong with a SIMPLON message; all of it stands under `beamstream.errors.CorruptDataError`.

Each error carries `what` (which part or field), `offender` (the value, shortened) and `kind`, a short name
for counters. The blame is always the peer's: nothing here is raised for a mistake of our own caller.
"""

from __future__ import annotations

from typing import ClassVar

from beamstream.errors import CorruptDataError

MAX_OFFENDER_CHARACTERS = 80
"""How much of an offending value an error repeats [characters]; one line of a log."""


def shorten(value: object) -> str:
    """Return a value as one short line, whatever it is and however large."""
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(memoryview(value).cast("B")[: MAX_OFFENDER_CHARACTERS // 2])
        return f"{memoryview(value).nbytes} bytes {head!r}"
    if isinstance(value, str):
        value = value[:MAX_OFFENDER_CHARACTERS]
    elif isinstance(value, list | tuple | dict):
        return f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= MAX_OFFENDER_CHARACTERS else text[: MAX_OFFENDER_CHARACTERS - 1] + "…"


class SimplonError(CorruptDataError):
    """A message that does not follow the SIMPLON stream."""

    kind: ClassVar[str] = "simplon"

    def __init__(self, what: str, reason: str, offender: object = None) -> None:
        self.what = what
        self.reason = reason
        self.offender = shorten(offender)
        found = f" (found {self.offender})" if offender is not None else ""
        super().__init__(f"SIMPLON {what}: {reason}{found}")


class PartsError(SimplonError):
    """A multipart message with parts missing, to spare, or in another order."""

    kind = "parts"


class UnknownMessageError(SimplonError):
    """A message that is neither JSON with an `htype` nor CBOR with a `type` that we know."""

    kind = "unknown"


class JsonError(SimplonError):
    """A part that should be JSON and is not."""

    kind = "json"


class CborError(SimplonError):
    """A message that should be CBOR and is not."""

    kind = "cbor"


class FieldError(SimplonError):
    """A field that is missing, has another type or a value that cannot be."""

    kind = "field"


class SizeError(SimplonError):
    """Bytes that are more or fewer than their shape, dtype or header says."""

    kind = "size"


class LimitError(SimplonError):
    """Something larger than any detector makes it; refused before memory is spent on it."""

    kind = "limit"


class UnsupportedEncodingError(SimplonError):
    """Pixels packed in a way that nobody here can unpack, e.g. `bszstd`."""

    kind = "encoding"
