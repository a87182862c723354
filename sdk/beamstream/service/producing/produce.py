"""The producer loop: from a `Source` to the broker."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from beamstream.address import SourceAddress
from beamstream.errors import (
    BeamstreamError,
    NotKeptError,
    QueueFullError,
    ServerUnavailableError,
    StreamExistsError,
    StreamNotFoundError,
)
from beamstream.metrics import Snapshot
from beamstream.presence import why_nobody_keeps
from beamstream.producer import PATIENCE_S, Producer, ProducerCounts
from beamstream.producer.others import has_all_expected, wait_for_others
from beamstream.protocol.client import Server
from beamstream.retry import RetryCounts, with_retries
from beamstream.service.shell import Shell, service_shell
from beamstream.shared.reach import check_reach
from beamstream.state import StreamState
from beamstream.stop import StopFlag

from .source import Declined, Event, Measured, Produced, Source, StreamClosed, StreamLeft, StreamOpened
from .upkeep import DEFAULT_UPKEEP, Upkeep

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30.0
"""How long a stopped service tries to send what it still holds [s]; a process manager gives up after 90 s."""

DRAIN_POLL_S = 0.05
"""How often is looked whether everything is sent [s]."""

ROOM_POLL_S = 0.5
"""How often a full queue is looked at [s]; in between the source waits, and its own buffers take what comes."""


class ProducerLoop:
    """Sends the events of a source: one producer for each open stream.

    A full or lost broker holds the source back for as long as the service runs; once it is to stop, what cannot be sent
    in time is dropped and counted.
    """

    def __init__(
        self,
        source: Source,
        to: SourceAddress,
        broker: str,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
        upkeep: Upkeep = DEFAULT_UPKEEP,
    ) -> None:
        self._source = source
        self._to = to
        self._broker = broker
        self._drain_timeout_s = drain_timeout_s
        self._upkeep = upkeep
        self._overdue_at: float | None = None
        self._open: dict[str, Producer] = {}
        self._closing: list[tuple[threading.Thread, Producer]] = []
        self._counts: list[ProducerCounts] = []
        self._opening = RetryCounts()
        self.n_streams = 0
        self.n_dropped = 0

    def run(self, shell: Shell) -> None:
        """Send until the source ends, then wait until everything is sent."""
        try:
            for event in self._source.events(shell.stop):
                if event is not None:
                    self._handle(event, shell)
                shell.progress.tick()
        finally:
            self._source.close()
            self._drain(shell)

    def _handle(self, event: Event, shell: Shell) -> None:
        match event:
            case StreamOpened():
                self._open_stream(event, shell)
            case Produced():
                self._send(event, shell)
            case Declined():
                self._decline(event, shell)
            case StreamClosed() | StreamLeft():
                self._let_go(event, shell)

    def _open_stream(self, event: StreamOpened, shell: Shell) -> None:
        # One session for all attempts: what a lost connection left half made is ours, and not somebody else's.
        session = uuid.uuid4().hex if event.new else None
        producer, state = with_retries(
            lambda _: self._open_one(event, session), timeout_s=None, stop=shell.stop, counts=self._opening
        )
        self._open[event.stream] = producer
        self._counts.append(producer.counts)
        self.n_streams += 1
        expected = "" if event.n_expected is None else f", {event.n_expected} message(s) expected"
        log.info("%s opened%s", producer.address, expected)
        if event.on_open is not None and state is not None:
            event.on_open(producer.address, state)

    def _open_one(self, event: StreamOpened, session: str | None) -> tuple[Producer, StreamState | None]:
        """Open a stream, and say where it stands if that is asked for."""
        producer = self._make_producer(event, session)
        try:
            return producer, None if event.on_open is None else producer.state()
        except BeamstreamError as error:
            producer.close(0)
            if isinstance(error, StreamNotFoundError):  # the server was started anew in between
                raise ServerUnavailableError(self._broker, str(error)) from error
            raise

    def _make_producer(self, event: StreamOpened, session: str | None) -> Producer:
        name = event.stream
        n_taken = 0
        while True:
            try:
                return Producer(
                    self._to.stream(name),
                    broker=self._broker,
                    metadata=None if event.joins else event.metadata,
                    n_expected=event.n_expected,
                    n_parts=event.n_parts,
                    min_parts=event.min_parts,
                    patience_s=PATIENCE_S if event.patience_s is None else event.patience_s,
                    queue_bytes=self._upkeep.queue_bytes,
                    block_timeout_s=ROOM_POLL_S,
                    retry_timeout_s=None,
                    session=session,
                    remake=True,
                    keep=None if event.joins else self._upkeep.keep,
                    retain_s=None if event.joins else self._upkeep.retain_s,
                    tier=self._upkeep.tier,
                )
            except NotKeptError as error:
                # It was kept when the service began: the broker is being restarted, and waited for as the server is.
                raise ServerUnavailableError(self._broker, str(error)) from error
            except StreamExistsError as error:
                n_taken += 1
                name = f"{event.stream}_{n_taken + 1}"
                log.warning("%s; this one becomes %s", error, name)

    def _send(self, event: Produced, shell: Shell) -> None:
        producer = self._open[event.stream]

        def send() -> Future[str]:
            return producer.send(
                event.message_id,
                event.payload,
                shape=event.shape,
                dtype=event.dtype,
                codec=event.codec,
                timestamp_ns=event.timestamp_ns,
                metadata=event.metadata,
                part=event.part,
            )

        future = self._queue(event.stream, event.message_id, send, shell)
        if future is not None and event.on_sent is not None:
            future.add_done_callback(_calling(event.on_sent))

    def _decline(self, event: Declined, shell: Shell) -> None:
        decline = self._open[event.stream].decline
        for message_id in range(event.first_id, event.last_id + 1):
            self._queue(event.stream, message_id, partial(decline, message_id), shell)

    def _queue(self, stream: str, message_id: int, send: Callable[[], Future[str]], shell: Shell) -> Future[str] | None:
        """Queue a message, waiting for room; None where it is dropped."""
        while True:
            try:
                return send()
            except QueueFullError as error:
                shell.progress.tick()
                if self._is_overdue(shell):
                    self._open[stream].abandon()
                    self._drop(stream, message_id, error)
                    return None
            except BeamstreamError as error:  # one message that cannot travel; the others go on
                self._drop(stream, message_id, error)
                return None

    def _drop(self, stream: str, message_id: int, error: BeamstreamError) -> None:
        self.n_dropped += 1
        log.error("message %d of %s is dropped: %s", message_id, stream, error)

    def _let_go(self, event: StreamClosed | StreamLeft, shell: Shell) -> None:
        # Finishing waits for gaps; the source must not wait with it.
        producer = self._open.pop(event.stream)
        # A second SIGINT waits for nobody, so this thread must not keep the process.
        thread = threading.Thread(
            target=self._end, args=(producer, event, shell.stop), name=f"finish {event.stream}", daemon=True
        )
        thread.start()
        self._closing = [(thread, producer) for thread, producer in self._closing if thread.is_alive()]
        self._closing.append((thread, producer))

    def _end(self, producer: Producer, event: StreamClosed | StreamLeft, stop: StopFlag) -> None:
        try:
            producer.flush()
            last_id, reason = (0, "") if isinstance(event, StreamLeft) else _ending(producer, event, stop)
            if reason:
                last_id = producer.finish(last_id, reason=reason)
                log.info("%s finished with %d (%s)", producer.address, last_id, reason)
            else:
                log.info("%s is left open", producer.address)
        except BeamstreamError as error:
            log.error("%s could not be finished: %s", producer.address, error)
            self.n_dropped += 1
        finally:
            producer.close()

    def _drain(self, shell: Shell) -> None:
        """Wait until everything is sent; once the service is to stop, for so long only."""
        unfinished = list(self._open.values())
        while any(thread.is_alive() for thread, _ in self._closing) or any(one.queued_bytes for one in unfinished):
            if self._is_overdue(shell):
                for producer in self._sending():
                    producer.abandon()
            time.sleep(DRAIN_POLL_S)
            shell.progress.tick()
        for producer in unfinished:
            producer.close()
            log.warning("%s stays open: its source ended without its end", producer.address)

    def _is_overdue(self, shell: Shell) -> bool:
        """Whether the service is to stop, and what it still holds has had its time to be sent."""
        if not shell.stop.is_set():
            return False
        if self._overdue_at is None:
            self._overdue_at = time.monotonic() + self._drain_timeout_s
        return time.monotonic() >= self._overdue_at

    def snapshot(self) -> Snapshot:
        """Return what was counted so far, by the source and by the producers together."""
        sent = self._counts
        events: dict[str, int] = {
            **self._source.counters(),
            "streams": self.n_streams,
            "sent": sum(counts.n_sent for counts in sent),
            "declined": sum(counts.n_declined for counts in sent),
            "duplicate": sum(counts.n_duplicate for counts in sent),
            "late": sum(counts.n_late for counts in sent),
            "failed": sum(counts.n_failed for counts in sent),
            "dropped": self.n_dropped,
            "reconnects": self._opening.n_reconnects + sum(counts.n_reconnects for counts in sent),
            "sent_again": sum(counts.n_again for counts in sent),
            "held_back": self._opening.n_held_back + sum(counts.n_held_back for counts in sent),
        }
        done = self._source.progress() if isinstance(self._source, Measured) else None
        return Snapshot(
            events=events,
            done=done,
            payload_bytes=sum(counts.n_bytes for counts in sent),
            queued_bytes=sum(producer.queued_bytes for producer in self._sending()),
        )

    def _sending(self) -> list[Producer]:
        return [*self._open.values(), *(producer for _, producer in self._closing)]

    def failed(self, events: Mapping[str, int]) -> bool:
        """Whether a message was lost."""
        return events["failed"] + events["dropped"] > 0


def _ending(producer: Producer, event: StreamClosed, stop: StopFlag) -> tuple[int, str]:
    """Return last id and reason of a stream; no reason where others go on with it, who will end it."""
    if not event.quiet_s:
        return event.last_id, event.reason

    def look() -> StreamState:
        return with_retries(lambda _: producer.state(), timeout_s=None, stop=stop, counts=producer.counts)

    try:
        state = wait_for_others(look, event.quiet_s, stop)
    except BeamstreamError as error:  # lost as the service stops, or started anew without it: ending sees to that
        log.debug("%s; nobody else is waited for", error)
        return event.last_id, event.reason
    if state is None:
        return event.last_id, ""
    last_id = max(event.last_id, state.next_id - 1)
    if has_all_expected(state):
        return max(last_id, state.n_expected or 0), "complete"
    is_cut_short = state.n_expected is None or last_id < state.n_expected
    return last_id, event.reason if is_cut_short else "incomplete"


def _calling(on_sent: Callable[[], None]) -> Callable[[Future[str]], None]:
    def call(future: Future[str]) -> None:
        if not future.cancelled() and future.exception() is None:
            on_sent()

    return call


def run_source(
    source: Source,
    to: SourceAddress,
    *,
    broker: str | None = None,
    metrics_port: int | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    upkeep: Upkeep = DEFAULT_UPKEEP,
) -> int:
    """Run a producer service until its source ends or a signal asks it to.

    Parameters
    ----------
    source : Source
        Where the messages come from.
    to : SourceAddress
        The data source whose streams are written.
    broker : str, optional
        The broker's URL; default: `STREAM_BROKER`, else the local one.
    metrics_port : int, optional
        Port for Prometheus, on loopback.
    drain_timeout_s : float
        How long a service that is to stop tries to send what it still holds [s].
    upkeep : Upkeep
        What is kept of its streams, for how long, where it lies, and how much of each is held here.

    Returns
    -------
    int
        Exit status: 0 done, 1 a message was lost, 130 interrupted after a clean drain.

    Raises
    ------
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used at the start; once it runs, a lost broker is waited for.
    NotKeptError
        If all is to be kept, and no broker writes to disk.
    SharedMemoryUnavailableError
        If payloads are to lie in shared memory, and none can be had from here.
    """
    server = Server(broker)
    server.check()
    check_reach(server, upkeep.tier)
    if upkeep.keep == "all" and (why := why_nobody_keeps(server)):
        raise NotKeptError(str(to), f"all of it is to be kept, but {why}")
    server.close()
    loop = ProducerLoop(source, to, server.url, drain_timeout_s, upkeep)
    with service_shell(source.name, loop.snapshot, metrics_port) as shell:
        loop.run(shell)
        return shell.exit_status(failed=loop.failed(loop.snapshot().events))
