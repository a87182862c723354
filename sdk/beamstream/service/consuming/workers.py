"""Several worker processes of one service: a supervisor that starts them, adds up what they count, and ends them.

All are members of one group, which shares out the frames; workers on other hosts join it by a command of their own. A
worker that dies is started again, later and later while it dies at once, and what it held is given to the others
without waiting for its silence to be noticed. The first Ctrl-C or SIGTERM has all of them drain, a second Ctrl-C kills
them.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from beamstream.consumer.group import GroupMember
from beamstream.errors import BeamstreamError, UsageError, WorkerError
from beamstream.metrics import Snapshot
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service.shell import Shell

from .worker import Ended, Failed, Joined, Logged, Told, Work, log_levels, receive, run_worker

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
"""How often is looked for signals, and whether a worker is due [s]."""

AGAIN_S, MOST_S = 0.5, 30.0
"""Shortest and longest pause before a worker that has died is started again; twice as long each time [s]."""

LIVED_S = 60.0
"""A worker that lived for so long begins anew with the shortest pause [s]."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries with threads of their own look at: workers share the processors."""


class Slot:
    """One worker, and those that were in its place before it.

    Parameters
    ----------
    number : int
        From 1; its name in the log.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess | None = None
        self.link: Connection | None = None
        self.told = Snapshot()
        self.past = Snapshot()
        self.joined: Joined | None = None
        self.ended: Ended | Failed | None = None
        self.due_at = 0.0
        self._begun_at = 0.0
        self._pause_s = AGAIN_S

    def start(self, work: Work) -> None:
        """Start a worker."""
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe(duplex=False)
        name = f"worker {self.number}"
        self.process = context.Process(target=run_worker, args=(work, theirs, log_levels()), name=name)
        with _deaf_to_ctrl_c():
            self.process.start()
        theirs.close()
        self._begun_at = time.monotonic()

    def bury(self) -> int | None:
        """Take a worker out that has ended; returns its exit code."""
        if self.process is None or self.link is None:
            return None
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        self.link.close()
        self.process = self.link = None
        self.past, self.told = add_up([self.past, self.told]), Snapshot()
        now = time.monotonic()
        self._pause_s = AGAIN_S if now - self._begun_at >= LIVED_S else min(MOST_S, 2 * self._pause_s)
        self.due_at = now + self._pause_s / 2
        return code


class Supervisor:
    """Looks after the workers of one service.

    Parameters
    ----------
    work : Work
        What each of them does.
    n_workers : int
        How many.
    server : Server
        Where groups are.
    """

    def __init__(self, work: Work, n_workers: int, server: Server) -> None:
        self._work = work
        self._server = server
        self._slots = [Slot(number) for number in range(1, n_workers + 1)]
        self._is_draining = False
        self.n_restarted = 0

    def run(self, shell: Shell) -> None:
        """Let them work until all have ended, or the service is to stop.

        Raises
        ------
        UsageError, WorkerError
            If they cannot work.
        """
        try:
            with _sharing_processors(len(self._slots)):
                while self._is_at_work(shell):
                    self._hear()
                    shell.progress.tick()
        finally:
            self._kill()
        for slot in self._slots:
            if isinstance(slot.ended, Failed):
                raise (UsageError if slot.ended.is_misuse else WorkerError)(slot.ended.text)

    def _is_at_work(self, shell: Shell) -> bool:
        """Start whoever is due, or have all drain; False where nobody works and nobody will."""
        if not self._is_draining and (shell.stop.is_set() or any(isinstance(one.ended, Failed) for one in self._slots)):
            self._is_draining = True
            for process in self._processes():
                process.terminate()
        due = [one for one in self._slots if one.process is None and one.ended is None and not self._is_draining]
        for slot in due:
            if time.monotonic() >= slot.due_at:
                slot.start(self._work)
        return bool(due) or any(self._processes())

    def _processes(self) -> list[SpawnProcess]:
        return [slot.process for slot in self._slots if slot.process is not None]

    def _hear(self) -> None:
        """Take in what workers say, and see who has ended."""
        links: list[Connection | int] = [slot.link for slot in self._slots if slot.link is not None]
        wait([*links, *(process.sentinel for process in self._processes())], LOOK_EVERY_S)
        for slot in self._slots:
            if slot.process is not None:
                has_ended = not slot.process.is_alive()  # asked before its last words are read
                self._read(slot)
                if has_ended:
                    self._see_off(slot)

    def _read(self, slot: Slot) -> None:
        while (message := receive(slot.link)) is not None:
            match message:
                case Told():
                    slot.told = message.snapshot
                case Logged():
                    logging.getLogger(message.logger).log(message.level, "worker %d: %s", slot.number, message.text)
                case Joined():
                    slot.joined = message
                case Ended() | Failed():
                    slot.ended = message

    def _see_off(self, slot: Slot) -> None:
        code = slot.bury()
        if slot.ended is not None or self._is_draining:
            return
        self.n_restarted += 1
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        log.error(
            "worker %d %s; what it held goes to others, and it is started again in %.1f s",
            slot.number,
            how,
            max(0.0, slot.due_at - time.monotonic()),
        )
        self._let_go(slot)

    def _let_go(self, slot: Slot) -> None:
        """Give back what a dead worker held: nobody need wait until its silence is noticed."""
        joined, slot.joined = slot.joined, None
        if joined is None:
            return
        try:
            GroupMember(self._server, StreamKeys(joined.address), joined.group, joined.member).leave()
        except BeamstreamError as error:
            log.debug("%s is noticed by its silence: %s", joined.member, error)

    def _kill(self) -> None:
        """Leave no process behind, whatever ends this one."""
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()
                slot.bury()

    def snapshot(self) -> Snapshot:
        """Return what all workers have counted."""
        total = add_up([one for slot in self._slots for one in (slot.past, slot.told)])
        return Snapshot(
            events={**total.events, "workers_restarted": self.n_restarted},
            payload_bytes=total.payload_bytes,
            queued_bytes=total.queued_bytes,
            levels={"workers": len(self._processes()), **total.levels},
            done=total.done,
        )

    @property
    def failed(self) -> bool:
        """Whether one of them gave a message up, or lost a stream."""
        return any(isinstance(slot.ended, Ended) and slot.ended.status == 1 for slot in self._slots)


def add_up(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Return what several processes have counted together: counts are added, other levels averaged."""
    events: Counter[str] = Counter()
    for one in snapshots:
        events.update(one.events)
    names = dict.fromkeys(name for one in snapshots for name in one.levels)
    return Snapshot(
        events={name: events[name] for name in dict.fromkeys(name for one in snapshots for name in one.events)},
        payload_bytes=sum(one.payload_bytes for one in snapshots),
        queued_bytes=sum(one.queued_bytes for one in snapshots),
        levels={name: _together([one.levels[name] for one in snapshots if name in one.levels]) for name in names},
    )


def _together(values: Sequence[float]) -> float:
    return sum(values) if all(isinstance(value, int) for value in values) else sum(values) / len(values)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Block SIGINT for what is started meanwhile: a terminal sends it to everybody, and workers are told by SIGTERM."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _sharing_processors(n_workers: int) -> Iterator[None]:
    """Tell libraries with threads of their own how many processors each worker has, where nobody has said so."""
    n_threads = max(1, len(os.sched_getaffinity(0)) // n_workers)
    said: Mapping[str, str] = {name: str(n_threads) for name in THREADS if name not in os.environ}
    os.environ.update(said)
    try:
        yield
    finally:
        for name in said:
            os.environ.pop(name, None)
