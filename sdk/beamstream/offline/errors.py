"""What can go wrong when a stream is read from files, without a broker."""

from __future__ import annotations

from pathlib import Path

from beamstream.errors import StreamError, StreamNotFoundError, UsageError


class NoRecordingError(StreamNotFoundError):
    """There is nothing at a path that could be read as a stream."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        self.nearest = ()
        StreamError.__init__(self, str(path), f"no stream can be read here: {reason}")


class GroupNeedsBrokerError(UsageError):
    """A consumer group, or an acknowledgement, was asked of a file."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what
        super().__init__(
            f"{path} is read without a broker, and {what} needs one: it keeps what each group has had; "
            "read without a group, or name the stream by its address"
        )
