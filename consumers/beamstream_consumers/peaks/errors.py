"""What can be wrong with messages that should be lists of peaks."""

from __future__ import annotations

from beamstream.errors import CorruptDataError


class PeakMessageError(CorruptDataError):
    """A message that does not say the peaks of a frame."""

    def __init__(self, message_id: int, reason: str) -> None:
        self.message_id = message_id
        self.reason = reason
        super().__init__(
            f"message {message_id} does not say the peaks of a frame: {reason}; "
            "statistics are made of the streams that 'stream consume peaks' writes, BEAMTIME/SOURCE-peaks"
        )
