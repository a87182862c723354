"""What can go wrong when a run is replayed."""

from __future__ import annotations

from beamstream.errors import StreamError, UsageError


class PaceError(UsageError):
    """A text that is no pace."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(f"--pace {text!r} is none of recorded, max, a multiple like 2x or 0.5x, and a rate like 500Hz")


class OtherContentsError(StreamError):
    """The stream that a run is to be replayed into is there already, and holds something else."""

    def __init__(self, address: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            address,
            f"the stream is there already, and {reason}; nothing more was sent: delete it ('stream delete {address}'), "
            "or name another one, --to BEAMTIME/SOURCE/STREAM",
        )
