"""Whether the events of a source are those that the loop can send: order, ids, payloads, metadata, counters.

Pure: events in, `ConformanceError` out. The bytes of every message are held until the end, to see whether they change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import xxhash

from beamstream import codecs
from beamstream.address import SourceAddress
from beamstream.errors import AddressError, BeamstreamError
from beamstream.frame import Header
from beamstream.producer.producer import MAX_MESSAGE_ID
from beamstream.protocol import encode_header, encode_metadata
from beamstream.service import Declined, Event, Produced, StreamClosed, StreamLeft, StreamOpened
from beamstream.service.producing.produce import ProducerLoop
from beamstream.stop import StopFlag

from .errors import ConformanceError

REASONS = ("complete", "incomplete", "aborted")
"""How a stream can end."""

_COUNTER = re.compile(r"[a-z][a-z0-9_]*")
"""What a counter may be called: it becomes a label of a metric, and a word of the progress line."""

_SOMEWHERE = SourceAddress("beamtime", "source")


class _Nothing:
    """A source that counts nothing."""

    name = "nothing"

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        return iter(())

    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        pass


def counters_of_the_loop() -> frozenset[str]:
    """Return the names that the loop itself counts under; those of a source would be overwritten."""
    loop = ProducerLoop(_Nothing(), _SOMEWHERE, "unix:///nobody")
    return frozenset(loop.snapshot().events)


@dataclass(slots=True)
class _Stream:
    """What came of a stream since it was opened: ids, and parts where messages have some."""

    n_parts: int
    ids: set[tuple[int, int | None]] = field(default_factory=set)
    highest_declined: int = 0
    ended: bool = False
    left: bool = False


class EventChecker:
    """Checks the events of one run, one after the other.

    Parameters
    ----------
    source : str
        What the source is called in errors.

    Attributes
    ----------
    messages : list of Produced
        Every message that came.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._streams: dict[str, _Stream] = {}
        self._checksums: list[int] = []
        self.messages: list[Produced] = []

    def check(self, event: object) -> None:
        """Take the next event.

        Raises
        ------
        ConformanceError
            If it cannot come here, or cannot be sent.
        """
        match event:
            case StreamOpened():
                self._check_opened(event)
            case Produced():
                self._check_message(event)
            case Declined():
                self._check_declined(event)
            case StreamClosed() | StreamLeft():
                self._check_end(event)
            case _:
                raise self._error(f"yields a {type(event).__name__}, which is no event")

    def finish(self) -> None:
        """See that every stream has its end, and that no payload has changed since it was yielded.

        Raises
        ------
        ConformanceError
            If not so.
        """
        if still_open := [name for name, stream in self._streams.items() if not stream.ended]:
            raise self._error(f"leaves {', '.join(still_open)} without StreamClosed or StreamLeft")
        for message, checksum in zip(self.messages, self._checksums, strict=True):
            try:
                now = xxhash.xxh3_64_intdigest(message.payload)
            except ValueError as error:
                raise self._error(f"{_named(message)}: its payload is gone after close() ({error})") from error
            if now != checksum:
                raise self._error(f"{_named(message)}: its payload has changed since it was yielded; hand over a copy")

    def _check_opened(self, event: StreamOpened) -> None:
        try:
            _SOMEWHERE.stream(event.stream)
            if event.metadata is not None:
                encode_metadata(event.metadata)
        except (AddressError, BeamstreamError) as error:
            raise self._error(f"opens {event.stream!r:.80}: {error}") from error
        if event.n_expected is not None and not _is_count(event.n_expected):
            raise self._error(f"opens {event.stream} with n_expected={event.n_expected!r}, which is no number")
        if not _is_count(event.n_parts) or not 0 < (event.min_parts or event.n_parts) <= event.n_parts:
            raise self._error(f"opens {event.stream} with {event.min_parts!r} of {event.n_parts!r} parts")
        if event.patience_s is not None and not event.patience_s >= 0:
            raise self._error(f"opens {event.stream} with patience_s={event.patience_s!r}")
        there = self._streams.get(event.stream)
        if there is not None and not there.ended:
            raise self._error(f"opens {event.stream}, which is open")
        if there is not None and not (there.left or event.new):
            raise self._error(f"opens {event.stream} again after its end, without new=True")
        self._streams[event.stream] = _Stream(event.n_parts)

    def _check_end(self, event: StreamClosed | StreamLeft) -> None:
        stream = self._open_one(event.stream, type(event).__name__)
        stream.ended = True
        stream.left = isinstance(event, StreamLeft)
        if isinstance(event, StreamLeft):
            return
        highest = max((message_id for message_id, _ in stream.ids), default=0)
        highest = max(highest, stream.highest_declined)
        if not _is_count(event.last_id) or event.last_id < highest:
            raise self._error(f"closes {event.stream} with last_id={event.last_id!r}, after message {highest}")
        if event.reason not in REASONS:
            raise self._error(f"closes {event.stream} for the reason {event.reason!r}, none of {', '.join(REASONS)}")

    def _check_message(self, event: Produced) -> None:
        stream = self._open_one(event.stream, f"message {event.message_id!r}")
        if not _is_count(event.message_id) or not 0 < event.message_id <= MAX_MESSAGE_ID:
            raise self._error(f"yields message id {event.message_id!r} of {event.stream}; ids are integers from 1")
        if (event.part is None) != (stream.n_parts == 1) or not 0 < (event.part or 1) <= stream.n_parts:
            raise self._error(f"{_named(event)} is part {event.part!r} of {stream.n_parts}")
        if (event.message_id, event.part) in stream.ids:
            raise self._error(f"{_named(event)} comes twice")
        stream.ids.add((event.message_id, event.part))
        self._check_bytes(event)
        self.messages.append(event)
        self._checksums.append(xxhash.xxh3_64_intdigest(event.payload))

    def _check_declined(self, event: Declined) -> None:
        stream = self._open_one(event.stream, f"what is declined from {event.first_id!r}")
        if not (_is_count(event.first_id) and _is_count(event.last_id)) or not 0 < event.first_id <= event.last_id:
            raise self._error(f"declines {event.first_id!r} to {event.last_id!r} of {event.stream}, which are no ids")
        if sent := sorted({i for i, _ in stream.ids if event.first_id <= i <= event.last_id}):
            raise self._error(f"declines message {sent[0]} of {event.stream}, which it has sent")
        stream.highest_declined = max(stream.highest_declined, event.last_id)

    def _check_bytes(self, event: Produced) -> None:
        payload: object = event.payload  # the annotation is what is looked at here
        if not isinstance(payload, bytes | bytearray | memoryview):
            kind = type(payload).__name__
            raise self._error(f"{_named(event)}: its payload is a {kind}, and has to be bytes or a view of bytes")
        if not memoryview(payload).c_contiguous:
            raise self._error(f"{_named(event)}: its payload is a view with gaps; hand over bytes() of it")
        if (event.shape is None) != (event.dtype is None):
            raise self._error(f"{_named(event)}: it has one of shape and dtype; an array has both, all else neither")
        try:
            encode_header(
                Header(
                    payload_bytes=memoryview(event.payload).nbytes,
                    checksum=0,
                    timestamp_ns=0 if event.timestamp_ns is None else event.timestamp_ns,
                    codec=event.codec,
                    shape=event.shape,
                    dtype=event.dtype,
                    metadata=event.metadata,
                )
            )
            if event.shape is not None and event.dtype is not None:
                codecs.decode(event.payload, event.codec, event.shape, np.dtype(event.dtype))
        except BeamstreamError as error:
            raise self._error(f"{_named(event)} cannot be sent or read: {error}") from error

    def _open_one(self, name: str, what: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            raise self._error(f"{what} of {name} comes before its StreamOpened")
        if stream.ended:
            raise self._error(f"{what} of {name} comes after its end")
        return stream

    def _error(self, what: str) -> ConformanceError:
        return ConformanceError(self._source, what)


class CounterChecker:
    """Checks what a source counts, whenever it is asked.

    Parameters
    ----------
    source : str
        What the source is called in errors.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._reserved = counters_of_the_loop()
        self.last: Mapping[str, int] = {}

    def check(self, counters: Mapping[str, int]) -> None:
        """Take what it says now.

        Raises
        ------
        ConformanceError
            If a name or a number cannot be, or a number has become smaller.
        """
        for name, count in counters.items():
            if not isinstance(name, str) or not _COUNTER.fullmatch(name):
                raise self._error(f"counts {name!r}: names are small letters, digits and '_', e.g. 'image_repeated'")
            if name in self._reserved:
                raise self._error(f"counts {name!r}, which the loop counts itself; choose another name")
            if not _is_count(count):
                raise self._error(f"counts {name}={count!r}, which is no number from 0")
        for name, before in self.last.items():
            if counters.get(name, -1) < before:
                raise self._error(f"counted {name}={before} and now {counters.get(name)}; counters only grow")
        self.last = dict(counters)

    def _error(self, what: str) -> ConformanceError:
        return ConformanceError(self._source, what)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _named(event: Produced) -> str:
    return f"message {event.message_id} of {event.stream}"
