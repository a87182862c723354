"""The loop over files: the same handler, the frames of a recording, no group.

Nobody else shares the work, and nobody keeps how far it is; so a frame that cannot be handled is counted and passed
by, and the exit status says so. What the files lack, or a frame that was passed by, is told to the handler as a gap, in
its place. A handler that knows how far it was (`Continuing`) goes on there; others begin anew. A recording without an
end ends as incomplete, and an interrupted service leaves what it writes open.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Protocol, runtime_checkable

from beamstream.consumer.feed import Start
from beamstream.errors import BeamstreamError, CannotGoOnError, StreamFinishedError, UsageError
from beamstream.frame import STATED, Frame, Gap
from beamstream.metrics import Snapshot
from beamstream.offline import OfflineReader
from beamstream.parameters import Tunable
from beamstream.protocol.client import Server
from beamstream.service.shell import Shell

from .handler import Handler, StreamEnd, StreamStart, commits_of
from .intake import DEFAULT_INTAKE, Intake
from .patience import NOT_NOW, Patience

log = logging.getLogger(__name__)


@runtime_checkable
class Continuing(Protocol):
    """What a handler may be beside: one that publishes to a broker, and so knows what is done already."""

    def next_id(self) -> int:
        """Return the first message id for which something is missing, once it is open."""
        ...


class OfflineLoop:
    """Gives the frames of one recording to a handler.

    Parameters
    ----------
    handler : Handler
        What is done with the frames.
    path : Path
        Where they are.
    broker : str
        URL of the broker, for handlers that publish.
    intake : Intake
        Where it begins, and which part of the messages is wanted.
    """

    def __init__(self, handler: Handler, path: Path, broker: str, intake: Intake = DEFAULT_INTAKE) -> None:
        self._handler = handler
        self._path = path
        self._broker = broker
        self._intake = intake
        self._reader = self._read_from(intake.start)
        self._state = self._reader.state
        self._passed_id = 0
        self._commits = commits_of(handler)
        self._n_uncommitted = self._uncommitted_bytes = 0
        self._committed_at = 0.0
        self._patience = Patience(handler.name)
        self.n_handled = self.n_failed = self.n_there = 0

    def _read_from(self, start: Start) -> OfflineReader:
        return OfflineReader(self._path, start=start, part=self._intake.part)

    def run(self, shell: Shell) -> None:
        """Handle everything that there is, or until the service is to stop."""
        try:
            if self._patience.until_possible(self._open, shell):
                self._read(shell)
        finally:
            self._reader.close()

    def _open(self) -> None:
        processor = getattr(self._handler, "processor", self._handler)
        if isinstance(processor, Tunable):
            processor.tune(processor.parameters.initial)
        self._handler.open(
            StreamStart(
                address=self._reader.address,
                metadata=self._reader.metadata,
                n_expected=self._state.n_expected,
                broker=self._broker,
                n_parts=1 if self._intake.part is not None else self._state.n_parts,
            )
        )
        log.info("%s: %s begins, as %s", self._handler.name, self._path, self._reader.address)

    def _read(self, shell: Shell) -> None:
        ended = False
        try:
            self._go_on_where_it_was()
            while not shell.stop.is_set() and not ended:
                shell.progress.tick()
                ended = not self._take_next(shell)
                if ended or shell.stop.is_set() or self._is_commit_due():
                    self._patience.until_possible(self._commit, shell)
        except Exception:
            self._handler.close(None)
            raise
        end = self._end() if ended and not shell.stop.is_set() else None
        if not self._patience.until_possible(lambda: self._close(end), shell):
            self._close(None)

    def _go_on_where_it_was(self) -> None:
        if not isinstance(self._handler, Continuing) or self._intake.start != "start":
            return
        next_id = self._handler.next_id()
        if next_id > 1:
            log.info("%s: what is below message %d is there already", self._handler.name, next_id)
            self._reader.close()
            self._reader = self._read_from(next_id)
            self._passed_id = next_id - 1
            self.n_there = min(next_id - 1, self._state.n_entries)

    def _take_next(self, shell: Shell) -> bool:
        """Handle one frame; False at the end."""
        try:
            frame = self._reader.next()
        except StreamFinishedError:
            self._note_gaps(self._last_id())
            return False
        self._note_gaps(frame.message_id - 1)
        self._passed_id = max(self._passed_id, frame.message_id)
        if self._patience.until_possible(lambda: self._handle(frame), shell):
            self._n_uncommitted += 1
            self._uncommitted_bytes += frame.header.payload_bytes
        return True

    def _handle(self, frame: Frame) -> None:
        try:
            self._handler.handle(frame)
        except (*NOT_NOW, CannotGoOnError):
            raise
        except Exception as error:
            self.n_failed += 1
            ours = isinstance(error, BeamstreamError)
            log.error("message %d is passed by: %s", frame.message_id, error, exc_info=None if ours else error)
            self._handler.gap(Gap(first_id=frame.message_id, last_id=frame.message_id, reason=STATED))
        else:
            self.n_handled += 1

    def _note_gaps(self, last_id: int) -> None:
        """Tell the handler of all ids up to one that are not there, whether the files say so or cannot give them."""
        for gap in sorted(self._reader.take_gaps(), key=lambda gap: gap.first_id):
            self._note_hole(gap.first_id - 1)
            if gap.last_id > self._passed_id:
                self._handler.gap(gap)
                self._passed_id = gap.last_id
        self._note_hole(last_id)

    def _note_hole(self, last_id: int) -> None:
        if last_id > self._passed_id:
            self._handler.gap(Gap(first_id=self._passed_id + 1, last_id=last_id, reason=STATED))
        self._passed_id = max(self._passed_id, last_id)

    def _commit(self) -> None:
        self._handler.commit()
        self._n_uncommitted = self._uncommitted_bytes = 0
        self._committed_at = time.monotonic()

    def _is_commit_due(self) -> bool:
        commits = self._commits
        return (
            self._n_uncommitted >= commits.n_messages
            or self._uncommitted_bytes >= commits.n_bytes
            or time.monotonic() - self._committed_at >= commits.every_s
        )

    def _close(self, end: StreamEnd | None) -> None:
        report = self._handler.close(end)
        if report is not None:
            log.info("%s: %s", self._handler.name, ", ".join(f"{name} {value}" for name, value in report.items()))

    def _end(self) -> StreamEnd:
        state = self._state
        if not state.finished:
            log.warning("%s has no end; what is made of it ends as incomplete with %d", self._path, self._last_id())
        return StreamEnd(
            last_id=self._last_id(),
            n_expected=state.n_expected,
            reason=state.reason if state.finished else "incomplete",
            next_stream=state.next_stream,
        )

    def _last_id(self) -> int:
        return self._state.last_id if self._state.finished else self._state.next_id - 1

    def snapshot(self) -> Snapshot:
        """Return what was counted so far."""
        counts = self._reader.counts
        events = {
            "received": counts.n_delivered,
            "handled": self.n_handled,
            "there_already": self.n_there,
            "failed": self.n_failed,
            "held_up": self._patience.n_held_up,
            "skipped": counts.n_skipped,
            "corrupt": counts.n_corrupt,
            "missing": counts.n_missing,
            "declined": counts.n_declined,
        }
        n_done = self.n_there + counts.n_delivered + counts.n_skipped + counts.n_corrupt
        levels = {key: value for key, value in self._handler.status().items() if not isinstance(value, str)}
        return Snapshot(
            events=events,
            payload_bytes=counts.n_bytes,
            levels=levels,
            done=(min(n_done, self._state.n_entries), self._state.n_entries),
        )

    @property
    def failed(self) -> bool:
        """Whether a frame could not be read or handled."""
        return bool(self.n_failed or self._reader.counts.n_corrupt)


def open_offline(handler: Handler, path: Path, broker: str, intake: Intake = DEFAULT_INTAKE) -> OfflineLoop:
    """Return the loop for a path.

    Raises
    ------
    UsageError
        If something is asked for that only a broker has.
    NoRecordingError, RecordingFormatError
        If there is nothing that can be read.
    ServerUnavailableError, ServerRefusedError
        If the handler publishes, and the broker cannot be used.
    """
    for name, wanted in (("--follow", intake.follow), (f"--group {intake.group}", intake.group is not None)):
        if wanted:
            raise UsageError(
                f"{name}: {path} is a path, read as it is, by this process alone; "
                "'stream produce replay' puts it through a broker"
            )
    if commits_of(handler).opens_first:
        raise UsageError(
            f"{handler.name} adds up over the streams of a broker, and {path} is a path; "
            "'stream produce replay' puts it through one"
        )
    loop = OfflineLoop(handler, path, broker, intake)
    if isinstance(handler, Continuing):
        server = Server(broker)
        server.check()
        server.close()
    return loop
