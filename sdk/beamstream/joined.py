"""`Join`: several streams read side by side, the messages of one id together.

For detectors that count the same triggers. Policy: an id is given when every stream has had the time to deliver it, and
what a stream lacks is stated; one frame of each stream is held beside what its consumer fetches ahead, however far one
of them lags. A message that comes out of its place (late, or delivered again) gets its partners by their id, so that
whoever handles it again has all of them again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from beamstream.consumer import Consumer
from beamstream.errors import (
    CorruptDataError,
    MessageNotFoundError,
    PayloadGoneError,
    StreamFinishedError,
    UsageError,
)
from beamstream.frame import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFrames:
    """What several streams have under one message id.

    Attributes
    ----------
    message_id : int
        The id.
    frames : tuple of Frame or None
        One of each stream, in the order of the consumers; None where a stream has none.
    """

    message_id: int
    frames: tuple[Frame | None, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        """Places, from 0, of the streams that have no message of this id; empty where all have one."""
        return tuple(place for place, frame in enumerate(self.frames) if frame is None)

    @property
    def late(self) -> bool:
        """Whether one of them came after its gap had been passed over: the id was given without it before."""
        return any(frame is not None and frame.late for frame in self.frames)


class Join:
    """Reads several streams side by side.

    At least once, as each consumer: an id of which a single message was not acknowledged is given again, with all of
    its messages. It belongs to the streams: of a stream in a group, messages are acknowledged when the loop comes back.

    Parameters
    ----------
    *consumers : Consumer
        One of each stream, at least two, of a broker or of files; they are not used for anything else meanwhile. Those
        with a group should be its only members: members share the messages of a stream, not those of an id.
    timeout_s : float, optional
        How long iteration waits for a stream that lags before it raises `NothingNewError` [s]; None: for ever.

    Raises
    ------
    UsageError
        If there are fewer than two consumers, or one of them twice.

    Examples
    --------
    >>> with Join(Consumer("bt/eiger/run", group="a"), Consumer("bt/xrf/run", group="a")) as pairs:  # doctest: +SKIP
    ...     for pair in pairs:
    ...         image, spectrum = pair.frames
    """

    def __init__(self, *consumers: Consumer, timeout_s: float | None = None) -> None:
        if len(consumers) < 2 or len(set(map(id, consumers))) < len(consumers):
            raise UsageError(f"{len(consumers)} consumer(s) cannot be joined; give two or more, one of each stream")
        self.consumers = consumers
        self._timeout_s = timeout_s
        self._heads: list[Frame | None] = [None] * len(consumers)
        self._given_back: JoinedFrames | None = None

    def next(self, timeout_s: float | None = None) -> JoinedFrames:
        """Return the messages of the next id; those in groups stay ours until they are acknowledged.

        Raises
        ------
        NothingNewError
            If a stream that is open had nothing new within `timeout_s` [s] (None: wait for ever). Nothing is lost:
            what the others have is held, and asking again goes on.
        StreamFinishedError
            If all streams have ended, and this was all.
        StreamNotFoundError, ServerUnavailableError
            As `Consumer.next`.
        """
        finished = self._fill(None if timeout_s is None else time.monotonic() + timeout_s)
        there = [head.message_id for head in self._heads if head is not None]
        if not there:
            raise finished[-1]
        message_id = min(there)
        frames = tuple(self._frame(place, message_id) for place in range(len(self._heads)))
        self._heads = [None if head and head.message_id == message_id else head for head in self._heads]
        return JoinedFrames(message_id=message_id, frames=frames)

    def _fill(self, ends_at: float | None) -> list[StreamFinishedError]:
        """Have the next message of each stream at hand; returns the ends of those that have no more."""
        finished = []
        for place, consumer in enumerate(self.consumers):
            if self._heads[place] is None:
                try:
                    self._heads[place] = consumer.next(
                        None if ends_at is None else max(0.0, ends_at - time.monotonic())
                    )
                except StreamFinishedError as error:
                    finished.append(error)
        return finished

    def _frame(self, place: int, message_id: int) -> Frame | None:
        """Return what a stream has under an id: what it gave, or what it would give by id."""
        head = self._heads[place]
        if head is not None and head.message_id == message_id:
            return head
        try:
            return self.consumers[place].read(message_id)
        except (MessageNotFoundError, PayloadGoneError, CorruptDataError):
            return None  # the consumer counts why

    def __iter__(self) -> Iterator[JoinedFrames]:
        """Yield until all streams are finished; what was yielded is acknowledged when the next is asked for.

        A loop that is left by an exception leaves the last one unacknowledged.

        Raises
        ------
        NothingNewError
            If a stream had nothing new within `timeout_s`.
        """
        while True:
            try:
                joined = self.next(self._timeout_s)
            except StreamFinishedError:
                return
            yield joined
            if self._given_back is not joined:
                self.acknowledge(joined)

    def acknowledge(self, joined: JoinedFrames) -> None:
        """Be done with all messages of an id, each in its consumer's group."""
        for consumer, frame in zip(self.consumers, joined.frames, strict=True):
            if frame is not None and consumer.group is not None:
                consumer.acknowledge(frame)

    def negative_acknowledge(self, joined: JoinedFrames, delay_s: float | None = None, why: str = "given back") -> None:
        """Hand an id to somebody again, in each group; see `Consumer.negative_acknowledge`.

        Whichever of its messages comes first brings the others with it, and acknowledging that ends them all.
        """
        self._given_back = joined
        for consumer, frame in zip(self.consumers, joined.frames, strict=True):
            if frame is not None and consumer.group is not None:
                consumer.negative_acknowledge(frame, delay_s, why)

    def close(self) -> None:
        """Close all consumers; messages that were not acknowledged are given back."""
        for consumer in self.consumers:
            consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
