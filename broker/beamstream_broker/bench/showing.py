"""How far the bench is, on standard error: a line that changes on a terminal, elsewhere a plain line per figure."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from .findings import Ceiling, Left, Result, frame_text
from .table import milliseconds, number

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Showing:
    """A reporter for people.

    Parameters
    ----------
    n_steps : int
        How often something begins.
    """

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
        self._n_begun = 0
        self._live: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (BarColumn(24), TextColumn("{task.completed:.0f} of {task.total:.0f}"), TimeElapsedColumn())
            text = TextColumn("{task.description}", markup=False)
            progress = Progress(*columns, text, console=Console(stderr=True), transient=True, refresh_per_second=2)
            self._live = progress, progress.add_task("", total=self._n_steps)
            progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live[0].stop()

    def begin(self, what: str) -> None:
        """Say what is measured now."""
        if self._live is not None:
            progress, task = self._live
            progress.update(task, description=what, completed=max(0, self._n_begun - 1))
        self._n_begun += 1

    def found(self, one: Ceiling | Result | Left) -> None:
        """Say what was found, where no line can change."""
        if self._live is None:
            typer.echo(f"bench: {describe(one)}", err=True)


def describe(one: Ceiling | Result | Left) -> str:
    """Return a figure in words."""
    if isinstance(one, Left):
        return f"{one.what}: not measured: {one.reason}"
    size = "" if one.message_bytes is None else f"{frame_text(one.message_bytes)}, "
    name = one.name if isinstance(one, Ceiling) else one.label
    said = f"{size}{name}: {number(one.bytes_per_s / 1e9)} GB/s"
    if one.message_bytes is not None:
        said += f", {number(one.messages_per_s)} messages/s"
    if isinstance(one, Result) and one.latency is not None:
        said += f"; p50 {milliseconds(one.latency.p50_s)} ms, p99 {milliseconds(one.latency.p99_s)} ms"
    return said
