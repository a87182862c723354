"""What is done with one stream: its frames to the handler, what was handled to the group, and the report at the end.

Frames are handled one by one, made safe by the handler's `commit`, and acknowledged after it. A frame whose handling
raises goes back to its group with the traceback; one that the handler cannot take now is tried again. A lost broker is
waited for, at whatever point it is lost, until the service is to stop.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from beamstream.consumer import Consumer
from beamstream.errors import (
    BeamstreamError,
    CannotGoOnError,
    NothingNewError,
    ServerUnavailableError,
    StreamFinishedError,
)
from beamstream.frame import Frame
from beamstream.retry import RetryCounts, with_retries
from beamstream.service.shell import Shell
from beamstream.service.tuning import Tuning

from .handler import Handler, StreamEnd, StreamStart, commits_of
from .patience import NOT_NOW, Patience

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 0.1
"""How long the next frame is waited for before anything else is seen to [s]."""

SILENCE_S = 5.0
"""How long an open stream may be silent before another one that waits is taken [s]; as long as a gap stays open."""


@dataclass(slots=True)
class LoopCounts:
    """What a consumer service did so far, over all its streams, and its patience with the handler."""

    patience: Patience
    n_streams: int = 0
    n_handled: int = 0
    n_failed: int = 0
    retries: RetryCounts = field(default_factory=RetryCounts)

    def patiently(self, call: Callable[[], T], shell: Shell) -> T:
        """Call the server; wait for it if it is lost, unless the service is to stop."""
        return with_retries(lambda _: call(), timeout_s=None, stop=shell.stop, counts=self.retries)


class Visit:
    """One stream in the hands of a handler.

    Parameters
    ----------
    handler : Handler
        Is given the frames.
    consumer : Consumer
        A member of the handler's group.
    broker : str
        URL of the broker, for handlers that publish.
    shell : Shell
        Tells when to stop.
    counts : LoopCounts
        Where it is counted.
    tuning : Tuning, optional
        Looks for new parameters between frames.
    """

    def __init__(
        self,
        handler: Handler,
        consumer: Consumer,
        broker: str,
        shell: Shell,
        counts: LoopCounts,
        tuning: Tuning | None = None,
    ) -> None:
        self._handler = handler
        self._consumer = consumer
        self._broker = broker
        self._shell = shell
        self._counts = counts
        self._tuning = tuning
        self._opened = False
        self._commits = commits_of(handler)
        self._uncommitted: list[Frame] = []
        self._uncommitted_bytes = 0
        self._committed_at = time.monotonic()

    def _patiently(self, call: Callable[[], T]) -> T:
        return self._counts.patiently(call, self._shell)

    def run(self, is_wanted_elsewhere: Callable[[], bool]) -> bool:
        """Handle one stream; True when it has ended, False when it was left.

        The handler is told of it with the first frame, so that what is done with is not begun anew; a stream without
        any, or one whose last frames were acknowledged by a service that ended before it, is opened to be closed.
        """
        self._opened = False
        try:
            if self._commits.opens_first and not self._patiently(self._was_closed):
                self._open()
            ended = self._read(is_wanted_elsewhere)
            end = self._patiently(self._how_it_ended) if ended else None
            if ended and not self._opened and not self._patiently(self._was_closed):
                self._open()
            if self._opened:
                self._close(end)
        except CannotGoOnError:
            self._hand_back_uncommitted()
            raise
        except Exception:
            self._hand_back_uncommitted()
            if self._opened:
                self._opened = False
                self._handler.close(None)  # whatever happened: it lets go of files and connections
            raise
        return ended

    def _read(self, is_wanted_elsewhere: Callable[[], bool]) -> bool:
        """Handle frames until the end of the stream (True), or until something else is to be done (False)."""
        heard_at = time.monotonic()
        while not self._shell.stop.is_set():
            self._shell.progress.tick()
            if self._tuning is not None:
                self._tuning.look()
            try:
                frame = self._consumer.next(LOOK_EVERY_S)
            except NothingNewError:
                if self._is_time():
                    self._commit()
                if time.monotonic() - heard_at >= SILENCE_S and self._is_asked(is_wanted_elsewhere):
                    log.info("%s is silent; going on with another stream meanwhile", self._consumer.address)
                    return False
                continue
            except StreamFinishedError:
                if not self._uncommitted:
                    return True
                self._commit()  # what fails here is given back, and the stream not over
                continue
            if self._is_open_for(frame):
                self._handle(frame)
            heard_at = time.monotonic()
        return False

    def _is_asked(self, question: Callable[[], bool]) -> bool:
        """Ask the server something that can wait; False where it does not answer: reading says so and waits for it."""
        try:
            return question()
        except ServerUnavailableError:
            return False

    def _is_open_for(self, frame: Frame) -> bool:
        """Open the stream for its first frame; False where the service is to stop before that was possible."""
        if not self._opened:
            try:
                self._open()
            finally:
                if not self._opened:
                    self._consumer.hand_back(frame)  # that the stream cannot be opened is not the frame's fault
        return self._opened

    def _open(self) -> None:
        start = self._patiently(self._describe)
        self._counts.n_streams += 1
        log.info("%s: %s begins", self._handler.name, self._consumer.address)
        self._opened = self._counts.patience.until_possible(lambda: self._handler.open(start), self._shell)

    def _describe(self) -> StreamStart:
        state = self._consumer.state
        return StreamStart(
            address=self._consumer.address,
            metadata=self._consumer.metadata,
            n_expected=state.n_expected,
            broker=self._broker,
            n_parts=state.n_parts if self._consumer.part is None else 1,
            group=self._consumer.group or "",
            tuning=self._tuning,
        )

    def _note_gaps(self) -> None:
        for gap in self._consumer.take_gaps():
            if not gap.is_declined:
                log.warning(
                    "%s: messages %d to %d never came (%s)",
                    self._consumer.address,
                    gap.first_id,
                    gap.last_id,
                    gap.reason,
                )
            self._handler.gap(gap)

    def _handle(self, frame: Frame) -> None:
        self._note_gaps()
        while True:
            try:
                self._handler.handle(frame)
            except NOT_NOW as error:
                self._commit_once()  # what came before need not wait for this one
                if not self._wait(error):
                    self._consumer.hand_back(frame)
                    return
            except CannotGoOnError:
                self._consumer.hand_back(frame)
                raise
            except Exception as error:  # noqa: BLE001 (user code: the service and the other frames go on)
                self._give_back([frame], error)
                return
            else:
                break
        self._counts.n_handled += 1
        self._uncommitted.append(frame)
        self._uncommitted_bytes += frame.header.payload_bytes
        if (
            len(self._uncommitted) >= self._commits.n_messages
            or self._uncommitted_bytes >= self._commits.n_bytes
            or self._is_time()
        ):
            self._commit()

    def _is_time(self) -> bool:
        return time.monotonic() - self._committed_at >= self._commits.every_s

    def _give_back(self, frames: Sequence[Frame], error: Exception) -> None:
        self._counts.n_failed += len(frames)
        # Our own errors say what is wrong; of others the traceback is wanted. Each message is complained about once.
        log.log(
            logging.ERROR if any(frame.n_deliveries == 1 for frame in frames) else logging.DEBUG,
            "%s: message %s of %s failed, to be tried again: %s",
            self._handler.name,
            ", ".join(str(frame.message_id) for frame in frames),
            self._consumer.address,
            error,
            exc_info=None if isinstance(error, BeamstreamError) else error,
        )
        why = "".join(traceback.format_exception(error))
        for frame in frames:
            self._patiently(partial(self._consumer.negative_acknowledge, frame, why=why))

    def _wait(self, error: Exception) -> bool:
        return self._counts.patience.wait(error, self._shell)

    def _commit(self) -> bool:
        """Make safe and acknowledge what was handled; False where the service is to stop before that was possible."""
        while (error := self._commit_once()) is not None:
            if not self._wait(error):
                self._hand_back_uncommitted()
                return False
        return True

    def _hand_back_uncommitted(self) -> None:
        for frame in self._uncommitted:
            self._consumer.hand_back(frame)
        self._uncommitted, self._uncommitted_bytes = [], 0

    def _commit_once(self) -> Exception | None:
        """Try to make safe and acknowledge what was handled; return why that is not possible now."""
        frames = self._uncommitted
        if frames or (self._commits.when_idle and self._opened):
            try:
                self._handler.commit()
            except NOT_NOW as error:
                return error
            except CannotGoOnError:
                raise
            except Exception as error:  # noqa: BLE001 (user code, as in handling)
                self._give_back(frames, error)
            else:
                for frame in frames:
                    self._consumer.acknowledge(frame)
            self._uncommitted, self._uncommitted_bytes = [], 0
        self._committed_at = time.monotonic()
        return None

    def _close(self, end: StreamEnd | None) -> None:
        """End with the stream; `end` is None where it is left before its end."""
        self._note_gaps()
        if not self._commit():
            end = None  # stopped while the handler could not go on: somebody else has to end this stream
        self._patiently(self._consumer.flush)  # what is safe need not come again, should closing fail
        self._opened = False
        while True:
            try:
                report = self._handler.close(end)
            except NOT_NOW as error:
                if end is None:
                    log.warning("%s leaves %s as it is: %s", self._handler.name, self._consumer.address, error)
                    return
                if not self._wait(error):
                    end = None
            else:
                break
        if report is not None:
            text = json.dumps({**report, "ended": end is not None})
            self._patiently(lambda: self._consumer.report(text))

    def _how_it_ended(self) -> StreamEnd:
        state = self._consumer.state
        return StreamEnd(
            last_id=state.last_id, n_expected=state.n_expected, reason=state.reason, next_stream=state.next_stream
        )

    def _was_closed(self) -> bool:
        """Whether this group's handler has closed the stream with its end."""
        text = self._consumer.last_report()
        return text is not None and bool(json.loads(text).get("ended"))
