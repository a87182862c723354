"""Messages of a series whose header has not come: held for a while, bounded in bytes and in time.

The header may come behind its images where a broker fans the stream out, and where several connectors share a detector
only one of them gets it; the others learn from the broker what it said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from beamstream_producers.formats.simplon import End, Image

SeriesKey = tuple[int, str | None]
"""Series id and unique id."""

WAIT_S = 3.0
"""How long a message waits for its series [s]: a header is opened within milliseconds, where the broker is there."""

ROOM_BYTES = 256 << 20
"""Payload bytes that may wait [bytes]: a quarter of a second of Eiger 500k at 9 kHz."""

ROOM_MESSAGES = 10_000
"""Messages that may wait; small ones cost more than their payload."""

MAX_GIVEN_UP = 16
"""How many series are remembered whose messages waited in vain."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits, since when by the caller's clock [s], and when it came [ns since 1970, UTC]."""

    message: Image | End
    reason: str
    since_s: float
    timestamp_ns: int | None
    n_bytes: int

    @property
    def key(self) -> SeriesKey:
        """Which series it belongs to."""
        return self.message.series_id, self.message.series_unique_id


class WaitingRoom:
    """Messages without a header, in the order in which they came."""

    def __init__(self, wait_s: float = WAIT_S, room_bytes: int = ROOM_BYTES) -> None:
        self._wait_s = wait_s
        self._room_bytes = room_bytes
        self._held: deque[Held] = deque()
        self._n_bytes = 0
        self._given_up: deque[SeriesKey] = deque(maxlen=MAX_GIVEN_UP)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be taken from the detector until there is room."""
        return self._n_bytes >= self._room_bytes or len(self._held) >= ROOM_MESSAGES

    @property
    def wanted(self) -> SeriesKey | None:
        """The series that the newest message waits for."""
        return self._held[-1].key if self._held else None

    def hold(self, message: Image | End, reason: str, now_s: float, timestamp_ns: int | None) -> bool:
        """Let a message wait; False where there is no room, or others of its series waited in vain before it."""
        if self.is_full or (message.series_id, message.series_unique_id) in self._given_up:
            return False
        n_bytes = 0
        if isinstance(message, Image):
            n_bytes = sum(memoryview(pixels.payload).nbytes for pixels in message.channels.values())
        self._held.append(Held(message, reason, now_s, timestamp_ns, n_bytes))
        self._n_bytes += n_bytes
        return True

    def take(self, owns: Callable[[Image | End], bool]) -> list[Held]:
        """Take out the messages of a series that is known now; later ones of it may wait again."""
        taken = [held for held in self._held if owns(held.message)]
        self._keep([held for held in self._held if not owns(held.message)])
        return taken

    def forget(self, series_id: int) -> None:
        """Let messages of a series wait again: its header has come."""
        self._given_up = deque((key for key in self._given_up if key[0] != series_id), maxlen=MAX_GIVEN_UP)

    def expire(self, now_s: float) -> list[Held]:
        """Take out what has waited for too long, and all others of its series."""
        if not self._held or now_s - self._held[0].since_s < self._wait_s:
            return []
        keys = {held.key for held in self._held if now_s - held.since_s >= self._wait_s}
        self._given_up.extend(keys)
        expired = [held for held in self._held if held.key in keys]
        self._keep([held for held in self._held if held.key not in keys])
        return expired

    def empty(self) -> list[Held]:
        """Take out everything."""
        held = list(self._held)
        self._keep([])
        return held

    def _keep(self, held: list[Held]) -> None:
        self._held = deque(held)
        self._n_bytes = sum(one.n_bytes for one in held)
