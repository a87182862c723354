"""What viewers want: pictures of a source and kind are made at full pace only while somebody says so."""

from __future__ import annotations

import threading
import time

from beamstream_consumers.monitor.pictures.picture import Kind

WANTED_S = 5.0
"""How long a wish holds [s]; whoever still has it says it again, so that a viewer that vanished costs nothing."""


class Wants:
    """The wishes of all viewers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until_s: dict[tuple[str, Kind], float] = {}

    def say(self, source: str, kind: Kind) -> None:
        """Want pictures of this source and kind for the next `WANTED_S`."""
        with self._lock:
            self._until_s[source, kind] = time.monotonic() + WANTED_S

    def has(self, source: str, *kinds: Kind) -> bool:
        """Whether somebody wants one of these kinds now."""
        now_s = time.monotonic()
        with self._lock:
            return any(self._until_s.get((source, kind), 0.0) > now_s for kind in kinds)
