"""What can go wrong when a stream is read from files, without a broker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beamstream.errors import CorruptDataError, StreamError, StreamNotFoundError, UsageError


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


class RecordingFormatError(CorruptDataError):
    """A file that is damaged, breaks off, or is not what it says; nothing was allocated for what it claims."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} cannot be read: {reason}; is it complete, and is nobody writing it? "
            "The files that it links to are looked for beside it"
        )


class ChannelError(UsageError):
    """A channel (threshold) was asked of a file that has not got it."""

    def __init__(self, path: Path, channel: str, known: Sequence[str]) -> None:
        self.path = path
        self.channel = channel
        self.known = tuple(known)
        if self.known:
            advice = f"there are {', '.join(self.known)}; write e.g. {path.name}#{self.known[0]}"
        else:
            advice = f"it has no channels; write {path.name}"
        super().__init__(f"{path} has no channel {channel!r}: {advice}")
