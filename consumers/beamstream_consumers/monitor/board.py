"""The board: where watchers put the newest pictures and documents, and where viewers find them.

It holds the newest of each and nothing else: one picture for each data source and kind, one document for each type and
data source, and a short log. So whoever is slow misses what was in between, and costs nothing. Watchers put from their
threads; whoever has subscribed is called there, and must not wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .pictures.picture import Kind, Picture

MAX_LOG = 200
"""Entries of the log that are kept."""

Document = Mapping[str, Any]
"""A text message of the protocol: its type in ``t``, its data source, if it is of one, in ``source``."""


@dataclass(frozen=True, slots=True)
class NewPicture:
    """A picture of this source and kind has come."""

    source: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document has come, for all viewers."""

    document: Document


Change = NewPicture | NewDocument


class Board:
    """What is known now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[tuple[str, Kind], Picture] = {}
        self._documents: dict[tuple[str, str], Document] = {}
        self._log: deque[Document] = deque(maxlen=MAX_LOG)
        self._listeners: list[Callable[[Change], None]] = []

    # --- watchers ----------------------------------------------------------------------------------------------

    def put_picture(self, picture: Picture) -> None:
        """Let this be the newest picture of its source and kind."""
        with self._lock:
            self._pictures[picture.source, picture.kind] = picture
        self._tell(NewPicture(picture.source, picture.kind))

    def drop_pictures(self, source: str) -> None:
        """Forget the pictures of a source: it has another run now."""
        with self._lock:
            for key in [key for key in self._pictures if key[0] == source]:
                del self._pictures[key]

    def put(self, document: Document, *, quietly: bool = False) -> None:
        """Let this be the newest document of its type and source; `quietly`, only those who come later get it."""
        with self._lock:
            self._documents[str(document["t"]), str(document.get("source", ""))] = document
        if not quietly:
            self._tell(NewDocument(document))

    def note(self, level: Literal["info", "warning", "error"], text: str) -> None:
        """Add an entry to the log."""
        entry = {"time_s": time.time(), "level": level, "text": text}
        with self._lock:
            self._log.append(entry)
        self._tell(NewDocument({"t": "log", "entries": [entry]}))

    def _tell(self, change: Change) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(change)

    # --- viewers -----------------------------------------------------------------------------------------------

    def picture(self, source: str, kind: Kind) -> Picture | None:
        """Return the newest picture of a source and kind; None while there is none."""
        with self._lock:
            return self._pictures.get((source, kind))

    def documents(self) -> list[Document]:
        """Return the newest document of each type and source, and the log, for a viewer that has just come."""
        with self._lock:
            return [*self._documents.values(), {"t": "log", "entries": list(self._log)}]

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` with each change, in the thread that made it; the result ends that."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe
