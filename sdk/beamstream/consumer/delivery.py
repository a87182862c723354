"""What lies between the threads of a consumer: frames that were fetched and not yet taken, bounded in bytes."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from beamstream.errors import BeamstreamError
from beamstream.frame import Frame, Gap, Header, add_gap
from beamstream.retry import RetryCounts


@dataclass(slots=True)
class ConsumerCounts(RetryCounts):
    """What a consumer did so far; `n_…` are messages.

    `n_skipped`: their payload had left memory; `n_corrupt`: their checksum failed; `n_missing`: they, or the
    part that is read, never came; `n_incomplete`: datasets delivered without all of their parts; `n_expired`: they
    became older than the stream is kept before they were read; `n_declined`: nothing was to come, which is no loss;
    `n_rejected`: they could not be put into a batch.
    """

    n_delivered: int = 0
    n_bytes: int = 0
    n_acknowledged: int = 0
    n_redelivered: int = 0
    n_skipped: int = 0
    n_corrupt: int = 0
    n_missing: int = 0
    n_expired: int = 0
    n_dead: int = 0
    n_incomplete: int = 0
    n_declined: int = 0
    n_rejected: int = 0

    def add_delivered(self, header: Header) -> None:
        """Count a message that is handed out."""
        self.n_delivered += 1
        self.n_bytes += header.payload_bytes
        if header.parts:
            self.n_incomplete += bool(header.missing_parts) and not header.is_addition


MAX_GAPS = 100_000
"""Most gaps that are kept for somebody who may ask; of those that nobody asks for the newest [about 10 MB]."""


class Delivery:
    """A queue of frames with a limit in bytes, and the end or the error behind them.

    It is filled up again when it is half empty: one round trip for many frames, while the other half is worked on. One
    frame larger than the limit is still let in when the queue is empty. Redelivered frames overtake the others: they
    are due. Gaps are kept apart, for whoever asks.

    Parameters
    ----------
    limit_bytes : int
        Payload bytes that may wait [bytes].
    limit_messages : int
        Frames that may wait.
    """

    def __init__(self, limit_bytes: int, limit_messages: int) -> None:
        self.limit_bytes = limit_bytes
        self.limit_messages = limit_messages
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._finished = False
        self._error: BeamstreamError | None = None
        self._gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._n_waiting = 0
        self._room_is_awaited = False

    def limit(self, n_bytes: int, n_messages: int) -> None:
        """Set how much may wait from now on [bytes, messages]."""
        with self._lock:
            self.limit_bytes, self.limit_messages = n_bytes, n_messages

    @property
    def room_bytes(self) -> int:
        """How many more bytes may be fetched now."""
        return self.limit_bytes - self._bytes

    @property
    def room_messages(self) -> int:
        """How many more frames may be fetched now."""
        return self.limit_messages - len(self._frames)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a frame now."""
        return self._n_waiting > 0

    def put(self, frame: Frame) -> None:
        """Put a frame behind the others, one that is delivered again in front; the caller has seen to the room."""
        self.put_all((frame,))

    def put_all(self, frames: Sequence[Frame]) -> bool:
        """Put frames as `put` does; whoever waits for one is woken when all are there. True where somebody was."""
        with self._lock:
            is_awaited = self.is_awaited
            for frame in frames:
                if frame.n_deliveries > 1:
                    n_before = sum(1 for _ in itertools.takewhile(_is_again, self._frames))
                    self._frames.insert(n_before, frame)
                else:
                    self._frames.append(frame)
                self._bytes += frame.header.payload_bytes
            self._arrived.notify(len(frames))
            return is_awaited

    def put_gap(self, gap: Gap) -> None:
        """Take note of a gap; neighbours that their producer stated become one."""
        with self._arrived:
            add_gap(self._gaps, gap)

    def take_gaps(self) -> list[Gap]:
        """Return the gaps noted since the last call."""
        with self._arrived:
            gaps = list(self._gaps)
            self._gaps.clear()
            return gaps

    def finish(self) -> None:
        """Nothing comes any more."""
        with self._arrived:
            self._finished = True
            self._arrived.notify_all()

    def reopen(self) -> None:
        """Take back that nothing comes any more."""
        with self._arrived:
            self._finished = False
            self._error = None

    def fail(self, error: BeamstreamError) -> None:
        """Nothing comes any more, for this reason; of no consequence once the end was reached."""
        with self._arrived:
            if not self._finished:
                self._error = error
            self._arrived.notify_all()

    @property
    def finished(self) -> bool:
        """Whether the end was reached and everything before it taken."""
        return self._finished and not self._frames

    def take(self, timeout_s: float | None) -> Frame | None:
        """Take the next frame; None at the end, or when none came in time.

        Raises
        ------
        BeamstreamError
            What ended the fetching, once the frames before it are taken.
        """
        with self._lock:
            if not self._frames:
                self._n_waiting += 1
                try:
                    self._arrived.wait_for(lambda: self._frames or self._finished or self._error, timeout_s)
                finally:
                    self._n_waiting -= 1
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= frame.header.payload_bytes
                if self._room_is_awaited and self._half_empty:
                    self._room_is_awaited = False
                    self._room.notify()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def wait_room(self, needed_bytes: int, timeout_s: float) -> bool:
        """Wait until the queue is half empty and a frame of `needed_bytes` may be fetched."""

        def is_there() -> bool:
            self._room_is_awaited = True
            return not self._frames or (self._half_empty and needed_bytes <= self.room_bytes)

        with self._lock:
            found = self._room.wait_for(is_there, timeout_s)
            self._room_is_awaited = False
            return found

    @property
    def _half_empty(self) -> bool:
        """Whether filling up pays; a single frame may be more than half of the limit in bytes."""
        n_frames = len(self._frames)
        return 2 * n_frames <= self.limit_messages and (n_frames <= 1 or 2 * self._bytes <= self.limit_bytes)


def _is_again(frame: Frame) -> bool:
    return frame.n_deliveries > 1
