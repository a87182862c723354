"""Being woken up when a file comes. Events are a hint, never the truth: that is a look at the folder every second.

inotify knows nothing of what another machine writes over NFS, loses events when too many come at once, and says the
same thing twice; so the folders are looked at again in any case, and an event only makes it sooner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchfiles import Change, watch

from beamstream.stop import StopFlag

log = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it has a line for every event

GATHER_MS = 20
"""How long events are gathered once one has come [ms]."""

QUIET_MS = 5
"""After how long without a further one they are handed over [ms]."""


class FolderWatch:
    """Waits for files.

    Parameters
    ----------
    folders : sequence of path
        Where they come; none: there is nothing to wait for but time.
    recursive : bool
        Whether sub-folders are watched, too.
    stop : StopFlag
        Ends waiting.
    timeout_s : float
        How long one wait lasts at the most [s].
    """

    def __init__(self, folders: Sequence[Path], *, recursive: bool, stop: StopFlag, timeout_s: float) -> None:
        self._stop = stop
        self._timeout_s = timeout_s
        self._events: Iterator[set[tuple[Change, str]]] | None = None
        if folders:
            self._events = self._watch(folders, recursive=recursive)

    def _watch(self, folders: Sequence[Path], *, recursive: bool) -> Iterator[set[tuple[Change, str]]]:
        return watch(
            *folders,
            watch_filter=None,
            debounce=GATHER_MS,
            step=QUIET_MS,
            stop_event=self._stop,
            rust_timeout=int(self._timeout_s * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=recursive,
            ignore_permission_denied=True,
        )

    def wait(self) -> list[Path]:
        """Return files that somebody says have come or changed; none where nothing was said in time."""
        if self._events is None:
            self._stop.wait(self._timeout_s)
            return []
        try:
            changes = next(self._events, None)
        except OSError as error:  # no inotify here, or no more of it (fs.inotify.max_user_watches)
            log.warning("no events of new files (%s): the folder is looked at every second instead", error)
            changes = None
        if changes is None:
            self._events = None
            return []
        return [Path(name) for change, name in changes if change is not Change.deleted]
