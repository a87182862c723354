"""What adds up over a run, in a thread of its own for each data source: hits and histograms, and the receipt.

It reads the peak finder's messages in pages, without a group, from the run's beginning; where `stream consume
statistics` adds them up already, its newest result is taken instead. It also looks whether mask or geometry of the peak
finder have changed, so that pictures show what it uses.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from beamstream.address import Address
from beamstream.errors import BeamstreamError, ServerError
from beamstream.groups import GroupInfo, list_groups
from beamstream.parameters.errors import ParametersNotFoundError
from beamstream.parameters.store import ParameterStore
from beamstream.protocol import EntryKind, StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server
from beamstream.receipt import Contents, draw_receipt
from beamstream.state import StreamState, read_state
from beamstream.streams import index_entries
from beamstream_consumers.peaks.errors import PeakMessageError
from beamstream_consumers.peaks.statistics import PeakStatistics

from .desk import Desk
from .newest import newest_entry
from .runs import Run

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""How often is looked [s]."""

SLOW_EVERY_S = 2.0
"""How often parameters and the receipt of an ended run are looked at [s]."""

PAGE = 200
"""Messages of peaks that are read at once."""

BREATH_S = 0.01
"""Pause between two pages [s]: catching up with a long run must not keep the pictures waiting."""

HISTOGRAMS_EVERY_S = 1.0
"""Shortest time between two documents of histograms [s]."""

PEAKS_GROUP = "peaks"
"""The group of `stream consume peaks`."""

LARGE = ("mask", "geometry")
"""Its parameters that are no numbers: the mask is drawn or comes from a file, the geometry does so."""


class Tally:
    """Adds up the runs of one data source.

    Parameters
    ----------
    name : str
        What the page calls it.
    run : callable
        Returns the run that is shown, None for none.
    desk : Desk
        What is shared.
    """

    def __init__(self, name: str, run: Callable[[], Run | None], desk: Desk) -> None:
        self.name = name
        self._run_now = run
        self._desk = desk
        self._server = Server(desk.broker)
        self._thread = threading.Thread(target=self._work, name=f"monitor tally {name}", daemon=True)
        self._run: Run | None = None
        self._reset()
        self._slow_at = -SLOW_EVERY_S

    def _reset(self) -> None:
        self._statistics = PeakStatistics()
        self._read_to = "0-0"
        self._read_id = 0
        self._summary: Mapping[str, Any] | None = None
        self._summary_id = 0
        self._told_at = -HISTOGRAMS_EVERY_S
        self._told_frames = 0
        self._said = False
        self._contents: Contents | None = None
        self._n_entries = -1
        self._receipt_of: object = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, after the desk's `stop`."""
        self._thread.join()
        self._server.close()

    def hits(self, newest_id: int) -> dict[str, Any] | None:
        """Return the protocol's numbers of hits; None where nobody looks for peaks."""
        summary = self._summary
        if summary is None or self._run is not self._run_now():
            return None
        names = ("n_frames", "n_hits", "n_peaks", "hit_rate", "hit_rate_of_late", "n_frames_saturated")
        return {**{name: summary[name] for name in names}, "lag": max(0, newest_id - self._summary_id)}

    # --- the loop ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._desk.stop.wait(LOOK_EVERY_S):
            try:
                self._look()
            except ServerError as error:
                log.debug("%s", error)
            except BeamstreamError as error:
                log.info("%s: %s", self.name, error)
            except Exception:  # whatever a message does to us, the others are counted
                log.exception("%s", self.name)
                self._desk.counts["troubles"] += 1

    def _look(self) -> None:
        run = self._run_now()
        if run is not self._run:
            if self._run is not None:
                self._look_at_end(self._run)
            self._reset()
            self._run = run
        if run is None:
            return
        if not self._take_result(run) and run.peaks is not None:
            self._count(run, run.peaks.address)
        self._tell(run)
        if time.monotonic() - self._slow_at >= SLOW_EVERY_S:
            self._slow_at = time.monotonic()
            self._look_at_parameters(run)
            self._look_at_end(run)

    # --- hits ----------------------------------------------------------------------------------------------------

    def _take_result(self, run: Run) -> bool:
        """Take what `stream consume statistics` has added up; whether there is something."""
        address = Address(run.address.beamtime, f"{run.address.source}-statistics", run.stream)
        entry = newest_entry(self._server, address)
        if entry is None or entry.header is None:
            return False
        summary = entry.header.metadata
        names = ("n_frames", "n_hits", "n_peaks", "hit_rate", "hit_rate_of_late", "n_frames_saturated")
        numbers = [summary.get(name) for name in names]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            return False
        if not isinstance(summary.get("histograms"), Mapping):
            return False
        self._summary, self._summary_id = summary, int(summary["n_frames"])
        return True

    def _count(self, run: Run, address: Address) -> None:
        """Add what the peak finder has said since the last look."""
        index = StreamKeys(address).index
        while not self._desk.stop.is_set() and self._run_now() is run:
            page = self._server.call("XRANGE", index, f"({self._read_to}", "+", "COUNT", PAGE)
            for entry_id, flat in page:
                entry = read_entry(entry_id, fields_of(flat))
                self._read_to = entry_id.decode()
                if entry.kind is not EntryKind.MESSAGE or entry.header is None:
                    continue
                self._read_id = max(self._read_id, entry.message_id)
                try:
                    self._statistics.add(entry.message_id, entry.header.timestamp_ns, entry.header.metadata)
                except PeakMessageError as error:
                    self._desk.counts["peaks_uncounted"] += 1
                    if not self._said:
                        self._said = True
                        self._desk.board.note("warning", f"{address}: {error}")
            if page:
                self._summary, self._summary_id = self._statistics.summary(), self._read_id
            if len(page) < PAGE:
                return
            self._desk.stop.wait(BREATH_S)

    def _tell(self, run: Run) -> None:
        """Put the histograms on the board where they have changed."""
        summary = self._summary
        if summary is None or summary["n_frames"] == self._told_frames:
            return
        if time.monotonic() - self._told_at < HISTOGRAMS_EVERY_S:
            return
        self._told_at, self._told_frames = time.monotonic(), summary["n_frames"]
        self._desk.board.put({"t": "histograms", "source": self.name, "stream": run.stream, **summary["histograms"]})

    # --- the end, and parameters ---------------------------------------------------------------------------------

    def _look_at_end(self, run: Run) -> None:
        """Put the receipt of an ended run on the board, anew when late messages or groups have changed it."""
        state = read_state(self._server, StreamKeys(run.address))
        if state is None or not state.finished or state.created_ns != run.created_ns:
            return
        groups = list_groups(self._server, run.address)
        if (what := _what_counts(state, groups)) == self._receipt_of:
            return
        if self._contents is None or self._n_entries != state.n_entries:
            self._contents, self._n_entries = self._read_contents(run), state.n_entries
        self._receipt_of = what
        receipt = draw_receipt(run.address, state, self._contents, groups).as_dict()
        self._desk.board.put({"t": "receipt", "source": self.name, "stream": run.stream, "receipt": receipt})

    def _read_contents(self, run: Run) -> Contents:
        contents = Contents()
        for number, entry in enumerate(index_entries(self._server, run.address), 1):
            if entry.kind is EntryKind.MESSAGE and entry.header is not None:
                contents.add(entry.message_id, entry.header)
            elif entry.gap is not None:
                contents.add_gap(entry.gap)
            if number % PAGE == 0 and self._desk.stop.wait(0.001):
                break
        return contents

    def _look_at_parameters(self, run: Run) -> None:
        """Take over mask and geometry of the peak finder, for the pictures."""
        store = ParameterStore(self._server, run.address.source_address, PEAKS_GROUP)
        try:
            version = store.current() if store.newest_number() else None
        except ParametersNotFoundError:
            version = None
        if version is None:
            return
        stored = {name: version.values.get(name) for name in LARGE}
        token = large_token(version.values)
        if token != (self._desk.scenes.tuned(self.name) or large_token({})):
            values: Mapping[str, Any] = store.load_values(version.number, stored)
            self._desk.scenes.tune(self.name, token, values["mask"], values["geometry"])


def large_token(values: Mapping[str, Any]) -> object:
    """Return what names mask and geometry among the values of a version."""
    return tuple(repr(values.get(name)) for name in LARGE)


def _what_counts(state: StreamState, groups: list[GroupInfo]) -> object:
    """Return what makes a receipt another one."""
    return (
        state.n_entries,
        state.n_duplicate,
        [(group.name, group.n_delivered, group.n_dead, group.report) for group in groups],
    )
