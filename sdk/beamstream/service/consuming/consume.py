"""The consumer service: one stream after the other to a `Handler`, until there are no more or it is to stop."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from beamstream.address import Address, SourceAddress, is_path, parse_where, split_url
from beamstream.consumer import Consumer, ConsumerCounts
from beamstream.errors import StreamNotFoundError
from beamstream.metrics import Snapshot
from beamstream.protocol.client import Server, broker_url
from beamstream.service.shell import Shell, service_shell
from beamstream.service.tuning import Tuning, find_tuning

from .agenda import LOOK_EVERY_S, Agenda
from .handler import Handler
from .intake import DEFAULT_INTAKE, Intake
from .joining import joining_early
from .patience import Patience
from .visit import LoopCounts, Visit

log = logging.getLogger(__name__)


Surroundings = Callable[[Callable[[], Snapshot]], AbstractContextManager[Shell]]
"""Makes what surrounds a loop, given what says what it has counted."""


class ConsumerLoop:
    """Gives the frames of one stream after the other to a handler."""

    def __init__(
        self,
        handler: Handler,
        broker: str,
        intake: Intake = DEFAULT_INTAKE,
        tuning: Tuning | None = None,
    ) -> None:
        self._handler = handler
        self._broker = broker
        self.group = intake.group or handler.name
        self._intake = intake
        self._tuning = tuning
        self._past = ConsumerCounts()
        self._consumer: Consumer | None = None
        self.counts = LoopCounts(patience=Patience(handler.name))
        self.n_lost_streams = 0

    def run(self, agenda: Agenda, shell: Shell) -> None:
        """Handle streams until there are no more, or the service is to stop."""
        if self._tuning is not None:
            self.counts.patiently(self._tuning.begin, shell)
        while not shell.stop.is_set():
            address = self.counts.patiently(agenda.take, shell)
            if address is not None:
                self._visit(address, agenda, shell)
            elif agenda.over:
                return
            else:
                shell.progress.tick()
                if self._tuning is not None:
                    self._tuning.look()
                shell.stop.wait(LOOK_EVERY_S)

    def _visit(self, address: Address, agenda: Agenda, shell: Shell) -> None:
        """Handle what there is in one stream, and tell the agenda whether that was all."""
        try:
            done = self._consume(address, agenda, shell)
        except StreamNotFoundError as error:
            if agenda.is_only(address):
                raise
            self.n_lost_streams += 1
            log.error("%s; it was deleted, or the server lost it; going on with the others", error)
            agenda.forget(address)
            return
        if done:
            agenda.finish(address)
        else:
            self.counts.patiently(lambda: agenda.put_aside(address), shell)

    def _consume(self, address: Address, agenda: Agenda, shell: Shell) -> bool:
        consumer = self.counts.patiently(lambda: self._join(address), shell)
        shell.joined(address, self.group, consumer.member)
        self._consumer = consumer
        try:
            visit = Visit(self._handler, consumer, self._broker, shell, self.counts, self._tuning)
            done = visit.run(lambda: agenda.has_other(address))
        except KeyboardInterrupt:
            raise  # asked twice to end: nothing is waited for, the group hands out again what is held
        except BaseException:
            consumer.close()
            raise
        consumer.close()
        self._consumer = None
        self._past = self._past + consumer.counts
        return done

    def _join(self, address: Address) -> Consumer:
        return Consumer(
            address,
            broker=self._broker,
            group=self.group,
            start=self._intake.start,
            required=self._intake.required,
            retry_timeout_s=None,
            part=self._intake.part,
        )

    def snapshot(self) -> Snapshot:
        """Return what was counted so far, by the loop, the consumers and the handler."""
        counts = self._past if self._consumer is None else self._past + self._consumer.counts
        events = {
            "streams": self.counts.n_streams,
            "streams_lost": self.n_lost_streams,
            "received": counts.n_delivered,
            "handled": self.counts.n_handled,
            "failed": self.counts.n_failed,
            "held_up": self.counts.patience.n_held_up,
            "redelivered": counts.n_redelivered,
            "skipped": counts.n_skipped,
            "corrupt": counts.n_corrupt,
            "missing": counts.n_missing,
            "declined": counts.n_declined,
            "incomplete": counts.n_incomplete,
            "dead": counts.n_dead,
            "reconnects": counts.n_reconnects + self.counts.retries.n_reconnects,
        }
        if self._tuning is not None:
            events |= {"retuned": self._tuning.n_changes, "tuning_refused": self._tuning.n_refused}
        levels = {key: value for key, value in self._handler.status().items() if not isinstance(value, str)}
        return Snapshot(events=events, payload_bytes=counts.n_bytes, levels=levels)

    @property
    def failed(self) -> bool:
        """Whether a message was given up, or a stream lost."""
        counts = self.snapshot().events
        return counts["dead"] + counts["corrupt"] + counts["streams_lost"] > 0


def run_handler(
    handler: Handler,
    where: str,
    *,
    broker: str | None = None,
    intake: Intake = DEFAULT_INTAKE,
    metrics_port: int | None = None,
    surroundings: Surroundings | None = None,
) -> int:
    """Run a consumer service until its streams are finished or a signal asks it to end.

    Parameters
    ----------
    handler : Handler
        What is done with the frames.
    where : str
        ``beamtime/source/stream`` or ``beamtime/source``, with the broker's URL in front of it if wanted; or a path,
        see `beamstream.service.consuming.offline`.
    broker : str, optional
        The broker's URL; default: `STREAM_BROKER`, else the local one.
    intake : Intake
        As which group, from where on, whether to wait for more, and which part of the messages.
    metrics_port : int, optional
        Port for Prometheus, on loopback.
    surroundings : callable, optional
        Gives the loop its signals and its progress, in place of `service_shell`; called with what it has counted.

    Returns
    -------
    int
        Exit status: 0 done, 1 a message was given up or a stream lost, 130 interrupted after a clean drain.

    Raises
    ------
    AddressError, UsageError
        If `where` cannot be meant.
    StreamNotFoundError
        If there is nothing there and nothing is to be waited for, or the one stream that was named is deleted.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used at the start; once the service runs, a lost broker is waited for.
    """
    surroundings = surroundings or partial(service_shell, handler.name, metrics_port=metrics_port)
    if is_path(where):
        return _run_offline(handler, where, broker, intake, surroundings)
    url, text = split_url(where)
    at = parse_where(text)
    broker = broker_url(url or broker)
    server = Server(broker)
    server.check()
    tuning = find_tuning(handler, server, at, intake.group or handler.name)
    loop = ConsumerLoop(handler, broker, intake, tuning)
    with contextlib.ExitStack() as stack:
        if intake.required and isinstance(at, SourceAddress):
            stack.enter_context(joining_early(server, at, loop.group, intake.start))
        shell = stack.enter_context(surroundings(loop.snapshot))
        loop.run(Agenda(at, server, follow=intake.follow), shell)
        status = shell.exit_status(failed=loop.failed)
    server.close()
    return status


def _run_offline(handler: Handler, where: str, broker: str | None, intake: Intake, surroundings: Surroundings) -> int:
    from .offline import open_offline  # and with it the formats of files

    loop = open_offline(handler, Path(where).expanduser(), broker_url(broker), intake)
    with surroundings(loop.snapshot) as shell:
        loop.run(shell)
        return shell.exit_status(failed=loop.failed)
