"""The pictures of one run: the newest frame, the newest hit, the powders, each no more often than somebody looks.

Only what is shown is fetched: the newest frame, or the newest one whose peaks are known where the peak finder keeps up.
What cannot be shown is said once for each run, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy.typing as npt

from beamstream import Consumer
from beamstream.errors import (
    BeamstreamError,
    FetchError,
    MessageNotFoundError,
    PayloadGoneError,
    ServerError,
    ShapeError,
)
from beamstream.frame import Frame
from beamstream.protocol import Entry
from beamstream.protocol.client import Server
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.picture import Kind, Picture
from beamstream_consumers.monitor.pictures.powders import Powder
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks, has_peaks, read_peaks
from beamstream_consumers.monitor.pictures.scene import Scene
from beamstream_consumers.peaks.errors import PeakMessageError

from .desk import Desk, KeptFrame
from .newest import newest_entry
from .runs import Run

UNSEEN_EVERY_S = 1.0
"""How often pictures are made that nobody looks at, and powders [s]."""

KEEPS_UP_S = 1.0
"""As long as the peak finder is no further behind, frames wait for their peaks [s]."""

MAX_HIT_IDS = 1 << 20
"""Hits that are remembered, so that none is twice in the powder."""

MAX_SAID = 100
"""Different things that the log is told of one run."""

FRAME_KINDS: tuple[Kind, ...] = ("frame", "sum", "max")
HIT_KINDS: tuple[Kind, ...] = ("hit", "hits-sum", "hits-max")


class RunPictures:
    """Shows one run.

    Parameters
    ----------
    run : Run
        The run.
    server : Server
        Where it is.
    desk : Desk
        What is shared.
    tell : callable
        Puts what is known of the run on the board, once there is more.
    """

    def __init__(self, run: Run, server: Server, desk: Desk, tell: Callable[[], None]) -> None:
        self.name = run.source
        self._run = run
        self._server = server
        self._desk = desk
        self._tell = tell
        self._shown = (0, False)
        self._shown_hit = 0
        self._shown_at: dict[Kind, float] = {}
        self._due_at: dict[Kind, float] = {}
        self._powder_sizes: dict[Kind, int] = {}
        self._said: set[str] = set()
        self._generation = desk.scenes.generation(run.source)

    def look(self) -> None:
        """Show what is new and due.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        run = self._run
        if (generation := self._desk.scenes.generation(self.name)) != self._generation:
            self._generation = generation
            self._shown, self._shown_hit = (0, False), 0  # once more, with the other mask or geometry
            self._powder_sizes = {}
        if self._is_due("frame", FRAME_KINDS):
            self._show_newest(run)
        if run.hits is not None and self._is_due("hit", HIT_KINDS):
            self._show_newest_hit(run, run.hits)
        self._show_powders(run)

    def say(self, level: Literal["warning", "error"], text: str) -> None:
        """Put something into the log, once for each run."""
        if text not in self._said and len(self._said) < MAX_SAID:
            self._said.add(text)
            self._desk.board.note(level, text)

    def _is_due(self, kind: Kind, wanted_for: tuple[Kind, ...]) -> bool:
        """Whether it is time for another picture, as far as anybody looks."""
        wanted = self._desk.wants.has(self.name, *wanted_for)
        due_s = self._due_at.get(kind, 0.0)
        return time.monotonic() >= (due_s if wanted else due_s - 1 / self._desk.fps + UNSEEN_EVERY_S)

    def _was_shown(self, kind: Kind) -> None:
        """Plan the next picture: in step with the pace, so that one that comes a little late costs none after it."""
        now_s, every_s = time.monotonic(), 1 / self._desk.fps
        self._due_at[kind] = max(self._due_at.get(kind, 0.0) + every_s, now_s + every_s / 2)

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
            except FetchError as error:  # it lies on the disk of a host that does not give it
                self._refuse(run, message_id, error)
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
            said, picture = self._make(run, frame, array, "frame", peaks)
        except ServerError:
            raise
        except BeamstreamError as error:
            self._refuse(run, frame.message_id, error)
            return
        self._desk.board.put_picture(picture)
        self._desk.counts["frames_shown"] += 1
        self._keep(run, frame, said, is_hit=False)
        if frame.message_id > run.powder.newest_id:  # it may be shown again, with its peaks
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
            said, picture = self._make(run, frame, array, "hit", None)
        except FetchError as error:
            self._refuse(run, entry.message_id, error)
            return
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

    def _make(
        self, run: Run, frame: Frame, array: npt.NDArray[Any], kind: Kind, peaks: Entry | None
    ) -> tuple[SaidPeaks | None, Picture]:
        """Return what is said of a frame, and its picture."""
        scene = self._scene(run, frame)
        said = self._read_said(run, frame, peaks)
        picture = make_picture(
            array,
            scene,
            source=self.name,
            kind=kind,
            stream=run.stream,
            message_id=frame.message_id,
            taken_ns=frame.header.timestamp_ns,
            said=said,
        )
        return said, picture

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
                self.say("warning", f"{run.address}: {flaw}")
            self._tell()
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
            self.say("warning", f"{run.address}: peaks cannot be shown: {error}")
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
