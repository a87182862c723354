"""`OfflineReader`: a `Consumer` of a stream that lies in files, without any server.

`Consumer(path)` makes one. Same ids, metadata and payload bytes as online; there are no groups, and nothing new comes:
a stream whose files have no end is finished where they are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from beamstream.address import Address
from beamstream.consumer import Consumer, ConsumerCounts
from beamstream.consumer.feed import Start, check_start
from beamstream.errors import MessageNotFoundError, PayloadGoneError, StreamFinishedError
from beamstream.frame import Frame, Gap, add_gap
from beamstream.state import StreamState

from .errors import GroupNeedsBrokerError
from .recording import Item, open_recording

log = logging.getLogger(__name__)


class OfflineReader(Consumer):
    """Reads one stream from files; see `Consumer` for what its methods do.

    Parameters
    ----------
    where : str or path
        A folder with segments.
    group : None
        There are no groups without a broker.
    start : "start", "newest" or int
        Where reading begins; from ``newest`` on there is nothing.
    part : int, optional
        Of datasets, give only this part, from 1.
    **options : object
        What else `Consumer` takes; nothing of it has a meaning without a broker.

    Raises
    ------
    NoRecordingError
        If there is no stream at this path.
    GroupNeedsBrokerError
        If a group is named.
    UsageError
        If the messages have no such part.
    SegmentFormatError, SegmentReadError
        If the files cannot be read.
    """

    def __init__(
        self,
        where: str | os.PathLike[str] | Address,
        *,
        group: str | None = None,
        start: Start = "start",
        part: int | None = None,
        **options: object,
    ) -> None:
        self.path = Path(str(where)).expanduser()
        if group is not None:
            raise GroupNeedsBrokerError(self.path, f"group {group!r}")
        check_start(start)
        self._recording = open_recording(self.path, part)
        self.address = self._recording.address
        self.group = None
        self.member = ""
        self.counts = ConsumerCounts()
        self._timeout_s = None
        self._acknowledger = None
        self._gaps: list[Gap] = []
        self._newest_given = False
        self._items: Iterator[Item] = (
            iter(()) if start == "newest" else self._recording.items(0 if isinstance(start, str) else start)
        )

    @property
    def state(self) -> StreamState:
        """Where the stream stands, as far as the files say; goes through all of its entries the first time."""
        return self._recording.state()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The stream metadata; empty where there are none."""
        return self._recording.metadata()

    def take_gaps(self) -> list[Gap]:
        """Return the gaps that were passed since the last call; ``lost`` are ids that the files no longer have."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def next(self, timeout_s: float | None = None) -> Frame:
        """Return the next message; nothing is ever waited for.

        Raises
        ------
        StreamFinishedError
            If this was all that the files have.
        """
        for item in self._items:
            if isinstance(item, Frame):
                return self._count(item)
            self._pass_by(item)
        state = self.state
        if not state.finished:
            log.warning(
                "%s: the stream has no end here; its files stop behind message %d", self.path, self._last_id(state)
            )
        raise StreamFinishedError(str(self.address), self._last_id(state), state.next_stream)

    def _count(self, frame: Frame) -> Frame:
        self.counts.add_delivered(frame.header)
        return frame

    def _pass_by(self, item: Item) -> None:
        if isinstance(item, Gap):
            if item.is_declined:
                self.counts.n_declined += item.n_messages
            else:
                self.counts.n_missing += item.n_messages
            add_gap(self._gaps, item)
        elif isinstance(item, PayloadGoneError):
            self.counts.n_skipped += 1
        else:
            log.error("%s: %s", self.address, item)
            self.counts.n_corrupt += 1

    @staticmethod
    def _last_id(state: StreamState) -> int:
        return state.last_id if state.finished else state.next_id - 1

    # --- by id, newest -----------------------------------------------------------------------------------------

    def read(self, message_id: int) -> Frame:
        """Return one message by its id.

        Raises
        ------
        MessageNotFoundError
            If the files do not have it.
        PayloadGoneError
            If its payload had left memory before it could be kept.
        CorruptRecordError
            If its payload is damaged.
        """
        frame = self._recording.find(message_id)
        if frame is None:
            raise MessageNotFoundError(str(self.address), message_id, f"it is not in {self.path}")
        return frame

    def read_range(self, first_id: int, last_id: int) -> Iterator[Frame]:
        """Yield the messages of a range of ids, both included, in order of id; missing ones are passed over."""
        for message_id in range(first_id, last_id + 1):
            try:
                yield self.read(message_id)
            except (MessageNotFoundError, PayloadGoneError) as error:
                log.debug("%s", error)

    def newest(self, timeout_s: float | None = None, *, group: str | None = None) -> Frame:
        """Return the last message, once.

        Raises
        ------
        StreamFinishedError
            If it was given, or there is none.
        GroupNeedsBrokerError
            If a group is named.
        """
        if group is not None:
            self._refuse(f"group {group!r}")
        frame = None if self._newest_given else self._recording.last()
        if frame is None:
            raise StreamFinishedError(str(self.address), self._last_id(self.state), self.state.next_stream)
        self._newest_given = True
        return self._count(frame)

    # --- what needs a broker -----------------------------------------------------------------------------------

    def acknowledge(self, what: Frame | int | range) -> None:
        """Raise `GroupNeedsBrokerError`: there is no group that could be done with it."""
        self._refuse("acknowledging")

    def negative_acknowledge(self, frame: Frame, delay_s: float | None = None, why: str = "given back") -> None:
        """Raise `GroupNeedsBrokerError`: there is nobody to hand it to."""
        self._refuse("acknowledging")

    def has_report(self) -> bool:
        """Whether the group has kept a report: there is no group."""
        return False

    def report(self, text: str) -> None:
        """Raise `GroupNeedsBrokerError`: there is no group to keep it with."""
        self._refuse("a group's report")

    def _refuse(self, what: str) -> NoReturn:
        raise GroupNeedsBrokerError(self.path, what)

    def close(self) -> None:
        """Let the files go."""
        self._recording.close()
