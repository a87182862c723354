"""The bridge's loop: frames of one stream after the other to whoever asks, acknowledged when the worker asks again.

Back-pressure is the protocol's own: who does not ask gets nothing. What is held is bounded: what the consumer fetches
ahead, one frame for each worker, and `MAX_IN_FLIGHT_BYTES` on their way. Several bridges share a stream as members of
one group, as several workers share one bridge.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from beamstream.address import Address
from beamstream.consumer import Consumer, ConsumerCounts
from beamstream.errors import (
    BeamstreamError,
    DatasetStreamError,
    NothingNewError,
    ServerUnavailableError,
    StreamFinishedError,
    StreamNotFoundError,
)
from beamstream.frame import Frame
from beamstream.groups.redelivery import MAX_ATTEMPTS
from beamstream.metrics import Snapshot
from beamstream.retry import RetryCounts, with_retries
from beamstream.service import Intake
from beamstream.service.consuming.agenda import LOOK_EVERY_S, Agenda
from beamstream.service.shell import Shell
from beamstream_consumers.corrections import CalibrationShapeError
from beamstream_consumers.geometry import GeometryFormatError, GeometryIncompleteError, GeometryShapeError

from .endpoint import Endpoint
from .frames import FrameOptions, FramePacker
from .protocol import DEFAULT_REQUEST
from .workers import TURN_S, Workers

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP = "crystfel"
"""The consumer group, where none is named."""

DEFAULT_INTAKE = Intake(group=GROUP)

SILENCE_S = 5.0
"""How long an open stream may be silent before another one that waits is taken [s]."""

DRAIN_S = 10.0
"""How long workers may take for their last frames when the service is to stop [s]; then others get them."""

FATAL = (GeometryFormatError, GeometryIncompleteError, GeometryShapeError, CalibrationShapeError)
"""What is wrong with the options and not with a frame: the service ends."""

EVENTS = (
    *("streams", "streams_lost", "received", "handled", "failed", "redelivered", "skipped", "corrupt", "missing"),
    *("incomplete", "dead", "reconnects", "given_again", "peaks"),
)
"""What is counted."""


@dataclass(frozen=True, slots=True)
class Out:
    """A frame that a worker has, and the reader that it came from."""

    frame: Frame
    consumer: Consumer


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What the command was told.

    Attributes
    ----------
    frames : FrameOptions
        How frames are packed.
    intake : Intake
        As which group, from where on, and whether to wait for more.
    request : bytes
        What workers ask with.
    worker_timeout_s : float
        How long a worker may keep a frame [s].
    """

    frames: FrameOptions
    intake: Intake = DEFAULT_INTAKE
    request: bytes = DEFAULT_REQUEST
    worker_timeout_s: float = 300.0


class Bridge:
    """Gives frames to workers.

    Parameters
    ----------
    endpoint : Endpoint
        Where they ask.
    broker : str
        The broker's URL.
    options : BridgeOptions
        What the command was told.
    """

    def __init__(self, endpoint: Endpoint, broker: str, options: BridgeOptions) -> None:
        self._endpoint = endpoint
        self._broker = broker
        self._options = options
        self._workers: Workers[Out] = Workers(endpoint, options.request, options.worker_timeout_s)
        self._counts: Counter[str] = Counter(dict.fromkeys(EVENTS, 0))
        self._past = ConsumerCounts()
        self._consumer: Consumer | None = None
        self._packer: FramePacker | None = None
        self._retries = RetryCounts()
        self._again: deque[Frame] = deque()

    # --- streams -------------------------------------------------------------------------------------------------

    def run(self, agenda: Agenda, shell: Shell) -> None:
        """Give the frames of streams until there are no more, or the service is to stop."""
        while not shell.stop.is_set():
            address = self._patiently(agenda.take, shell)
            if address is not None:
                self._visit(address, agenda, shell)
            elif agenda.over:
                break
            else:
                self._serve(shell, LOOK_EVERY_S)
        self.say_goodbye()

    def _visit(self, address: Address, agenda: Agenda, shell: Shell) -> None:
        try:
            consumer = self._patiently(lambda: self._join(address), shell)
        except StreamNotFoundError as error:
            self._lose_stream(error, address, agenda)
            return
        try:
            done = self.give_all(consumer, shell, lambda: agenda.has_other(address))
        except StreamNotFoundError as error:
            self._lose_stream(error, address, agenda)
        else:
            if done:
                agenda.finish(address)
            else:
                self._patiently(lambda: agenda.put_aside(address), shell)

    def _lose_stream(self, error: StreamNotFoundError, address: Address, agenda: Agenda) -> None:
        if agenda.is_only(address):
            raise error
        self._counts["streams_lost"] += 1
        log.error("%s; it was deleted, or the server lost it; going on with the others", error)
        agenda.forget(address)

    def _patiently(self, call: Callable[[], T], shell: Shell) -> T:
        """Call the server; wait for it if it is lost, unless the service is to stop."""
        return with_retries(lambda _: call(), timeout_s=None, stop=shell.stop, counts=self._retries)

    def _join(self, address: Address) -> Consumer:
        intake = self._options.intake
        return Consumer(
            address,
            broker=self._broker,
            group=intake.group,
            start=intake.start,
            required=intake.required,
            retry_timeout_s=None,
        )

    def say_goodbye(self) -> None:
        """Tell the workers that there is no more."""
        self._workers.say_goodbye()

    # --- one stream ----------------------------------------------------------------------------------------------

    def give_all(
        self, consumer: Consumer, shell: Shell, is_wanted_elsewhere: Callable[[], bool] = lambda: False
    ) -> bool:
        """Give the frames of one stream; True when it has ended and all of them are acknowledged."""
        state = consumer.state
        if state.n_parts > 1:
            consumer.close()
            raise DatasetStreamError(str(consumer.address), state.n_parts, "crystfel")
        self._consumer = consumer
        self._packer = FramePacker(str(consumer.address), consumer.metadata, self._options.frames)
        self._counts["streams"] += 1
        log.info("crystfel: %s begins; workers ask at %s", consumer.address, self._endpoint.address)
        n_before = self._counts["handled"]
        try:
            done = self._give(consumer, shell, is_wanted_elsewhere)
            if consumer.group is not None:
                report = json.dumps({"n_given": self._counts["handled"] - n_before, "ended": done})
                self._patiently(lambda: consumer.report(report), shell)
            return done
        finally:
            self._forget_frames()
            self._counts["peaks"] += self._packer.n_peaks
            consumer.close()
            self._past = self._past + consumer.counts
            self._consumer = self._packer = None

    def _give(self, consumer: Consumer, shell: Shell, is_wanted_elsewhere: Callable[[], bool]) -> bool:
        heard_at = time.monotonic()
        while not shell.stop.is_set():
            self._serve(shell, 0.0 if self._can_give() else TURN_S)
            if not self._can_give():
                continue
            try:
                frame = self._again.popleft() if self._again else consumer.next(TURN_S)
            except NothingNewError:
                silent = time.monotonic() - heard_at >= SILENCE_S and not self._workers.n_out
                if silent and self._is_asked(is_wanted_elsewhere):
                    log.info("%s is silent; going on with another stream meanwhile", consumer.address)
                    return False
            except StreamFinishedError:
                if not self._workers.n_out and not self._again:
                    return True
                self._serve(shell, TURN_S)
            else:
                heard_at = time.monotonic()
                self._give_one(consumer, frame, shell)
        self._drain(shell)
        return False

    def _can_give(self) -> bool:
        """Whether somebody waits, or nobody has to: the end of the stream is seen without workers, too."""
        return self._workers.can_take or self._workers.n_out == 0

    def _give_one(self, consumer: Consumer, frame: Frame, shell: Shell) -> None:
        """Pack a frame and give it to the worker that has waited longest; keep it until there is one."""
        payload = self._pack(consumer, frame, shell)
        if payload is None:
            return
        while not self._workers.give(payload, Out(frame, consumer)):
            if shell.stop.is_set():
                if consumer.group is not None:
                    consumer.hand_back(frame)
                return
            self._serve(shell, TURN_S)
        self._counts["given_again"] += frame.n_deliveries > 1

    def _pack(self, consumer: Consumer, frame: Frame, shell: Shell) -> bytes | None:
        """Pack a frame; one that cannot be goes back to the group, and to its dead letters in the end."""
        packer = self._packer
        try:
            return None if packer is None else packer.pack(frame)
        except FATAL:
            if consumer.group is not None:
                consumer.hand_back(frame)  # it is not the frame's fault
            raise
        except BeamstreamError as error:
            self._counts["failed"] += 1
            level = logging.ERROR if frame.n_deliveries == 1 else logging.DEBUG
            log.log(level, "message %d of %s cannot be given: %s", frame.message_id, consumer.address, error)
            self._give_back(Out(frame, consumer), "".join(traceback.format_exception(error)), shell)
            return None

    def _drain(self, shell: Shell) -> None:
        """Wait a while for what workers have; what they do not finish goes to others."""
        ends_at = time.monotonic() + DRAIN_S
        if self._workers.n_out:
            log.info("waiting up to %g s for %d frame(s) that workers have", DRAIN_S, self._workers.n_out)
        while self._workers.n_out and time.monotonic() < ends_at:
            self._serve(shell, TURN_S)

    def _forget_frames(self) -> None:
        """Leave what workers still have to others: the reader gives it back when it closes."""
        self._again.clear()
        for out in self._workers.take_all():
            if out.consumer.group is not None:
                out.consumer.hand_back(out.frame)

    # --- workers -------------------------------------------------------------------------------------------------

    def _serve(self, shell: Shell, timeout_s: float) -> None:
        """Hear the workers: acknowledge what they are done with, give to others what they did not finish."""
        shell.progress.tick()
        heard = self._workers.look(timeout_s)
        for out in heard.done:
            self._counts["handled"] += 1
            if out.consumer.group is not None:
                out.consumer.acknowledge(out.frame)
        for out, why in heard.left:
            log.warning("message %d of %s goes to another worker: %s", out.frame.message_id, out.frame.address, why)
            self._give_back(out, why, shell)

    def _give_back(self, out: Out, why: str, shell: Shell) -> None:
        frame = out.frame
        if out.consumer.group is not None:
            self._patiently(lambda: out.consumer.negative_acknowledge(frame, why=why), shell)
        elif frame.n_deliveries < MAX_ATTEMPTS:  # of files nobody else keeps count
            self._again.append(replace(frame, n_deliveries=frame.n_deliveries + 1))
        else:
            self._counts["dead"] += 1

    def _is_asked(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except ServerUnavailableError:
            return False

    # --- counts --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return what was counted so far."""
        counts = self._past if self._consumer is None else self._past + self._consumer.counts
        events = dict(self._counts) | dict(self._workers.counts)
        events |= {
            "received": counts.n_delivered,
            "redelivered": counts.n_redelivered,
            "skipped": counts.n_skipped,
            "corrupt": counts.n_corrupt,
            "missing": counts.n_missing,
            "incomplete": counts.n_incomplete,
            "dead": counts.n_dead + self._counts["dead"],
            "reconnects": counts.n_reconnects + self._retries.n_reconnects,
        }
        if self._packer is not None:
            events["peaks"] += self._packer.n_peaks
        levels = {"workers": float(self._workers.n_workers), "frames_out": float(self._workers.n_out)}
        return Snapshot(events=events, payload_bytes=counts.n_bytes, levels=levels)

    @property
    def failed(self) -> bool:
        """Whether a message was given up, or a stream lost."""
        counts = self.snapshot().events
        return counts["dead"] + counts["corrupt"] + counts["streams_lost"] > 0
