"""What all viewers share: the board's changes brought into the event loop, packed pictures, limits and counters.

The board calls from the watchers' threads; here a call only schedules another one in the loop, and that one wakes the
viewers. Each then looks at the board itself, so whatever came in between is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from beamstream.metrics import Snapshot
from beamstream_consumers.monitor.board import MAX_LOG, Board, Change, Document, NewDocument
from beamstream_consumers.monitor.pictures.picture import Kind
from beamstream_consumers.monitor.requests import Archive

from .encodings import Encodings
from .limits import Limits, Pacer
from .messages import text_of
from .outbox import Outbox, Slot
from .recent import Recent

N_ENCODERS = 2
"""Threads that pack pictures: 5 ms for 4.5 Mpixel, so two keep up with all sources and views of a beamline."""

N_READERS = 2
"""Threads that look for other messages and exact pixels; apart, because a broker or a disk may keep them waiting."""


EVENTS = (
    "viewers", "requests", "pictures", "pictures_drawn", "stalls", "lookups_failed",
    "sent_away_message", "sent_away_too_fast", "sent_away_stalled",
    "refused_full", "refused_host", "refused_origin", "refused_role", "refused_token",
    "control_requests", "control_refused",
)  # fmt: skip
"""What is counted; each is there from the start, so that nothing of it is the same as never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the page is told first.

    Attributes
    ----------
    sources : sequence of str
        Addresses of the data sources, in order.
    offline : bool
        Whether these are files.
    """

    sources: Sequence[str]
    offline: bool = False


class Listener(Protocol):
    """What the hub knows of a viewer."""

    outbox: Outbox

    def wake(self) -> None:
        """Look whether there is something new."""
        ...

    @property
    def is_stalled(self) -> bool:
        """Whether an acknowledgement has been due for long."""
        ...


@dataclass(slots=True)
class Counts:
    """What has happened; written in the loop, read from anywhere."""

    events: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(EVENTS, 0)))
    picture_bytes: int = 0


class Hub:
    """Where viewers and the board meet.

    Parameters
    ----------
    board : Board
        What there is to be seen.
    archive : Archive
        What there was.
    facts : Facts
        What is watched.
    limits : Limits
        What viewers may use.
    wanted : callable
        Is told again and again of which source and kind somebody wants pictures.
    """

    def __init__(
        self,
        board: Board,
        archive: Archive,
        facts: Facts,
        limits: Limits,
        *,
        wanted: Callable[[str, Kind], None] = lambda _source, _kind: None,
    ) -> None:
        self.board = board
        self.archive = archive
        self.wanted = wanted
        self.facts = facts
        self.limits = limits
        self.counts = Counts()
        self.recent = Recent()
        self.pacer = Pacer(limits.max_mbit_s * 1e6 or None)
        self.viewers: set[Listener] = set()
        self.is_closing = False
        self._log: deque[Mapping[str, Any]] = deque(maxlen=MAX_LOG)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Listen to the board; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._encoders = ThreadPoolExecutor(N_ENCODERS, "monitor-encoder")
        self._readers = ThreadPoolExecutor(N_READERS, "monitor-reader")
        self.encodings = Encodings(self._encoders)
        self._unsubscribe = self.board.subscribe(self._changed)
        for document in self.board.documents():
            if document["t"] == "log":
                self._log.extend(document["entries"])

    def stop(self) -> None:
        """Listen no more, and let every viewer end."""
        self._unsubscribe()
        self.is_closing = True
        for viewer in self.viewers:
            viewer.wake()
        self._encoders.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def read(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call something that may take its time, in a thread for such."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, call, *arguments)

    # --- viewers -----------------------------------------------------------------------------------------------

    def join(self, viewer: Listener) -> None:
        """Let a viewer have all that there is, and what comes."""
        self.viewers.add(viewer)
        self.counts.events["viewers"] += 1
        for document in self.board.documents():
            if document["t"] != "log":
                viewer.outbox.put(_slot(document), text_of(document))
        viewer.outbox.log(list(self._log))

    def leave(self, viewer: Listener) -> None:
        """Forget a viewer."""
        self.viewers.discard(viewer)

    def snapshot(self) -> Snapshot:
        """Return what is counted, for metrics; from any thread."""
        viewers = list(self.viewers)
        return Snapshot(
            events=dict(self.counts.events),
            payload_bytes=self.counts.picture_bytes,
            levels={"viewers": len(viewers), "viewers_stalled": sum(viewer.is_stalled for viewer in viewers)},
        )

    # --- the board ---------------------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """Be told by the board, in a watcher's thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended since the board looked who listens
                loop.call_soon_threadsafe(self._deliver, change)

    def _deliver(self, change: Change) -> None:
        if isinstance(change, NewDocument):
            self._deliver_document(change.document)
        for viewer in self.viewers:
            viewer.wake()

    def _deliver_document(self, document: Document) -> None:
        if document["t"] == "log":
            entries = [entry for entry in document["entries"] if not any(entry is known for known in self._log)]
            self._log.extend(entries)
            for viewer in self.viewers:
                viewer.outbox.log(entries)
        elif self.viewers:
            slot, text = _slot(document), text_of(document)
            for viewer in self.viewers:
                viewer.outbox.put(slot, text)


def _slot(document: Document) -> Slot:
    return str(document["t"]), str(document.get("source", ""))
