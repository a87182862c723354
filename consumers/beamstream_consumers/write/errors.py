"""What can go wrong while a file is written; h5py's and the file system's own exceptions end here."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol

from beamstream.errors import BeamstreamError, CannotGoOnError, RetryLaterError, UsageError


class OutputExistsError(UsageError):
    """There is a file already under the name that is to be written, and it holds something else."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} exists and {reason}; move it away, choose another --directory or --file, "
            "or replace it with --overwrite"
        )


class OutputError(CannotGoOnError):
    """A file that cannot be written or continued.

    HDF5 does not recover from a write that failed: chunks written afterwards by the same process may be missing without
    a word. So nobody may go on with the file but a new process.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} cannot be written: {reason}; no frame is lost: mend that and start the writer again")


class LocksMissingError(CannotGoOnError):
    """A file system on which nobody can tell whether another writer is at work."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path}: this file system gives no locks ({reason}); several writers of one stream need them: "
            "mount it with locks, write to another --directory, or let one writer write one file"
        )


class OthersWriteError(RetryLaterError):
    """Other members of the group still write their files of a recording that is to be put together."""

    def __init__(self, path: Path, who: str) -> None:
        self.path = path
        self.who = who
        super().__init__(
            f"{path} is still written by {who}; the recording is put together when that is done, or has ended"
        )


class DiskFullError(RetryLaterError):
    """So little space is left that nothing more is written until somebody has made room."""

    def __init__(self, path: Path, free_bytes: int, limit_bytes: int) -> None:
        self.path = path
        self.free_bytes = free_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{path}: {free_bytes} bytes are free, {limit_bytes} bytes must stay so; "
            "make room, writing then goes on by itself"
        )


class RecordingConflictError(BeamstreamError):
    """The file holds another frame under this id: it belongs to another recording of the same name."""

    def __init__(self, path: Path, message_id: int, held: int, offered: int) -> None:
        self.path = path
        self.message_id = message_id
        self.held = held
        self.offered = offered
        super().__init__(
            f"{path} holds another frame as message {message_id} (XXH3 {held:016x}, now {offered:016x}); it belongs "
            "to another recording of the same name: move it away, or replace it with --overwrite"
        )


class VerificationError(BeamstreamError):
    """What was read back from a file is not what was received; the file keeps its ``.partial`` name."""

    def __init__(self, path: Path, message_id: int, expected: int, measured: int) -> None:
        self.path = path
        self.message_id = message_id
        self.expected = expected
        self.measured = measured
        super().__init__(
            f"{path}: message {message_id} reads back with XXH3 {measured:016x}, it was received with {expected:016x}; "
            "the disk or the file system damaged it, check them and write the stream again with another --group"
        )


class MessageIdError(UsageError):
    """A message id that cannot be a position in a file."""

    def __init__(self, message_id: int, limit: int) -> None:
        self.message_id = message_id
        self.limit = limit
        super().__init__(f"message id {message_id} is no position in a file; ids are 1 to {limit}")


class NodeError(BeamstreamError):
    """A node of the stream metadata that cannot stand in a NeXus file."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"metadata {path!r} is left out: {reason}")


class Failing(Protocol):
    """What knows why a write failed, where HDF5 does not say it."""

    failure: OSError | None


class output_errors:  # noqa: N801 (a context manager, used as a function; a generator takes four times as long)
    """Turn what h5py and the file system raise into `OutputError`."""

    __slots__ = ("_path", "_source")

    def __init__(self, path: Path, source: Failing | None = None) -> None:
        self._path = path
        self._source = source

    def __enter__(self) -> None:
        """Do nothing; one object serves any number of times."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn an error."""
        if isinstance(error, OSError | RuntimeError):
            reason = self._source.failure if self._source is not None and self._source.failure is not None else error
            raise OutputError(self._path, str(reason)) from error
