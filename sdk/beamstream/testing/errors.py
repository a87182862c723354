"""What a source that does not keep to the protocol is told."""

from __future__ import annotations

from beamstream.errors import BeamstreamError


class ConformanceError(BeamstreamError):
    """A source does not do what the loop, or a user of its counters, relies on; only tests raise it."""

    def __init__(self, source: str, what: str) -> None:
        self.source = source
        self.what = what
        super().__init__(f"source {source}: {what}")
