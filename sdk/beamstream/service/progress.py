"""Progress of a service: one line that changes on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from beamstream.metrics import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
"""How often a line is logged where there is no terminal [s]."""

BAR_WIDTH = 24
"""Width of the bar of what is done [characters]."""

SHOW_EVERY_S = 0.25
"""How often the line on a terminal changes [s]."""


class Progress:
    """Shows what a service has counted; `tick` is cheap enough to be called for every message."""

    def __init__(self, name: str, snapshot: Callable[[], Snapshot], log_every_s: float = LOG_EVERY_S) -> None:
        self._name = name
        self._snapshot = snapshot
        self._live = _live_line() if sys.stderr.isatty() else None
        self._every_s = SHOW_EVERY_S if self._live else log_every_s
        self._started_at = self._shown_at = self._rated_at = time.monotonic()
        self._last_bytes = 0
        self._rate = 0.0

    def tick(self) -> None:
        """Show something, if it is time."""
        now = time.monotonic()
        if now - self._shown_at >= self._every_s:
            self._shown_at = now
            self._show()

    def _show(self) -> None:
        snapshot = self._snapshot()
        line = self._line(snapshot)
        if self._live is None:
            log.info("%s", line)
        else:
            self._live.start()
            self._live.update(_with_bar(line, snapshot.done), refresh=True)

    def hide(self) -> None:
        """Take the line off the terminal, so that something can be printed; the next `tick` shows it again."""
        if self._live is not None:
            self._live.stop()

    def line(self) -> str:
        """Return what there is to say, e.g. ``eiger  received 400  sent 400  12.1 MB/s``."""
        return self._line(self._snapshot())

    def _line(self, snapshot: Snapshot) -> str:
        return "  ".join([*self._said(snapshot), f"{self._measured_rate(snapshot) / 1e6:.1f} MB/s"])

    def last_line(self) -> str:
        """Return the sum of it all, e.g. ``eiger  received 400  sent 400  193.6 MB in 8.1 s``."""
        snapshot = self._snapshot()
        lasted_s = time.monotonic() - self._started_at
        return "  ".join([*self._said(snapshot), f"{snapshot.payload_bytes / 1e6:.1f} MB in {lasted_s:.1f} s"])

    def _measured_rate(self, snapshot: Snapshot) -> float:
        now = time.monotonic()
        if now - self._rated_at >= self._every_s:
            self._rate = (snapshot.payload_bytes - self._last_bytes) / (now - self._rated_at)
            self._rated_at, self._last_bytes = now, snapshot.payload_bytes
        return self._rate

    def _said(self, snapshot: Snapshot) -> list[str]:
        said = [self._name]
        if snapshot.done is not None:
            n_done, n_total = snapshot.done
            said.append(f"{n_done} of {n_total} ({n_done / max(1, n_total):.0%})")
        said += [*(f"{event.replace('_', ' ')} {n}" for event, n in snapshot.events.items() if n)]
        said += [f"{quantity.replace('_', ' ')} {value:.4g}" for quantity, value in snapshot.levels.items()]
        if snapshot.queued_bytes:
            said.append(f"queued {snapshot.queued_bytes / 1e6:.1f} MB")
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hide()
        log.info("%s", self.last_line())


def _with_bar(line: str, done: tuple[int, int] | None) -> RenderableType:
    """Return a line with a bar before it where it is known how much there is to do."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if done is None:
        return Text(line)
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=max(1, done[1]), completed=done[0], width=BAR_WIDTH), Text(line))
    return grid


def _live_line() -> Live:
    """Return a line on the terminal that can change; rich is imported only where there is one."""
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(stderr=True), auto_refresh=False, transient=True)
