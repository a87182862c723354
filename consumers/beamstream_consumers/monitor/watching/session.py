"""`Watching`: all data sources of one monitor, from their threads to the board.

Best effort throughout: it is no member of any group, acknowledges nothing and holds nothing back. What goes wrong with
one source is said in the log and ends nothing else; a server that is lost is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from beamstream.address import Address, SourceAddress
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.pictures.history import Bounded
from beamstream_consumers.monitor.pictures.picture import Kind
from beamstream_consumers.monitor.requests import Archive, Control

from .archive import StreamArchive
from .broker_store import BrokerStore
from .control import PeakControl
from .desk import Desk, HistoryKey, KeptFrame
from .files import FileStore, FileWatcher
from .numbers import NumbersLoop
from .runs import Run
from .scenes import Scenes
from .source import SourceWatcher
from .tally import Tally
from .warming import Warming

FPS = 10.0
"""Pictures of a kind that are made in a second while somebody looks [Hz]: what a browser without a GPU draws."""

HISTORY_BYTES = 256 << 20
"""What is kept of the last frames, compressed as they came [bytes]: some 150 frames of 4M pixels."""


class _Thread(Protocol):
    def start(self) -> None: ...
    def join(self) -> None: ...


class Watching:
    """Follows data sources, and answers what viewers ask of them.

    Parameters
    ----------
    board : Board
        Where pictures and documents are put.
    broker : str or None
        The broker's URL; of no meaning for a path.
    what : sequence of SourceAddress and Address, or path
        Data sources, each of which shows its newest stream; streams, which stay; or one recording in files.
    fps : float
        Most pictures of a source and kind in a second [Hz].
    mask : (n_slow, n_fast) array, optional
        More bad pixels, not 0 where bad, as frames lie in memory.
    geometry : str, optional
        Text of a .geom or .poni file, see `geometry_text`; else what the stream's metadata say.
    history_bytes : int
        How much is kept of the last frames, for stepping back [bytes].
    allow_control : bool
        Whether there is a `control`.

    Attributes
    ----------
    sources : list of str
        Names of the data sources, as documents and pictures have them, in order.
    offline : bool
        Whether it is a recording in files.
    archive : Archive
        What viewers may ask for.
    control : Control or None
        What operators may change.
    n_viewers : callable
        Tells how many viewers there are, for the numbers; the web server sets it.
    """

    sources: list[str]
    offline: bool
    archive: Archive
    control: Control | None
    n_viewers: Callable[[], int]

    def __init__(
        self,
        board: Board,
        broker: str | None,
        what: Sequence[SourceAddress | Address] | str | os.PathLike[str],
        *,
        fps: float = FPS,
        mask: npt.NDArray[Any] | None = None,
        geometry: str | None = None,
        history_bytes: int = HISTORY_BYTES,
        allow_control: bool = False,
    ) -> None:
        self.offline = False
        self.control = None
        self._control: PeakControl | None = None
        self.n_viewers = lambda: 0
        bounded: Bounded[HistoryKey, KeptFrame] = Bounded(history_bytes)
        self._desk = Desk(board=board, broker=broker, fps=fps, scenes=Scenes(mask, geometry), history=bounded)
        self._store: BrokerStore | FileStore
        if isinstance(what, str | os.PathLike):
            self._watch_files(Path(what).expanduser())
        else:
            self._watch_broker(list(what), allow_control=allow_control)

    def _watch_files(self, path: Path) -> None:
        watcher = FileWatcher(path, self._desk, lambda: self.n_viewers())
        self.offline, self.sources = True, [watcher.name]
        self._store = FileStore(path)
        self._archive = StreamArchive(self._desk, {watcher.name: watcher.address}, self._store)
        self.archive = self._archive
        self._threads: list[_Thread] = [watcher, Warming(self._desk.stop)]

    def _watch_broker(self, where: list[SourceAddress | Address], *, allow_control: bool) -> None:
        broker = self._desk.broker
        self.sources = [str(one) for one in where]
        self._watchers = [SourceWatcher(str(one), one, self._desk) for one in where]
        self._tallies = [Tally(watcher.name, _run_of(watcher), self._desk) for watcher in self._watchers]
        self._store = BrokerStore(broker)
        self._archive = StreamArchive(self._desk, dict(zip(self.sources, where, strict=True)), self._store)
        self.archive = self._archive
        self._numbers = NumbersLoop(self._desk, self._watchers, self._tallies, lambda: self.n_viewers())
        self._control = PeakControl(self._desk, self._watchers, self._archive) if allow_control else None
        self.control = self._control
        self._threads = [*self._watchers, *self._tallies, self._numbers, Warming(self._desk.stop)]

    def start(self) -> None:
        """Begin to watch; returns at once, whether there is a server or not."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads, and let connections and files go."""
        self._desk.stop.set()
        for thread in self._threads:
            thread.join()
        if self._control is not None:
            self._control.close()
        self._archive.close()
        self._store.close()

    @property
    def counts(self) -> Mapping[str, int]:
        """What was shown, what was gone, unreadable, in trouble: for progress and metrics."""
        return dict(self._desk.counts)

    def wanted(self, source: str, kind: Kind) -> None:
        """Say that somebody looks at pictures of this source and kind.

        Holds for `wants.WANTED_S` seconds: to be said again, e.g. with every picture that is sent and once a second for
        panes that wait. Without it frames come once a second and powders not at all.
        """
        self._desk.wants.say(source, kind)


def _run_of(watcher: SourceWatcher) -> Callable[[], Run | None]:
    return lambda: watcher.run
