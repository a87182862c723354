"""A recording in files as a data source with one finished run: the first picture at once, any other by its id.

Powders are made by going through the files in the background, as long as somebody looks at them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beamstream import Consumer
from beamstream.address import Address
from beamstream.errors import BeamstreamError, MessageNotFoundError, StreamFinishedError, StreamNotFoundError
from beamstream.frame import Frame
from beamstream.offline import path_receipt
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.picture import KINDS, Kind
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks, has_peaks, read_peaks

from .desk import Desk
from .numbers import numbers_of, unknown_buffer, waiting_numbers
from .run_pictures import UNSEEN_EVERY_S, powder_picture
from .runs import Run

log = logging.getLogger(__name__)

NUMBERS_EVERY_S = 0.5
"""How often numbers are put on the board [s]."""

LOOK_AROUND = 2000
"""Ids that are looked through for a neighbour; ids that are missing in a longer stretch end the search."""

POWDERS: tuple[Kind, ...] = ("sum", "max", "hits-sum", "hits-max")

NO_BROKER = "a recording in files: there is no broker"


class FileStore:
    """The streams of one recording, for the archive: there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_id: int | None = None

    def open(self, address: Address) -> Consumer:
        """Return a reader of the recording.

        Raises
        ------
        StreamNotFoundError
            If another stream is asked for.
        """
        consumer = Consumer(self._path)
        if consumer.address != address:
            consumer.close()
            raise StreamNotFoundError(str(address), [str(consumer.address)])
        return consumer

    def made_ns(self, consumer: Consumer) -> int:
        """Return 0: a recording stays what it is."""
        return 0

    def ids_beside(self, consumer: Consumer, message_id: int, by: int, *, only_hits: bool = False) -> list[int]:
        """Return the ids of up to `by` messages after (or before) one, the nearest first."""
        if self._last_id is None:
            self._last_id = consumer.state.next_id - 1
        step = 1 if by > 0 else -1
        found: list[int] = []
        at = min(max(message_id, 0), self._last_id + 1)
        for _ in range(LOOK_AROUND):
            at += step
            if not 1 <= at <= self._last_id or len(found) == abs(by):
                break
            try:
                frame = consumer.read(at)
            except MessageNotFoundError:
                continue
            except BeamstreamError:
                found.append(at)  # there is one, and why it cannot be shown is said when it is asked for
                continue
            if not only_hits or _is_hit(frame):
                found.append(at)
        return found

    def close(self) -> None:
        """Nothing is held."""


class FileWatcher:
    """Shows a recording in files.

    Parameters
    ----------
    path : Path
        Where it lies.
    desk : Desk
        What is shared.
    n_viewers : callable
        Tells how many viewers there are.

    Raises
    ------
    NoRecordingError, RecordingFormatError, SegmentFormatError
        If there is none, or it cannot be read.
    """

    def __init__(self, path: Path, desk: Desk, n_viewers: Callable[[], int]) -> None:
        self._path = path
        self._desk = desk
        self._n_viewers = n_viewers
        self._reader = Consumer(path)
        self.address = self._reader.address
        self.name = str(self.address.source_address)
        self.run: Run | None = None
        self._numbers: dict[str, Any] = waiting_numbers()
        self._hits: dict[str, Any] | None = None
        self._said: set[str] = set()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"monitor {name}", daemon=True)
            for name, work in (("file", self._show), ("numbers", self._count), ("powder", self._add_up))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end, after the desk's `stop`."""
        for thread in self._threads:
            thread.join()
        self._reader.close()

    def reset_powders(self) -> None:
        """Begin the powders anew."""
        if (run := self.run) is not None:
            run.powder.reset()
            run.hits_powder.reset()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BeamstreamError as error:
            self._desk.board.note("error", f"{self._path}: {error}")
        except Exception as error:  # whatever a file does to us, the page stays
            log.exception("%s", self._path)
            self._desk.counts["troubles"] += 1
            self._desk.board.note("error", f"{self._path}: {type(error).__name__}: {error}")

    # --- what is there -------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Show the first picture, then say what there is."""
        run = Run(
            source=self.name,
            address=self.address,
            created_ns=0,
            reader=self._reader,
            metadata=self._reader.metadata,
            finished=True,
        )
        with contextlib.suppress(StreamFinishedError):
            while not self._desk.stop.is_set() and not self._show_first(run, self._reader.next()):
                pass
        self.run = run
        state = self._reader.state
        self._numbers = numbers_of(run.stream, state)
        run.n_expected, run.created_ns = state.n_expected, state.created_ns
        self._tell(run, state.next_id - 1)
        self._desk.board.note("info", f"{self._path} has {state.n_received} messages")
        receipt = path_receipt(self._path).as_dict()
        self._desk.board.put({"t": "receipt", "source": self.name, "stream": run.stream, "receipt": receipt})

    def _show_first(self, run: Run, frame: Frame) -> bool:
        """Show a frame, and whether that could be done."""
        try:
            said, array = _said(frame), frame.array()
            if len(frame.shape) != 2:
                return False
            shape = (frame.shape[0], frame.shape[1])
            run.scene = self._desk.scenes.of(self.name, run.address, 0, run.metadata, shape)
            run.dtype = frame.header.dtype
            self._tell(run, frame.message_id)
            kinds: list[Kind] = ["frame", "hit"] if said is not None and said.hit else ["frame"]
            for kind in kinds:
                picture = make_picture(
                    array,
                    run.scene,
                    source=self.name,
                    kind=kind,
                    stream=run.stream,
                    message_id=frame.message_id,
                    taken_ns=frame.header.timestamp_ns,
                    said=said,
                )
                self._desk.board.put_picture(picture)
        except BeamstreamError as error:
            self._refuse(frame.message_id, error)
            return False
        return True

    def _tell(self, run: Run, last_id: int) -> None:
        document = run.document([run.stream], 1, last_id)
        shown = self._desk.board.picture(self.name, "frame")
        has_said = shown is not None and shown.about.peaks is not None
        kinds = list(KINDS) if has_said else ["frame", "sum", "max"]
        created_s = document["created_s"] or None
        self._desk.board.put({**document, "kinds": kinds, "created_s": created_s})

    def _refuse(self, message_id: int, error: BeamstreamError) -> None:
        self._desk.counts["unreadable"] += 1
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            self._desk.board.note("warning", f"message {message_id} cannot be shown: {error}")

    # --- numbers -------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        while True:
            document = {
                "t": "numbers",
                "time_s": time.time(),
                "sources": {self.name: {**self._numbers, "hits": self._hits}},
                "groups": [],
                "buffer": unknown_buffer(NO_BROKER),
                "viewers": self._n_viewers(),
            }
            self._desk.board.put(document)
            if self._desk.stop.wait(NUMBERS_EVERY_S):
                return

    # --- powders -------------------------------------------------------------------------------------------------

    def _add_up(self) -> None:
        """Go through the files once, while somebody wants a powder, and show it as it grows."""
        reader: Consumer | None = None
        shown_s, ended = 0.0, False
        try:
            while not self._desk.stop.is_set():
                run = self.run
                if run is None or ended or not self._desk.wants.has(self.name, *POWDERS):
                    self._desk.stop.wait(0.1)
                    continue
                reader = reader or Consumer(self._path)
                try:
                    self._add(run, reader.next())
                except StreamFinishedError:
                    ended = True
                if ended or time.monotonic() - shown_s >= UNSEEN_EVERY_S:
                    shown_s = time.monotonic()
                    self._show_powders(run)
        finally:
            if reader is not None:
                reader.close()

    def _add(self, run: Run, frame: Frame) -> None:
        try:
            array, said = frame.array(), _said(frame)
            if run.scene is None or array.shape != run.scene.frame_shape:
                return
            run.powder.add(frame.message_id, frame.header.timestamp_ns, array)
            if said is not None and said.hit:
                run.hits_powder.add(frame.message_id, frame.header.timestamp_ns, array)
        except BeamstreamError as error:
            self._refuse(frame.message_id, error)

    def _show_powders(self, run: Run) -> None:
        powders = (run.powder, run.powder, run.hits_powder, run.hits_powder)
        for which, (kind, powder) in enumerate(zip(POWDERS, powders, strict=True)):
            if (picture := powder_picture(run, powder, kind, which % 2)) is not None:
                self._desk.board.put_picture(picture)


def _said(frame: Frame) -> SaidPeaks | None:
    """Return the peaks that a frame has with it; None where it has none, or none that can be read."""
    if not has_peaks(frame.metadata) or len(frame.shape) != 2:
        return None
    try:
        return read_peaks(frame.message_id, frame.metadata, (frame.shape[0], frame.shape[1]))
    except BeamstreamError as error:
        log.debug("%s", error)
        return None


def _is_hit(frame: Frame) -> bool:
    said = _said(frame)
    return said is not None and said.hit
