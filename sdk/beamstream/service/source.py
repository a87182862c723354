"""What a producer service is made of: a `Source` that yields events, and the events.

A source knows its detector and nothing of the broker; the loop (`run_source`) knows the broker and nothing of the
detector. A new source is one file that yields these three events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from beamstream.frame import Payload
from beamstream.stop import StopFlag


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """A stream begins.

    Attributes
    ----------
    stream : str
        Name of the stream within the data source.
    metadata : mapping
        What describes the whole stream; kept as stream metadata (see `beamstream.protocol.metadata`).
    n_expected : int or None
        How many messages the detector promised; None where it promises nothing.
    new : bool
        Whether it cannot be the continuation of a stream that is already on the broker: where the name is taken, e.g.
        by a detector that counts its series from 1 again, the loop appends a number to it.
    """

    stream: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_expected: int | None = None
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """One message of an open stream; the attributes are those of `beamstream.Header`."""

    stream: str
    message_id: int
    payload: Payload
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    codec: str = "none"
    timestamp_ns: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """A stream ends; `reason` is ``complete``, ``incomplete`` or ``aborted``."""

    stream: str
    last_id: int
    reason: str = "complete"


Event = StreamOpened | Produced | StreamClosed


class Source(Protocol):
    """Where messages come from."""

    name: str
    """What it is called in logs and metrics, e.g. ``eiger``."""

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield events until the source is exhausted or `stop` is set.

        None means «nothing for now» and has to come at least every 200 ms while nothing arrives, so that the loop stays
        awake. Once `stop` is set, what is already at hand is yielded, open streams are closed, and the iterator ends.
        """
        ...

    def counters(self) -> Mapping[str, int]:
        """Return what was counted so far, by reason: received, ignored, …; the loop shows and exports them."""
        ...

    def close(self) -> None:
        """Give back sockets and files; called once, after the last event or after an error."""
        ...
