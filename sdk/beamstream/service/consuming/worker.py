"""One worker process of a service: the loop as ever, but what people see of it goes to the supervisor.

A worker is a process of its own from the start (spawned, never forked: threads and their locks do not survive a fork).
What it has counted and what it logs goes through a pipe; Ctrl-C is the supervisor's business, which ends workers by
SIGTERM. A worker whose supervisor is gone drains and ends.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from beamstream.address import Address
from beamstream.errors import BeamstreamError, UsageError
from beamstream.metrics import Snapshot
from beamstream.service.allocation import keep_freed_memory
from beamstream.service.processing.handler import as_handler
from beamstream.service.processing.processor import Processor
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep
from beamstream.service.shell import Shell
from beamstream.stop import Stop, handling_signals

from .consume import run_handler
from .handler import Handler
from .intake import Intake

TELL_EVERY_S = 0.25
"""How often a worker says what it has counted [s]: as often as the line on a terminal changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What each worker of a service does; it travels to other processes.

    Attributes
    ----------
    make : callable
        Makes the processor, or the handler; has to be importable by name: a class, a function of a module, or a
        `partial` of one.
    where, broker, intake
        See `run_handler`.
    upkeep : Upkeep
        How the derived streams are treated.
    """

    make: Callable[[], Processor | Handler]
    where: str
    broker: str | None
    intake: Intake
    upkeep: Upkeep = DEFAULT_UPKEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker has counted."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What a worker logs."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Which member of which group a worker is now."""

    address: Address
    group: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended by itself."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why a worker cannot work, and no other can."""

    text: str
    is_misuse: bool


class Link:
    """The worker's end of the pipe; any thread may use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.stop = Stop()

    def send(self, message: Told | Logged | Joined | Ended | Failed) -> None:
        """Tell the supervisor; where there is none any more, ask for the end."""
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            self.stop.set()


class Reporter:
    """What the loop takes for its progress display."""

    def __init__(self, link: Link, snapshot: Callable[[], Snapshot]) -> None:
        self._link = link
        self._snapshot = snapshot
        self._told_at = 0.0

    def tick(self) -> None:
        """Tell what was counted, if it is time."""
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.tell()

    def tell(self) -> None:
        """Tell what was counted."""
        self._link.send(Told(snapshot=self._snapshot()))


class WorkerShell(Shell):
    """The surroundings of a worker's loop."""

    def __init__(self, link: Link, snapshot: Callable[[], Snapshot]) -> None:
        self._link = link
        self.stop = link.stop
        self.progress = self.reporter = Reporter(link, snapshot)

    def joined(self, address: Address, group: str, member: str) -> None:
        """Tell the supervisor, who lets go what a killed worker held."""
        self._link.send(Joined(address=address, group=group, member=member))

    def on_signal(self, number: int, _frame: object) -> None:
        """Ask for a drain."""
        self.stop.on_signal(number)


@contextlib.contextmanager
def worker_shell(link: Link, snapshot: Callable[[], Snapshot]) -> Iterator[Shell]:
    """Surround a worker's loop."""
    shell = WorkerShell(link, snapshot)
    with handling_signals(shell):
        try:
            yield shell
        finally:
            shell.reporter.tell()


class PipeHandler(logging.Handler):
    """Sends what is logged to the supervisor."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, with its traceback if it has one."""
        self._link.send(Logged(logger=record.name, level=record.levelno, text=self.format(record)))


def log_levels() -> dict[str, int]:
    """Return the levels that were set in this process, by logger; the root's name is empty."""
    known = logging.root.manager.loggerDict.items()
    levels = {name: logger.level for name, logger in known if isinstance(logger, logging.Logger) and logger.level}
    return {"": logging.root.level, **levels}


def run_worker(work: Work, connection: Connection, levels: Mapping[str, int]) -> None:
    """Be a worker: the target of the process.

    Parameters
    ----------
    work : Work
        What is to be done.
    connection : Connection
        To the supervisor.
    levels : mapping
        Log levels, by logger.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = Link(connection)
    logging.root.addHandler(PipeHandler(link))
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    keep_freed_memory()
    try:
        status = run_handler(
            as_handler(work.make(), work.upkeep),
            work.where,
            broker=work.broker,
            intake=work.intake,
            surroundings=partial(worker_shell, link),
        )
    except BeamstreamError as error:
        link.send(Failed(text=str(error), is_misuse=isinstance(error, UsageError)))
    except Exception:
        logging.getLogger(__name__).exception("a worker ends")
        raise SystemExit(1) from None
    else:
        link.send(Ended(status=status))


Message = Told | Logged | Joined | Ended | Failed
"""What comes from a worker."""


def receive(connection: Any) -> Message | None:
    """Return the next message of a worker; None where none is there, and at its end."""
    try:
        message = connection.recv() if connection.poll() else None
    except (OSError, EOFError):
        return None
    return message if isinstance(message, Message) else None
