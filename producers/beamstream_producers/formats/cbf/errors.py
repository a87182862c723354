"""What can be wrong with a CBF file; all of it stands under `beamstream.errors.CorruptDataError`.

Each error has a `kind`, a short name for counters. `IncompleteCbfError` stands apart from the others: nothing of what
is there is wrong, there is only too little of it, as of a file that is still being written.
"""

from __future__ import annotations

from typing import ClassVar

from beamstream.errors import CorruptDataError

MAX_OFFENDER_CHARACTERS = 80
"""How much of an offending text an error repeats [characters]; one line of a log."""


class CbfError(CorruptDataError):
    """Bytes that are no CBF image as detectors write them."""

    kind: ClassVar[str] = "cbf"

    def __init__(self, what: str, reason: str, offender: object = None) -> None:
        self.what = what
        self.reason = reason
        self.offender = None if offender is None else repr(offender)[:MAX_OFFENDER_CHARACTERS]
        super().__init__(f"CBF {what}: {reason}" + ("" if self.offender is None else f" (found {self.offender})"))


class NotCbfError(CbfError):
    """Something that does not begin like a CBF file."""

    kind = "not_cbf"


class IncompleteCbfError(CbfError):
    """A CBF file that ends too early: it is still being written, or its writer died."""

    kind = "incomplete"

    def __init__(self, what: str, there_bytes: int, needed_bytes: int | None = None) -> None:
        self.there_bytes = there_bytes
        self.needed_bytes = needed_bytes
        needed = "" if needed_bytes is None else f" of {needed_bytes}"
        super().__init__(what, f"only {there_bytes}{needed} bytes are there")


class CbfFieldError(CbfError):
    """A field of the binary section that is missing, or has a value that cannot be."""

    kind = "field"


class CbfSizeError(CbfError):
    """Sizes of the binary section that contradict one another."""

    kind = "size"


class CbfLimitError(CbfError):
    """Something larger than any detector makes it; refused before memory is spent on it."""

    kind = "limit"


class CbfEncodingError(CbfError):
    """Pixels packed in a way, or of a type, that nobody here can unpack, e.g. `x-CBF_PACKED`."""

    kind = "encoding"


class CbfDigestError(CbfError):
    """Pixels whose Content-MD5 is not the one that the file states: they were damaged, or are being overwritten."""

    kind = "digest"
