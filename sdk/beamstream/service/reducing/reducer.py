"""What adds up over a stream is made of: a `Reducer`, which follows the stream in one process and survives its restart.

A reducer knows nothing of brokers and restarts. What it makes public is its whole state: from that message another
process goes on. Sums, counts, histograms, virtual powders are reducers; what looks at one frame by itself is a
`Processor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from beamstream.frame import Frame
from beamstream.service.consuming.consume import run_handler
from beamstream.service.consuming.handler import StreamStart
from beamstream.service.consuming.intake import DEFAULT_INTAKE, Intake
from beamstream.service.processing.processor import Output, Result
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep
from beamstream.shared.reach import check_reach_of

from .handler import PERIOD_S, ReducerHandler


class Reducer(Protocol):
    """Adds up what comes over a stream; may be `Tunable`, too."""

    name: str
    """What it is called in logs and metrics, and its group's name by default, e.g. ``statistics``."""

    def open(self, stream: StreamStart) -> Output:
        """Prepare for a stream, with nothing added up yet; return where the results go."""
        ...

    def restore(self, result: Frame) -> None:
        """Take over the state from a message that another process made of its `result`, its metadata included."""
        ...

    def add(self, frame: Frame) -> None:
        """Add one message; if this raises, nothing of it may have been added, and it comes again."""
        ...

    def result(self) -> Result:
        """Return what was added up so far: an array and metadata that have the whole state."""
        ...

    def reset(self) -> None:
        """Begin anew; what was added before does not count any more."""
        ...

    def status(self) -> Mapping[str, int | float | str]:
        """Return what the progress display and the metrics show beside the loop's own counts."""
        ...


def run_reducer(
    reducer: Reducer,
    where: str,
    *,
    broker: str | None = None,
    intake: Intake = DEFAULT_INTAKE,
    upkeep: Upkeep = DEFAULT_UPKEEP,
    period_s: float = PERIOD_S,
    metrics_port: int | None = None,
) -> int:
    """Run a reducer as a service until its streams are finished or a signal asks it to end.

    Every message is counted once, whatever dies: what is published holds the sums together with what they count, a
    message is acknowledged only after that, and whoever goes on after a crash begins with the newest result. A second
    process of the group waits as a spare, and takes over when the first one has been silent for ten seconds.

    Parameters
    ----------
    reducer : Reducer
        What is done.
    where, broker, intake, metrics_port
        As in `run_handler`.
    upkeep : Upkeep
        How the derived stream is treated: what is kept of it, for how long, and where it lies.
    period_s : float
        Shortest time between two published results [s]; after the last message one is published in any case.

    Returns
    -------
    int
        Exit status, as of `run_handler`.

    Raises
    ------
    SharedMemoryUnavailableError
        If results are to lie in shared memory, and none can be had from here.
    BeamstreamError
        As `run_handler`; `CannotGoOnError` where the newest result cannot be read, or another process has taken over.
    """
    check_reach_of(where, broker, upkeep.tier)
    handler = ReducerHandler(reducer, from_start=intake.start == "start", period_s=period_s, upkeep=upkeep)
    return run_handler(handler, where, broker=broker, intake=intake, metrics_port=metrics_port)
