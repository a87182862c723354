"""The thread that sends: it uses the sockets, keeps the clock of the exposures, and decides nothing else.

Whoever controls the detector posts jobs: begin a series, expose images, end it. They are done one after the
other. The schedule is absolute: image k is due k frame times after its trigger, however late the one before
it was. Without a receiver, or with one that is too slow, images wait in the outbox and are then dropped (or,
told so, waited for).

Every message goes through a plan of faults first (see `sim.faults`), which by default has none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from beamstream_producers.sim.faults.journal import Journal, Left
from beamstream_producers.sim.faults.kinds import Faults
from beamstream_producers.sim.faults.plan import CutShort, Drop, FaultPlan, SecondClient, Send, Stall, Step, Vanish

from .messages import SeriesMessages
from .outbox import Outbox, Outgoing, Parts
from .sockets import PortError, StreamSockets

SLICE_S = 0.02
"""Longest time without looking for jobs, interruptions and receivers [s]; nobody notices it."""

DRAIN_S = 5.0
"""How long the end of a series waits for a receiver to take what is left, by default [s]."""

AWAY_S = 0.2
"""How long a detector that restarts is away [s]; a real one takes minutes, which would teach nothing more."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A series begins; `messages` is None where the stream is disabled."""

    messages: SeriesMessages | None
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """Take images, `frame_time_s` apart by the detector's clock; `paced` or as fast as they leave."""

    image_ids: range
    frame_time_s: float
    paced: bool
    finished: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The series ends; what waits is sent first, or dropped if it was aborted."""

    aborted: bool
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Send what the sockets hold for as long as `linger_s`, then give them back."""

    linger_s: float
    done: threading.Event = field(default_factory=threading.Event)


Job = Begin | Expose | Finish | Close


class Sender:
    """Does the jobs of one detector; every method may be called from any thread.

    Parameters
    ----------
    sockets : StreamSockets
        Used and in the end closed by this sender.
    buffer_images : int
        Images that may wait before they are dropped.
    wait : bool
        Rather fall behind than drop.
    drain_s : float
        How long the end of a series waits for a receiver [s].
    linger_s : float
        How long a detector that restarts waits for what was handed over to leave [s].
    plan : FaultPlan, optional
        What goes wrong.
    on_restart : callable, optional
        Called when the detector has vanished and come back.

    Attributes
    ----------
    journal : Journal
        What was done to the messages of each series.
    """

    def __init__(
        self,
        sockets: StreamSockets,
        *,
        buffer_images: int,
        wait: bool,
        drain_s: float = DRAIN_S,
        linger_s: float = 0.0,
        plan: FaultPlan[Outgoing] | None = None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal = Journal()
        self.outbox = Outbox(buffer_images, lambda dropped: self.journal.drop(dropped.kind, dropped.extra))
        self._sockets = sockets
        self._wait = wait
        self._drain_s = drain_s
        self._linger_s = linger_s
        self._plan: FaultPlan[Outgoing] = plan or FaultPlan(Faults())
        self._on_restart = on_restart
        self._is_cut_short = False
        self._vanished = False
        self._stalled_until_s = 0.0
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._interrupted = threading.Event()
        self._receivers: frozenset[int] = frozenset()
        self._receivers_changed = threading.Condition()
        self._messages: SeriesMessages | None = None
        self._clock_zero_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._run, name="simulated-eiger-sender", daemon=True)
        self._thread.start()

    def post(self, job: Job) -> threading.Event:
        """Line a job up; the event is set when it is done."""
        self._jobs.put(job)
        return job.done

    def interrupt(self) -> None:
        """Stop exposing after the current image, until the series is finished."""
        self._interrupted.set()

    def wait_for_receiver(self, version: int, timeout_s: float | None) -> bool:
        """Wait until somebody is connected to the socket of this version; False if nobody was in time.

        Looks while no job is under way; before a series, that is.
        """
        with self._receivers_changed:
            return self._receivers_changed.wait_for(lambda: version in self._receivers, timeout_s)

    def close(self, linger_s: float) -> None:
        """Finish the jobs at hand and close the sockets."""
        self.post(Close(linger_s=linger_s))
        self._thread.join()

    # --- everything below runs in the sender's own thread

    def _run(self) -> None:
        while True:
            job = self._next_job()
            match job:
                case Begin():
                    self._begin(job)
                case Expose():
                    self._expose(job)
                case Finish():
                    self._finish(job)
                case Close():
                    self.outbox.discard_all()
                    for message in self._plan.close():
                        self.outbox.drop(message)
                    self._sockets.close(job.linger_s)
            if not isinstance(job, Close):
                self._look_around()
            job.done.set()
            if isinstance(job, Close):
                return

    def _next_job(self) -> Job:
        while True:
            self._look_around()
            try:
                return self._jobs.get(timeout=SLICE_S)
            except queue.Empty:
                continue

    def _begin(self, job: Begin) -> None:
        self._interrupted.clear()
        self._is_cut_short = self._vanished = False
        self._messages = job.messages
        self.outbox.reset()
        if job.messages is not None:
            self.journal.begin(job.messages.series_id, job.messages.n_images)
            self._do(self._plan.begin(self._own("start", job.messages.start), job.messages.n_images))
            self._flush()

    def _expose(self, job: Expose) -> None:
        trigger_s = time.monotonic()
        for place, image_id in enumerate(job.image_ids):
            due_s = trigger_s + place * job.frame_time_s
            if job.paced:
                self._wait_until(due_s)
            if self._interrupted.is_set() or self._is_cut_short:
                break
            self._take(image_id, round(due_s * 1e9) - self._clock_zero_ns)
        if job.paced and not self._is_cut_short:
            # the last exposure lasts as long as the others
            self._wait_until(trigger_s + len(job.image_ids) * job.frame_time_s)
        if self._vanished:
            self._vanished = False
            self._on_restart()
        else:
            job.finished()

    def _take(self, image_id: int, start_ns: int) -> None:
        """Put one image into the outbox, and send what can be sent."""
        messages = self._messages
        if messages is None:
            return
        self.journal.count("taken")
        number = self._plan.number(image_id)
        message = self._own("image", lambda: messages.image(number, start_ns), number)
        if not messages.has_image(image_id):
            self.outbox.drop(message)
            return
        self._do(self._plan.image(message))
        self._flush()

    def _finish(self, job: Finish) -> None:
        if job.aborted:
            self.outbox.discard_images()
        if self._messages is not None:
            self._do(self._plan.end(self._own("end", self._messages.end)))
        give_up_s = time.monotonic() + self._drain_s
        while len(self.outbox) and time.monotonic() < give_up_s:
            self._flush(SLICE_S)
        if len(self.outbox) and self._messages is not None:
            series_id = self._messages.series_id
            _logger.warning("series %d: %d messages found no receiver", series_id, len(self.outbox))
            self.outbox.discard_all()
        if self._messages is not None:
            self._sockets.let_second_client(self._messages.version, join=False)
            self.journal.count("held", self._plan.n_left_over)
        self.journal.end()
        self._messages = None
        self._interrupted.clear()

    def _own(self, kind: str, encode: Callable[[], Parts], image_id: int = -1) -> Outgoing:
        """Return a message of the series that is under way."""
        series_id = 0 if self._messages is None else self._messages.series_id
        return Outgoing(
            encode, kind == "image", kind=kind, series=self.journal.n_series, series_id=series_id, image_id=image_id
        )

    def _do(self, steps: Iterable[Step[Outgoing]]) -> None:
        """Do what the plan of faults says."""
        for step in steps:
            match step:
                case Send():
                    is_own = step.extra is step.item.extra
                    self._put(step.item if is_own else replace(step.item, extra=step.extra))
                case Drop():
                    self.outbox.drop(step.item)
                case Stall():
                    self._flush()
                    self._stalled_until_s = time.monotonic() + step.duration_s
                    self.journal.stall(step.duration_s)
                case CutShort():
                    self._is_cut_short = True
                    self.journal.count("aborted")
                case SecondClient() if self._messages is not None:
                    self._flush()
                    self._sockets.let_second_client(self._messages.version, join=step.is_there)
                case Vanish():
                    self._vanish(step.lost)

    def _put(self, message: Outgoing) -> None:
        while self._wait and message.is_image and self.outbox.is_full and not self._interrupted.is_set():
            self._flush(SLICE_S)
        self.outbox.put(message)

    def _vanish(self, lost: Iterable[Outgoing]) -> None:
        """Lose what was not handed over, close the sockets, and bind them again."""
        for message in lost:
            self.outbox.drop(message)
        self.outbox.discard_all()
        self.journal.count("restarted")
        self.journal.end()
        self._messages = None
        self._is_cut_short = self._vanished = True
        linger_s = self._linger_s
        while not self._interrupted.is_set():
            try:
                self._sockets.restart(AWAY_S, linger_s)
            except PortError as error:  # somebody was quicker
                _logger.warning("%s; trying again", error)
                linger_s = 0.0
            else:
                break
        self._look_around()

    def _flush(self, wait_s: float = 0.0) -> None:
        """Send what waits as long as there is room; where there is none, wait for it for up to `wait_s`."""
        stalled_s = self._stalled_until_s - time.monotonic()
        if stalled_s > 0:
            time.sleep(min(stalled_s, wait_s))
            return
        while len(self.outbox) and self._messages is not None:
            version = self._messages.version
            if not self._sockets.can_send(version, wait_s):
                return
            message = self.outbox.oldest()
            if not self._sockets.send(version, message.encode()):
                return
            self.outbox.pop()
            self._note(message, stolen=self._sockets.was_stolen())

    def _note(self, message: Outgoing, *, stolen: bool) -> None:
        self.journal.leave(
            Left(
                kind=message.kind,
                series=message.series or self.journal.n_series,
                series_id=message.series_id,
                image_id=message.image_id,
                extra=message.extra,
                stolen=stolen,
            )
        )

    def _wait_until(self, due_s: float) -> None:
        """Sleep until `due_s`, sending what waits; returns early if interrupted."""
        while not self._interrupted.is_set() and (left_s := due_s - time.monotonic()) > 0:
            if len(self.outbox):
                self._flush(min(left_s, SLICE_S))
            else:
                self._interrupted.wait(left_s)

    def _look_around(self) -> None:
        """Send what waits, and tell who waits for receivers that there are some."""
        self._flush()
        receivers = self._sockets.receivers()
        if receivers != self._receivers:
            with self._receivers_changed:
                self._receivers = receivers
                self._receivers_changed.notify_all()
