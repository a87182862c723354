"""The numbers, twice a second: of every data source, of the groups of its run, of the buffer; and their history.

They go on while the server is away: ages grow, and the buffer says that it cannot be asked, and why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beamstream.address import Address
from beamstream.errors import BeamstreamError, ServerError
from beamstream.groups import list_groups
from beamstream.presence import Presence, read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state
from beamstream_consumers.monitor.rates import RateMeter, life_of

from .changes import Changes
from .desk import Desk
from .newest import newest_entry
from .runs import Run
from .source import SourceWatcher
from .tally import Tally

log = logging.getLogger(__name__)

EVERY_S = 0.5
"""How often numbers are put on the board [s]."""

HISTORY_S = 600.0
"""How long they are kept for viewers that come later [s]."""

MAX_METERS = 1000
"""Runs and groups whose rates are remembered."""

Numbers = dict[str, Any]


class NumbersLoop:
    """Puts numbers on the board.

    Parameters
    ----------
    desk : Desk
        What is shared.
    watchers, tallies : sequence
        Of each data source, in the same order.
    n_viewers : callable
        Tells how many viewers there are.
    """

    def __init__(
        self,
        desk: Desk,
        watchers: Sequence[SourceWatcher],
        tallies: Sequence[Tally],
        n_viewers: Callable[[], int],
    ) -> None:
        self._desk = desk
        self._pairs = list(zip(watchers, tallies, strict=True))
        self._n_viewers = n_viewers
        self._server = Server(desk.broker)
        self._thread = threading.Thread(target=self._work, name="monitor numbers", daemon=True)
        self._changes = Changes()
        self._meters: dict[object, RateMeter] = {}
        self._newest_ns: dict[str, tuple[Run, int]] = {}
        self._sources: dict[str, Numbers] = {}
        self._groups: list[Numbers] = []
        self._buffer: Numbers = unknown_buffer("it was not asked yet")
        size = int(HISTORY_S / EVERY_S)
        self._history: dict[str, deque[tuple[float, float | None, float | None, float | None]]] = {
            watcher.name: deque(maxlen=size) for watcher in watchers
        }

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, after the desk's `stop`."""
        self._thread.join()
        self._server.close()

    def _work(self) -> None:
        while True:
            due_s = time.monotonic() + EVERY_S
            try:
                self.look()
            except Exception:  # numbers go on, whatever one of them does to us
                log.exception("numbers")
                self._desk.counts["troubles"] += 1
            if self._desk.stop.wait(max(0.0, due_s - time.monotonic())):
                return

    def look(self) -> None:
        """Measure once, and put the numbers on the board."""
        try:
            self._buffer = self._measure_buffer()
            for watcher, tally in self._pairs:
                self._sources[watcher.name] = self._measure_source(watcher, tally)
            self._groups = [group for watcher, _ in self._pairs for group in self._measure_groups(watcher)]
        except ServerError as error:
            self._buffer = {**self._buffer, "reachable": False, "flaw": str(error)}
            for watcher, _ in self._pairs:
                self._sources[watcher.name] = self._grown_old(watcher)
        document = {
            "t": "numbers",
            "time_s": time.time(),
            "sources": dict(self._sources),
            "groups": self._groups,
            "buffer": self._buffer,
            "viewers": self._n_viewers(),
        }
        self._desk.board.put(document)
        for level, text in self._changes.between(document):
            self._desk.board.note(level, text)
        self._remember(document)

    def _meter(self, key: object) -> RateMeter:
        """Return what measures the rate of something; those of runs of long ago are forgotten."""
        if key not in self._meters and len(self._meters) >= MAX_METERS:
            self._meters.clear()
        return self._meters.setdefault(key, RateMeter())

    def _remember(self, document: Mapping[str, Any]) -> None:
        """Add the numbers to the history, for viewers that come later."""
        for name, numbers in self._sources.items():
            hits = numbers["hits"]
            ring = self._history[name]
            rate = None if numbers["life"] == "waiting" else numbers["rate_hz"]
            ring.append((document["time_s"], rate, numbers["age_s"], hits and hits["hit_rate_of_late"]))
            times, rates, ages, hit_rates = (list(column) for column in zip(*ring, strict=True))
            history = {"time_s": times, "rate_hz": rates, "age_s": ages, "hit_rate": hit_rates}
            self._desk.board.put({"t": "history", "source": name, **history}, quietly=True)

    # --- sources -------------------------------------------------------------------------------------------------

    def _measure_source(self, watcher: SourceWatcher, tally: Tally) -> Numbers:
        run = watcher.run
        state = None if run is None else read_state(self._server, StreamKeys(run.address))
        if run is None or state is None or state.created_ns != run.created_ns:
            return waiting_numbers()
        newest = newest_entry(self._server, run.address)
        if newest is not None and newest.header is not None:
            self._newest_ns[watcher.name] = run, newest.header.timestamp_ns
        age_s = self._age_s(watcher)
        rate_hz, rate_bytes = self._rates((watcher.name, run.address, run.created_ns), state)
        since_s = age_s if age_s is not None else max(0.0, time.time() - state.created_ns / 1e9)
        return {
            **numbers_of(run.stream, state),
            "life": "finished" if state.finished else life_of(since_s),
            "rate_hz": rate_hz,
            "rate_mb_s": rate_bytes / 1e6,
            "age_s": age_s,
            "hits": tally.hits(state.next_id - 1),
        }

    def _rates(self, key: object, state: StreamState) -> tuple[float, float]:
        return self._meter(key).measure(time.monotonic(), state.n_received, state.total_bytes)

    def _age_s(self, watcher: SourceWatcher) -> float | None:
        """Return the age of the newest message of the run that is shown."""
        run, newest_ns = self._newest_ns.get(watcher.name, (None, 0))
        return None if run is None or run is not watcher.run else max(0.0, (time.time_ns() - newest_ns) / 1e9)

    def _grown_old(self, watcher: SourceWatcher) -> Numbers:
        """Return the last numbers of a source while nobody can be asked: ages grow, nothing else is known."""
        before = self._sources.get(watcher.name) or waiting_numbers()
        if before["life"] in ("waiting", "finished"):
            return before
        age_s = self._age_s(watcher)
        life = before["life"] if age_s is None else life_of(age_s)
        return {**before, "age_s": age_s, "life": life, "rate_hz": 0.0, "rate_mb_s": 0.0}

    # --- groups --------------------------------------------------------------------------------------------------

    def _measure_groups(self, watcher: SourceWatcher) -> list[Numbers]:
        """Return the groups of the run that is shown, and of what is made of it."""
        run = watcher.run
        if run is None:
            return []
        readers = (run.reader, run.peaks, run.hits)
        return [group for reader in readers if reader is not None for group in self._groups_of(reader.address)]

    def _groups_of(self, address: Address) -> list[Numbers]:
        found = []
        try:
            infos = list_groups(self._server, address)
        except ServerError:
            raise
        except BeamstreamError as error:
            log.debug("%s", error)
            return []
        for info in infos:
            rate_hz, _ = self._meter((address, info.name)).measure(time.monotonic(), info.n_delivered, 0)
            found.append(
                {
                    "source": str(address.source_address),
                    "stream": address.name,
                    "name": info.name,
                    "members": info.n_members,
                    "rate_hz": max(0.0, rate_hz),
                    "lag_messages": info.lag_messages,
                    "lag_s": info.lag_s,
                    "redelivered": info.n_redelivered,
                    "dead": info.n_dead,
                    "skipped": info.n_skipped,
                    "required": info.required,
                }
            )
        return found

    # --- the buffer ----------------------------------------------------------------------------------------------

    def _measure_buffer(self) -> Numbers:
        text: bytes = self._server.call("INFO", "memory")
        fields = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        limit_bytes = int(fields.get("maxmemory", 0))
        presence = read_presence(self._server)
        return {
            "reachable": True,
            "flaw": "" if presence is None else presence.flaw,
            "used_bytes": int(fields.get("used_memory", 0)),
            "limit_bytes": limit_bytes or None,
            **_disk(presence),
        }


def _disk(presence: Presence | None) -> Numbers:
    if presence is None or not presence.folder:
        return {"n_spilled": None, "spilling": False, "folder": None, "disk_free_bytes": None}
    return {
        "n_spilled": presence.n_spilled,
        "spilling": presence.spilling,
        "folder": presence.folder,
        "disk_free_bytes": presence.disk_free_bytes,
    }


def unknown_buffer(flaw: str) -> Numbers:
    """Return the numbers of a buffer that cannot be asked."""
    return {"reachable": False, "flaw": flaw, "used_bytes": None, "limit_bytes": None, **_disk(None)}


def numbers_of(stream: str, state: StreamState) -> Numbers:
    """Return what the state of a stream says; of one that is finished that is all."""
    return {
        "stream": stream,
        "life": "finished",
        "state": state.word,
        "n_received": state.n_received,
        "n_expected": state.n_expected,
        "n_missing": state.n_missing,
        "n_dropped": state.n_dropped,
        "n_expired": state.n_expired,
        "n_late": state.n_late,
        "n_duplicate": state.n_duplicate,
        "newest_id": state.next_id - 1,
        "rate_hz": 0.0,
        "rate_mb_s": 0.0,
        "age_s": None,
        "detector_dropped": state.n_detector_dropped,
        "hits": None,
    }


def waiting_numbers() -> Numbers:
    """Return the numbers of a data source without a run."""
    names = ("n_received", "n_missing", "n_dropped", "n_expired", "n_late", "n_duplicate", "newest_id")
    return {
        "stream": None,
        "life": "waiting",
        "state": "waiting",
        **dict.fromkeys(names, 0),
        "n_expected": None,
        "rate_hz": 0.0,
        "rate_mb_s": 0.0,
        "age_s": None,
        "detector_dropped": None,
        "hits": None,
    }
