"""Running a processor as a service: what `stream consume NAME` does for an analysis."""

from __future__ import annotations

from collections.abc import Callable

from beamstream.consumer.feed import Start

from .consume import run_handler
from .processing import ProcessorHandler
from .processor import Processor


def run_processor(
    make: Callable[[], Processor],
    where: str,
    *,
    broker: str | None = None,
    group: str | None = None,
    start: Start = "start",
    follow: bool = False,
    required: bool = False,
    part: int | None = None,
    metrics_port: int | None = None,
) -> int:
    """Process the frames of streams, until these are finished or a signal asks to end.

    Parameters
    ----------
    make : callable
        Makes the processor.
    where, broker, group, start, follow, required, part, metrics_port
        See `run_handler`.

    Returns
    -------
    int
        Exit status: 0 done, 1 a message was given up or a stream lost, 130 interrupted after a clean drain.

    Raises
    ------
    BeamstreamError
        As `run_handler`.
    """
    return run_handler(
        ProcessorHandler(make()),
        where,
        broker=broker,
        group=group,
        start=start,
        follow=follow,
        required=required,
        part=part,
        metrics_port=metrics_port,
    )
