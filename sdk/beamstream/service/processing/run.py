"""Running a processor as a service: what `stream consume NAME` does for an analysis."""

from __future__ import annotations

from collections.abc import Callable

from beamstream.address import is_path, parse_where, split_url
from beamstream.errors import UsageError
from beamstream.protocol.client import Server, broker_url
from beamstream.service.allocation import keep_freed_memory
from beamstream.service.consuming.consume import run_handler
from beamstream.service.consuming.handler import Handler
from beamstream.service.consuming.intake import DEFAULT_INTAKE, Intake
from beamstream.service.consuming.worker import Work
from beamstream.service.consuming.workers import Supervisor
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep
from beamstream.service.shell import service_shell
from beamstream.shared.reach import check_reach_of

from .handler import as_handler
from .processor import Processor


def run_processor(
    make: Callable[[], Processor | Handler],
    where: str,
    *,
    workers: int = 1,
    broker: str | None = None,
    intake: Intake = DEFAULT_INTAKE,
    upkeep: Upkeep = DEFAULT_UPKEEP,
    metrics_port: int | None = None,
) -> int:
    """Process the frames of streams, or give them to a handler, until these are finished or a signal asks to end.

    Parameters
    ----------
    make : callable
        Makes the processor, or the handler. With several workers it travels to other processes: a class, a function
        of a module, or a `functools.partial` of one.
    workers : int
        How many processes share the work, as members of one group.
    upkeep : Upkeep
        How the derived streams are treated: what is kept of them, for how long, and where it lies.
    where, broker, intake, metrics_port
        See `run_handler`.

    Returns
    -------
    int
        Exit status: 0 done, 1 a message was given up or a stream lost, 130 interrupted after a clean drain.

    Raises
    ------
    UsageError
        If there are no workers, or `where` or what `make` is given cannot be meant.
    WorkerError
        If workers cannot work.
    SharedMemoryUnavailableError
        If results are to lie in shared memory, and none can be had from here.
    BeamstreamError
        As `run_handler`.
    """
    if workers < 1:
        raise UsageError(f"--workers {workers}: one at least has to do the work")
    check_reach_of(where, broker, upkeep.tier)
    if workers > 1:
        return _run_workers(
            Work(make=make, where=where, broker=broker, intake=intake, upkeep=upkeep), workers, metrics_port
        )
    keep_freed_memory()
    return run_handler(as_handler(make(), upkeep), where, broker=broker, intake=intake, metrics_port=metrics_port)


def _run_workers(work: Work, n_workers: int, metrics_port: int | None) -> int:
    """Run several worker processes; the same errors as where there is one, before any is started if possible."""
    if is_path(work.where):
        raise UsageError(
            f"--workers {n_workers}: {work.where} is a path, read by one process; "
            "'stream produce replay' puts it through a broker, whose groups share the work"
        )
    name = work.make().name
    url, text = split_url(work.where)
    parse_where(text)
    server = Server(broker_url(url or work.broker))
    server.check()
    supervisor = Supervisor(work, n_workers, server)
    with service_shell(name, supervisor.snapshot, metrics_port) as shell:
        supervisor.run(shell)
        status = shell.exit_status(failed=supervisor.failed)
    server.close()
    return status
