"""What a producer service is made of: a `Source` that yields events, and the events.

A source knows its detector and nothing of the broker; the loop (`run_source`) knows the broker and nothing of the
detector. A new source is one file that yields these events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from beamstream.address import Address
from beamstream.frame import Payload
from beamstream.state import StreamState
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
    joins : bool
        Whether somebody else has opened it and said all about it; here are only further messages of it.
    on_open : callable or None
        Called with the stream's address, whose name may have got a number, and with where it stands, once it is open
        and before the next event is asked for: what is there already need not be sent again.
    n_parts, min_parts : int, int or None
        Of how many parts each message consists, and with how many it is let through when the patience is over; see
        `beamstream.Producer`.
    patience_s : float or None
        How long a gap in the ids may stay open [s]; None: the producer's default. Short where it is known that what is
        missing will not come.
    """

    stream: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_expected: int | None = None
    new: bool = False
    joins: bool = False
    on_open: Callable[[Address, StreamState], None] | None = None
    n_parts: int = 1
    min_parts: int | None = None
    patience_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """One message of an open stream; the other attributes are those of `beamstream.Header`.

    Attributes
    ----------
    part : int or None
        Which part of the message this is, from 1; None where messages have no parts.
    on_sent : callable or None
        Called without arguments once the message is safe: in the stream, or on disk where the stream keeps all. Not
        called for a message that failed. From another thread, which must not be kept.
    """

    stream: str
    message_id: int
    payload: Payload
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    codec: str = "none"
    timestamp_ns: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    part: int | None = None
    on_sent: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """Ids of an open stream under which there will be no message, because there is nothing to send: no loss.

    Attributes
    ----------
    first_id, last_id : int
        The ids, both included.
    """

    stream: str
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """A stream ends.

    Attributes
    ----------
    stream : str
        Name of the stream.
    last_id : int
        The highest id as far as this source knows.
    reason : str
        ``complete``, ``incomplete`` or ``aborted``, as far as this source knows.
    quiet_s : float
        Where others may be sending to it, too: it is ended once all that was expected is there, or nothing has come
        from anybody for so long [s]. What is there then decides about id and reason.
    """

    stream: str
    last_id: int
    reason: str = "complete"
    quiet_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLeft:
    """This source has no more for a stream, and leaves it open: for another producer, or for its own next run."""

    stream: str


Event = StreamOpened | Produced | Declined | StreamClosed | StreamLeft


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
        """Give back sockets, files and threads; called after the last event or after an error, perhaps twice."""
        ...


@runtime_checkable
class Measured(Protocol):
    """What a source may be beside: one that knows how much it has to do; progress then shows how far it is."""

    def progress(self) -> tuple[int, int] | None:
        """Return how many messages are done, and of how many; None while that is not known."""
        ...
