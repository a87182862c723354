"""What a consumer service is made of: a `Handler` that is given the frames of one stream after the other.

A handler knows what to do with a frame and nothing of groups, acknowledgements, signals or metrics; the loop
(`run_handler`) knows these. The loop acknowledges what was handled only after `commit` has returned, so a handler
that buffers writes the buffer out there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from beamstream.address import Address
from beamstream.errors import DatasetStreamError
from beamstream.frame import Frame, Gap
from beamstream.service.tuning import Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStart:
    """What a handler is told when it is given a stream.

    Attributes
    ----------
    address : Address
        The stream.
    metadata : mapping
        Stream metadata, e.g. the detector's configuration as a NeXus-like tree.
    n_expected : int or None
        How many messages the producer promised.
    broker : str
        URL of the broker, for handlers that publish.
    n_parts : int
        How many parts each message has; 1 where they are no datasets, or one part of each is read.
    group : str
        The group that reads it; empty where it is read without one, from files.
    tuning : Tuning or None
        What stamps results with the version of the parameters that they were made with; None for what has none.
    """

    address: Address
    metadata: Mapping[str, Any]
    n_expected: int | None
    broker: str
    n_parts: int = 1
    group: str = ""
    tuning: Tuning | None = None

    def refuse_datasets(self, who: str) -> None:
        """Refuse the stream if its messages are datasets, for handlers that know only messages of one part.

        Raises
        ------
        DatasetStreamError
            If they are.
        """
        if self.n_parts > 1:
            raise DatasetStreamError(str(self.address), self.n_parts, who)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """How a stream ended.

    Attributes
    ----------
    last_id : int
        The id it was finished with.
    n_expected : int or None
        How many messages the producer had promised.
    reason : str
        ``complete``, ``incomplete`` or ``aborted``.
    next_stream : str or None
        Name of the stream after it.
    """

    last_id: int
    n_expected: int | None
    reason: str
    next_stream: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    """When a handler is asked to make safe what it was given; an optional attribute `commits` of a `Handler`.

    Frames that wait for it are held in memory, and delivered again if the service dies.

    Attributes
    ----------
    every_s : float
        Longest time between two commits [s].
    n_messages : int
        Messages after which it is asked in any case.
    n_bytes : int
        Payload bytes after which it is asked in any case [bytes].
    when_idle : bool
        Whether it is asked although no message came meanwhile.
    opens_first : bool
        Whether it is told of a stream before the first message is fetched, and not with it.
    """

    every_s: float = 0.1
    n_messages: int = 64
    n_bytes: int = 256 << 20
    when_idle: bool = False
    opens_first: bool = False


DEFAULT_COMMITS = Commits()


class Handler(Protocol):
    """What is done with frames."""

    name: str
    """What it is called in logs and metrics, and its group's name by default, e.g. ``write``."""

    def open(self, stream: StreamStart) -> None:
        """Prepare for the frames of a stream."""
        ...

    def handle(self, frame: Frame) -> None:
        """Do the work on one frame; raising gives the frame back to the group.

        `RetryLaterError`: the same frame is asked for again, until it is taken. `CannotGoOnError`: the service ends.
        """
        ...

    def gap(self, gap: Gap) -> None:
        """Take note of messages that never came."""
        ...

    def commit(self) -> None:
        """Make everything handled so far safe; it is acknowledged when this returns."""
        ...

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Finish with the stream: `end` says how it ended, None that the service stops before its end.

        What is returned is kept with the stream as the group's report, and shown in the receipt, e.g. ``n_written``.
        """
        ...

    def status(self) -> Mapping[str, int | float | str]:
        """Return what the progress display shows beside the loop's own counts."""
        ...


def commits_of(handler: Handler) -> Commits:
    """Return when a handler wants to make safe what it was given."""
    commits: Commits = getattr(handler, "commits", DEFAULT_COMMITS)
    return commits
