"""One data source: finds its newest run and puts the newest pictures of it on the board, in a thread of its own.

Only what is shown is fetched: the newest frame, or the newest one whose peaks are known where the peak finder keeps up,
at the pace that somebody wants to see, and once a second for nobody. What cannot be shown is said once for each run,
and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import replace
from typing import Any, Literal

import numpy.typing as npt

from beamstream import Consumer
from beamstream.address import Address, SourceAddress
from beamstream.errors import (
    BeamstreamError,
    MessageNotFoundError,
    PayloadGoneError,
    ServerError,
    ShapeError,
    StreamNotFoundError,
)
from beamstream.frame import Frame
from beamstream.protocol import Entry, StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state
from beamstream.streams import newest_streams
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.picture import Kind, Picture
from beamstream_consumers.monitor.pictures.powders import Powder
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks, has_peaks, read_peaks
from beamstream_consumers.monitor.pictures.scene import Scene
from beamstream_consumers.peaks.errors import PeakMessageError

from .desk import Desk, KeptFrame
from .newest import newest_entry, newest_run
from .runs import Run, open_reader, waiting_document

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.02
"""How often the newest message is looked for while somebody watches [s]."""

IDLE_EVERY_S = 0.2
"""And while nobody does, or there is no run [s]."""

FIND_EVERY_S = 0.5
"""How often a newer run, and streams of peaks and hits, are looked for [s]."""

UNSEEN_EVERY_S = 1.0
"""How often pictures are made that nobody looks at, and powders [s]."""

KEEPS_UP_S = 1.0
"""As long as the peak finder is no further behind, frames wait for their peaks [s]."""

MAX_STREAMS = 100
"""Names of streams that the page is told."""

MAX_HIT_IDS = 1 << 20
"""Hits that are remembered, so that none is twice in the powder."""

FRAME_KINDS: tuple[Kind, ...] = ("frame", "sum", "max")
HIT_KINDS: tuple[Kind, ...] = ("hit", "hits-sum", "hits-max")


class SourceWatcher:
    """Watches one data source.

    Parameters
    ----------
    name : str
        What the page calls it.
    where : SourceAddress or Address
        A data source whose newest run is shown, or one stream.
    desk : Desk
        What is shared.

    Attributes
    ----------
    run : Run or None
        The run that is shown.
    """

    def __init__(self, name: str, where: SourceAddress | Address, desk: Desk) -> None:
        self.name = name
        self.where = where
        self.run: Run | None = None
        self._desk = desk
        self._server = Server(desk.broker)
        self._thread = threading.Thread(target=self._watch, name=f"monitor {name}", daemon=True)
        self._found_at = -FIND_EVERY_S
        self._shown = (0, False)
        self._shown_hit = 0
        self._shown_at: dict[Kind, float] = {}
        self._due_at: dict[Kind, float] = {}
        self._powder_sizes: dict[Kind, int] = {}
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin."""
        self._desk.board.put(waiting_document(self.name, []))
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, after the desk's `stop`."""
        self._thread.join()
        if self.run is not None:
            self.run.close()
        self._server.close()

    def reset_powders(self) -> None:
        """Begin the powders anew."""
        if (run := self.run) is not None:
            run.powder.reset()
            run.hits_powder.reset()

    # --- the loop ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._desk.stop.is_set():
            pause_s = LOOK_EVERY_S if self._is_wanted() else IDLE_EVERY_S
            try:
                self._look()
            except ServerError as error:  # the numbers say it
                log.debug("%s", error)
                pause_s = FIND_EVERY_S
            except BeamstreamError as error:
                self._say("warning", f"{self.name}: {error}")
                pause_s = IDLE_EVERY_S
            except Exception as error:  # whatever one source does to us, the others are shown
                log.exception("%s", self.name)
                self._desk.counts["troubles"] += 1
                self._say("error", f"{self.name}: {type(error).__name__}: {error}")
                pause_s = UNSEEN_EVERY_S
            self._desk.stop.wait(pause_s)

    def _is_wanted(self) -> bool:
        return self.run is not None and self._desk.wants.has(self.name, *FRAME_KINDS, *HIT_KINDS)

    def _say(self, level: Literal["warning", "error"], text: str) -> None:
        """Put something into the log, once for each run."""
        if text not in self._said and len(self._said) < 100:
            self._said.add(text)
            self._desk.board.note(level, text)

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._found_at >= FIND_EVERY_S:
            self._found_at = now_s
            self._find()
        run = self.run
        if run is None:
            return
        if self._is_due("frame", FRAME_KINDS):
            self._show_newest(run)
        if run.hits is not None and self._is_due("hit", HIT_KINDS):
            self._show_newest_hit(run, run.hits)
        self._show_powders(run)

    def _is_due(self, kind: Kind, wanted_for: tuple[Kind, ...]) -> bool:
        """Whether it is time for another picture, as far as anybody looks."""
        wanted = self._desk.wants.has(self.name, *wanted_for)
        due_s = self._due_at.get(kind, 0.0)
        return time.monotonic() >= (due_s if wanted else due_s - 1 / self._desk.fps + UNSEEN_EVERY_S)

    def _was_shown(self, kind: Kind) -> None:
        """Plan the next picture: in step with the pace, so that one that comes a little late costs none after it."""
        now_s, every_s = time.monotonic(), 1 / self._desk.fps
        self._due_at[kind] = max(self._due_at.get(kind, 0.0) + every_s, now_s + every_s / 2)

    # --- which run -----------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Look for a newer run, for peaks and hits, and for the end of the run."""
        address = newest_run(self._server, self.where)
        state = None if address is None else read_state(self._server, StreamKeys(address))
        run = self.run
        if address is None or state is None:
            if run is None and isinstance(self.where, Address) and address is not None:
                self._begin_if_there(address)
            elif run is not None:
                self._desk.board.note("warning", f"{run.address} is not on the server any more")
                self._leave()
            return
        if run is None or (run.address, run.created_ns) != (address, state.created_ns):
            self._begin(address, state)
            return
        changed = self._find_results(run)
        changed = self._note_end(run, state) or changed
        run.n_expected = state.n_expected
        if changed:
            self._tell(run, state)

    def _note_end(self, run: Run, state: StreamState) -> bool:
        """Say that the run has ended, once; whether it has just now."""
        if run.finished or not state.finished:
            return False
        run.finished = True
        text = f"{run.address} has ended: {state.word}, {state.n_received} messages"
        self._desk.board.note("info" if state.word == "complete" else "warning", text)
        return True

    def _begin_if_there(self, address: Address) -> None:
        """Begin with a stream that is named and may lie on disk only."""
        with contextlib.suppress(StreamNotFoundError), open_reader(address, self._desk.broker) as reader:
            self._begin(address, reader.state)

    def _begin(self, address: Address, state: StreamState) -> None:
        reader = open_reader(address, self._desk.broker)
        if (before := self.run) is not None:
            last = read_state(self._server, StreamKeys(before.address))
            if last is not None and last.created_ns == before.created_ns:
                self._note_end(before, last)
        self._leave()
        self._said.clear()
        self._shown, self._shown_hit = (0, False), 0
        self._shown_at, self._due_at, self._powder_sizes = {}, {}, {}
        run = Run(
            source=self.name,
            address=address,
            created_ns=state.created_ns,
            reader=reader,
            metadata=reader.metadata,
            n_expected=state.n_expected,
            finished=state.finished,
        )
        self._find_results(run)
        self.run = run
        expected = "" if state.n_expected is None else f", {state.n_expected} messages expected"
        what = f"has ended ({state.word})" if state.finished else "has begun"
        self._desk.board.note("info", f"{address} {what}{expected}")
        if state.n_parts > 1:
            self._say("warning", f"{address}: its messages have {state.n_parts} parts; the first one is shown")
        self._tell(run, state)

    def _leave(self) -> None:
        """Forget the run, and what was shown of it."""
        run, self.run = self.run, None
        if run is not None:
            self._desk.board.drop_pictures(self.name)
            self._desk.board.put(waiting_document(self.name, []))
            run.close()

    def _find_results(self, run: Run) -> bool:
        """Look for the streams of peaks and hits; whether there is another one."""
        before = run.peaks, run.hits
        run.peaks = self._derived(run, "peaks") if run.peaks is None else run.peaks
        run.hits = self._derived(run, "hits") if run.hits is None else run.hits
        return before != (run.peaks, run.hits)

    def _derived(self, run: Run, what: str) -> Consumer | None:
        address = Address(run.address.beamtime, f"{run.address.source}-{what}", run.address.name)
        if read_state(self._server, StreamKeys(address)) is None:
            return None
        try:
            return open_reader(address, self._desk.broker)
        except StreamNotFoundError:
            return None

    def _tell(self, run: Run, state: StreamState | None = None) -> None:
        """Put what is known of the run on the board."""
        state = state or run.reader.state
        source = run.address.source_address
        streams = [address.name for address in newest_streams(self._server, source, MAX_STREAMS)]
        self._desk.board.put(run.document(streams, state.expired_id + 1, state.next_id - 1))

    # --- pictures ------------------------------------------------------------------------------------------------

    def _show_newest(self, run: Run) -> None:
        """Show the newest frame, or the newest one whose peaks are known."""
        newest = newest_entry(self._server, run.address)
        if newest is None or newest.header is None:
            return
        for message_id, peaks in self._candidates(run, newest):
            said_of = (message_id, peaks is not None)
            if message_id < self._shown[0] or said_of in (self._shown, (self._shown[0], False)):
                return
            try:
                frame = run.reader.read(message_id)
            except (PayloadGoneError, MessageNotFoundError):
                self._desk.counts["gone"] += 1
                continue
            except ServerError:
                raise
            except BeamstreamError as error:
                self._refuse(run, message_id, error)
                continue
            self._shown = said_of
            self._was_shown("frame")
            self._show_frame(run, frame, peaks)
            return
        self._shown = (newest.message_id, False)

    def _candidates(self, run: Run, newest: Entry) -> list[tuple[int, Entry | None]]:
        """Return which message is to be shown, with the entry that says its peaks; the next one where it is gone."""
        alone: list[tuple[int, Entry | None]] = [(newest.message_id, None)]
        entry = None if run.peaks is None else newest_entry(self._server, run.peaks.address)
        if entry is None or entry.header is None or newest.header is None:
            return alone
        behind_s = (newest.header.timestamp_ns - entry.header.timestamp_ns) / 1e9
        if behind_s > KEEPS_UP_S or entry.message_id > newest.message_id:
            return alone
        return [(entry.message_id, entry), *alone]

    def _show_frame(self, run: Run, frame: Frame, peaks: Entry | None) -> None:
        try:
            array = frame.array()
            scene = self._scene(run, frame)
            said = self._read_said(run, frame, peaks)
            picture = make_picture(
                array,
                scene,
                source=self.name,
                kind="frame",
                stream=run.stream,
                message_id=frame.message_id,
                taken_ns=frame.header.timestamp_ns,
                said=said,
            )
        except ServerError:
            raise
        except BeamstreamError as error:
            self._refuse(run, frame.message_id, error)
            return
        self._desk.board.put_picture(picture)
        self._desk.counts["frames_shown"] += 1
        self._keep(run, frame, said, is_hit=False)
        run.powder.add(frame.message_id, frame.header.timestamp_ns, array)
        if said is not None and said.hit:
            self._add_hit(run, frame, array)
            if run.hits is None:
                self._desk.board.put_picture(_as_hit(picture))

    def _show_newest_hit(self, run: Run, hits: Consumer) -> None:
        entry = newest_entry(self._server, hits.address)
        if entry is None or entry.message_id == self._shown_hit:
            return
        self._shown_hit = entry.message_id
        self._was_shown("hit")
        shown = self._desk.board.picture(self.name, "frame")
        if shown is not None and shown.message_id == entry.message_id and shown.about.peaks is not None:
            kept = self._desk.history.get((self.name, False, run.stream, run.created_ns, entry.message_id))
            if kept is not None:
                self._keep(run, kept.frame, kept.said, is_hit=True)
            self._desk.board.put_picture(_as_hit(shown))
            return
        try:
            frame = hits.read(entry.message_id)
            array = frame.array()
            scene = self._scene(run, frame)
            said = self._read_said(run, frame, None)
            picture = make_picture(
                array,
                scene,
                source=self.name,
                kind="hit",
                stream=run.stream,
                message_id=frame.message_id,
                taken_ns=frame.header.timestamp_ns,
                said=said,
            )
        except ServerError:
            raise
        except (PayloadGoneError, MessageNotFoundError):
            self._desk.counts["gone"] += 1
            return
        except BeamstreamError as error:
            self._refuse(run, entry.message_id, error)
            return
        self._desk.board.put_picture(picture)
        self._desk.counts["hits_shown"] += 1
        self._keep(run, frame, said, is_hit=True)
        self._add_hit(run, frame, array)

    def _add_hit(self, run: Run, frame: Frame, array: npt.NDArray[Any]) -> None:
        if frame.message_id not in run.hit_ids and len(run.hit_ids) < MAX_HIT_IDS:
            run.hit_ids.add(frame.message_id)
            run.hits_powder.add(frame.message_id, frame.header.timestamp_ns, array)

    def _scene(self, run: Run, frame: Frame) -> Scene:
        """Return the scene of a frame; the first one of a run tells the page what there is to see."""
        shape = frame.shape
        if len(shape) != 2:
            raise ShapeError(f"message {frame.message_id} has shape {shape}; an image is (n_slow, n_fast)")
        scene = self._desk.scenes.of(self.name, run.address, run.created_ns, run.metadata, (shape[0], shape[1]))
        if scene is not run.scene or run.dtype != frame.header.dtype:
            run.scene, run.dtype = scene, frame.header.dtype
            for flaw in scene.flaws:
                self._say("warning", f"{run.address}: {flaw}")
            self._tell(run)
        return scene

    def _read_said(self, run: Run, frame: Frame, peaks: Entry | None) -> SaidPeaks | None:
        """Read what is said of a frame, by an entry of the stream of peaks or by the frame itself."""
        if peaks is not None and peaks.header is not None:
            metadata = peaks.header.metadata
        elif has_peaks(frame.metadata):
            metadata = frame.metadata
        else:
            return None
        try:
            return read_peaks(frame.message_id, metadata, (frame.shape[0], frame.shape[1]))
        except PeakMessageError as error:
            self._desk.counts["peaks_unreadable"] += 1
            self._say("warning", f"{run.address}: peaks cannot be shown: {error}")
            return None

    def _keep(self, run: Run, frame: Frame, said: SaidPeaks | None, *, is_hit: bool) -> None:
        key = (self.name, is_hit, run.stream, run.created_ns, frame.message_id)
        self._desk.history.put(key, KeptFrame(frame, said), frame.header.payload_bytes + 4096)

    def _refuse(self, run: Run, message_id: int, error: BeamstreamError) -> None:
        """Count a message that cannot be shown; the log hears of the first one of each kind."""
        self._desk.counts["unreadable"] += 1
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            self._desk.board.note("warning", f"{run.address}, message {message_id} cannot be shown: {error}")

    # --- powders -------------------------------------------------------------------------------------------------

    def _show_powders(self, run: Run) -> None:
        """Show the powders that somebody looks at, once a second where they have changed."""
        kinds: tuple[tuple[Kind, Powder, int], ...] = (
            ("sum", run.powder, 0),
            ("max", run.powder, 1),
            ("hits-sum", run.hits_powder, 0),
            ("hits-max", run.hits_powder, 1),
        )
        now_s = time.monotonic()
        for kind, powder, which in kinds:
            if not self._desk.wants.has(self.name, kind) or self._powder_sizes.get(kind) == powder.n_frames:
                continue
            if now_s - self._shown_at.get(kind, -UNSEEN_EVERY_S) >= UNSEEN_EVERY_S:
                self._shown_at[kind] = now_s
                self._powder_sizes[kind] = powder.n_frames
                picture = powder_picture(run, powder, kind, which)
                if picture is not None:
                    self._desk.board.put_picture(picture)


def powder_picture(run: Run, powder: Powder, kind: Kind, which: int) -> Picture | None:
    """Return the picture of a powder; None while there is nothing in it."""
    image = powder.image(which)
    if image is None or run.scene is None or image.shape != run.scene.frame_shape:
        return None
    return make_picture(
        image,
        run.scene,
        source=run.source,
        kind=kind,
        stream=run.stream,
        message_id=powder.newest_id,
        taken_ns=powder.newest_ns,
        n_frames=powder.n_frames,
    )


def _as_hit(picture: Picture) -> Picture:
    """Return the picture of a frame as that of a hit; what is made of one is made of both."""
    return replace(picture, kind="hit", number=picture.number)
