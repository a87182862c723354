"""What can go wrong with integration beside the geometry; all of it is for whoever gave the options to mend."""

from __future__ import annotations

from beamstream.errors import UsageError


class PyFaiMissingError(UsageError):
    """pyFAI was asked for and is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the engine pyfai needs pyFAI: pip install 'beamstream[integrate]'; numba gives the same without it"
        )


class NoGeometryError(UsageError):
    """Nobody has said where the detector is."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"{address} cannot be integrated: {reason}; give --geometry FILE, a .poni, .geom or NeXus file"
        )


class NormalizerError(UsageError):
    """A message does not carry the positive number that its curve is to be divided by."""

    def __init__(self, message_id: int, key: str, value: object) -> None:
        self.message_id = message_id
        self.key = key
        self.value = value
        found = "is not there" if value is None else f"is {value!r}"
        super().__init__(
            f"message {message_id} cannot be divided by its metadata's {key!r}, which {found}; it is to be above 0"
        )
