"""Batched acknowledgements, and the sign of life that goes with them.

One thread per member of a group: it sends what waits after at most `EVERY_S`, and touches what the member holds. A
server that is lost is tried again by the next round; acknowledging twice does no harm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from beamstream.errors import BeamstreamError
from beamstream.retry import with_retries

from .delivery import ConsumerCounts
from .group import GroupMember

log = logging.getLogger(__name__)

BATCH = 256
"""Acknowledgements that are sent at once when that many wait: a call costs as much as some dozens of them."""

EVERY_S = 0.1
"""Longest time that an acknowledgement waits [s]."""


class Acknowledger:
    """Collects acknowledgements of one member and sends them in batches."""

    def __init__(self, member: GroupMember, counts: ConsumerCounts, retry_timeout_s: float | None) -> None:
        self.member = member
        self._counts = counts
        self._retry_timeout_s = retry_timeout_s
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"acknowledge {member.group}", daemon=True)
        self._thread.start()

    def add(self, entry_ids: Iterable[str]) -> None:
        """Let entries wait for the next batch; never waits for the server, which may be lost."""
        with self._lock:
            self._waiting.extend(entry_ids)
            full = len(self._waiting) >= BATCH
        if full and not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Send everything that waits, and return when the server has it."""
        with self._sending:
            with self._lock:
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                self._counts.n_acknowledged += with_retries(
                    lambda _: self.member.acknowledge(batch),
                    timeout_s=self._retry_timeout_s,
                    stop=self._stop,
                    counts=self._counts,
                )
            except BeamstreamError:
                with self._lock:
                    self._waiting[:0] = batch
                raise

    def _run(self) -> None:
        touch_at = time.monotonic() + self.member.touch_every_s
        while not self._stop.is_set():
            self._wake.wait(min(EVERY_S, self.member.touch_every_s))
            self._wake.clear()
            try:
                self.flush()
                if time.monotonic() >= touch_at:
                    touch_at = time.monotonic() + self.member.touch_every_s
                    self.member.touch()
            except BeamstreamError as error:
                log.warning("%s: %s", self.member.group, error)

    def close(self) -> None:
        """Send what waits, once, and end."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self.flush()
