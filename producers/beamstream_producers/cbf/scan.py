"""A scan whose stream is open: which of its images are here, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from beamstream.service import Event, StreamClosed, StreamLeft
from beamstream.state import StreamState
from beamstream_producers.arrivals import ImageIds

from .naming import ScanKey

MAX_JUMP = 100_000
"""How far a number may be beyond all others: a date at the end of a name is no number of an image."""


@dataclass(slots=True, kw_only=True)
class Scan:
    """A scan and its stream.

    Attributes
    ----------
    key : ScanKey
        Its files.
    stream : str
        Name of its stream.
    first_number : int
        Number of the file that is message 1.
    n_frames : int or None
        How many images were promised.
    sends_all : bool
        Whether messages that are there are sent again: the broker compares them, and their files may go.
    news_s : float
        When a file of it last came or changed, by the monotonic clock [s].
    """

    key: ScanKey
    stream: str
    first_number: int
    n_frames: int | None
    sends_all: bool
    news_s: float
    is_open: bool = False
    was_finished: bool = False
    ids: ImageIds = field(default_factory=ImageIds)
    given_up: set[int] = field(default_factory=set)
    _there_below: int = 1

    def note_state(self, state: StreamState) -> None:
        """Take in where the stream stood when it was opened: an earlier run may have sent some of it."""
        self.was_finished = state.finished
        if state.n_missing and not self.sends_all and not state.finished:
            return  # what was missing may be here now, and the broker knows what it has
        self.ids.n_in_order = max(self.ids.n_in_order, state.next_id - 1)
        self.ids.highest_id = max(self.ids.highest_id, state.next_id - 2)
        if not self.sends_all:
            self._there_below = state.next_id

    def message_id(self, number: int) -> int:
        """Return the id of the message that a file becomes."""
        return number - self.first_number + 1

    def is_there(self, message_id: int) -> bool:
        """Whether a message was in the stream when it was opened, and need not be sent."""
        return message_id < self._there_below

    def why_not(self, message_id: int) -> str:
        """Return under which name a file of this id is counted as not sent; empty where it is sent."""
        if message_id < 1:
            return "before_first"
        if self.n_frames is not None and message_id > self.n_frames:
            return "beyond_frames"
        return "implausible" if message_id > self.ids.highest_id + 1 + MAX_JUMP else ""

    def note_taken(self, message_id: int) -> None:
        """Note that an image is here."""
        self.ids.add(message_id - 1)
        self.given_up.discard(message_id)

    def note_given_up(self, message_id: int) -> None:
        """Note that there is a file of this id that is no image."""
        if not self.why_not(message_id) and message_id - 1 not in self.ids:
            self.given_up.add(message_id)

    @property
    def has_promised(self) -> bool:
        """Whether all images that were promised are here, or were given up."""
        return self.n_frames is not None and len(self.ids) + len(self.given_up) >= self.n_frames

    def end(self) -> Event:
        """Return the event that ends its stream; one that had ended before is let go."""
        self.is_open = False
        if self.was_finished:
            return StreamLeft(stream=self.stream)
        last_id = max(self.ids.highest_id + 1, *self.given_up, 0)
        whole = self.ids.has_all(None) and not self.given_up
        complete = whole and (self.n_frames is None or last_id >= self.n_frames)
        return StreamClosed(stream=self.stream, last_id=last_id, reason="complete" if complete else "incomplete")

    def leave(self) -> Event:
        """Return the event that leaves its stream open for the next run."""
        self.is_open = False
        return StreamLeft(stream=self.stream)
