"""What can be wrong with what viewers ask for."""

from __future__ import annotations

from beamstream.errors import BeamstreamError, UsageError


class NoPictureError(BeamstreamError):
    """There is no picture of what was asked for."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"there is no picture of {what}: {reason}")


class UnknownSourceError(UsageError):
    """A viewer asked for a data source that this monitor does not watch."""

    def __init__(self, source: str, known: list[str]) -> None:
        self.source = source
        self.known = known
        super().__init__(f"{source!r:.80} is not watched here; watched are {', '.join(known)}")
