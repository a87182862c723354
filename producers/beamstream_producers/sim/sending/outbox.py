"""What the detector has counted but not yet handed to the network: bounded, in order, its losses counted.

Pure: a queue and three counters. Images that find it full are dropped and counted, as the detector control
unit does it; the messages that begin and end a series always find room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from beamstream_producers.formats.simplon import Buffer
from beamstream_producers.sim.faults.plan import Extra

Parts = list[Buffer]
"""One ZeroMQ message."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that waits; encoded only when the network takes it, so waiting costs no memory.

    Attributes
    ----------
    kind : str
        ``start``, ``image``, ``end`` or ``garbage``.
    series : int
        Which series of the run it belongs to, from 1.
    extra : Extra
        Whether it is one of the series' own messages.
    """

    encode: Callable[[], Parts]
    is_image: bool
    kind: str = ""
    series: int = 0
    series_id: int = 0
    image_id: int = -1
    extra: Extra = Extra.NO


class Outbox:
    """The buffer in front of a socket.

    Parameters
    ----------
    max_images : int
        Images that may wait; the next one is dropped.
    on_drop : callable, optional
        Told of every message that will never leave.

    Attributes
    ----------
    n_sent, n_dropped : int
        Images of the current series that left, and that never will; each counts once.
    n_lost : int
        Starts and ends of series that nobody took in time, since the beginning.
    """

    def __init__(self, max_images: int, on_drop: Callable[[Outgoing], None] = lambda _: None) -> None:
        self.max_images = max_images
        self._on_drop = on_drop
        self.n_sent = 0
        self.n_dropped = 0
        self.n_lost = 0
        self._waiting: deque[Outgoing] = deque()
        self._n_images = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """The next image would be dropped."""
        return self._n_images >= self.max_images

    def reset(self) -> None:
        """Begin to count the images of a new series."""
        self.n_sent = self.n_dropped = 0

    def put(self, message: Outgoing) -> None:
        """Take a message in, or count it as dropped."""
        if message.is_image and self.is_full:
            self.drop(message)
            return
        self._waiting.append(message)
        self._n_images += message.is_image

    def drop(self, message: Outgoing) -> None:
        """Count a message that will never leave."""
        self.n_dropped += message.is_image and message.extra is Extra.NO
        self._on_drop(message)

    def oldest(self) -> Outgoing:
        """Return the message that has to leave first."""
        return self._waiting[0]

    def pop(self) -> None:
        """Note that the oldest message has left."""
        message = self._waiting.popleft()
        self._n_images -= message.is_image
        self.n_sent += message.is_image and message.extra is Extra.NO

    def discard_images(self) -> None:
        """Drop and count the images that wait, and keep the rest in order."""
        for message in self._waiting:
            if message.is_image:
                self.drop(message)
        self._waiting = deque(message for message in self._waiting if not message.is_image)
        self._n_images = 0

    def discard_all(self) -> None:
        """Drop and count everything that waits."""
        self.discard_images()
        self.n_lost += sum(message.kind != "garbage" for message in self._waiting)
        self._waiting.clear()
