"""One data source: finds its newest run and puts the newest pictures of it on the board, in a thread of its own.

It looks often while somebody watches, and a few times a second for nobody; a newer run takes the place of the one
before by itself.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Literal

from beamstream import Consumer
from beamstream.address import Address, SourceAddress
from beamstream.errors import (
    BeamstreamError,
    ServerError,
    StreamNotFoundError,
)
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state
from beamstream.streams import newest_streams

from .desk import Desk
from .newest import newest_run
from .run_pictures import FRAME_KINDS, HIT_KINDS, UNSEEN_EVERY_S, RunPictures
from .runs import Run, open_reader, waiting_document

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.02
"""How often the newest message is looked for while somebody watches [s]."""

IDLE_EVERY_S = 0.2
"""And while nobody does, or there is no run [s]."""

FIND_EVERY_S = 0.5
"""How often a newer run, and streams of peaks and hits, are looked for [s]."""

MAX_STREAMS = 100
"""Names of streams that the page is told."""


class SourceWatcher:
    """Watches one data source.

    Parameters
    ----------
    name : str
        What the page calls it.
    where : SourceAddress or Address
        A data source whose newest run is shown, or one stream.
    desk : Desk
        What is shared.

    Attributes
    ----------
    run : Run or None
        The run that is shown.
    """

    def __init__(self, name: str, where: SourceAddress | Address, desk: Desk) -> None:
        self.name = name
        self.where = where
        self.run: Run | None = None
        self._desk = desk
        self._server = Server(desk.broker)
        self._thread = threading.Thread(target=self._watch, name=f"monitor {name}", daemon=True)
        self._found_at = -FIND_EVERY_S
        self._pictures: RunPictures | None = None
        self._complaint = ""

    def start(self) -> None:
        """Begin."""
        self._desk.board.put(waiting_document(self.name, []))
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, after the desk's `stop`."""
        self._thread.join()
        if self.run is not None:
            self.run.close()
        self._server.close()

    def reset_powders(self) -> None:
        """Begin the powders anew."""
        if (run := self.run) is not None:
            run.powder.reset()
            run.hits_powder.reset()

    # --- the loop ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._desk.stop.is_set():
            pause_s = LOOK_EVERY_S if self._is_wanted() else IDLE_EVERY_S
            try:
                self._look()
            except ServerError as error:  # the numbers say it
                log.debug("%s", error)
                pause_s = FIND_EVERY_S
            except BeamstreamError as error:
                self._complain("warning", f"{self.name}: {error}")
                pause_s = IDLE_EVERY_S
            except Exception as error:  # whatever one source does to us, the others are shown
                log.exception("%s", self.name)
                self._desk.counts["troubles"] += 1
                self._complain("error", f"{self.name}: {type(error).__name__}: {error}")
                pause_s = UNSEEN_EVERY_S
            self._desk.stop.wait(pause_s)

    def _is_wanted(self) -> bool:
        return self.run is not None and self._desk.wants.has(self.name, *FRAME_KINDS, *HIT_KINDS)

    def _complain(self, level: Literal["warning", "error"], text: str) -> None:
        """Put into the log what a look ended with, unless the one before did so, too."""
        if text != self._complaint:
            self._complaint = text
            self._desk.board.note(level, text)

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._found_at >= FIND_EVERY_S:
            self._found_at = now_s
            self._find()
        if self._pictures is not None:
            self._pictures.look()

    # --- which run -----------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Look for a newer run, for peaks and hits, and for the end of the run."""
        address = newest_run(self._server, self.where)
        state = None if address is None else read_state(self._server, StreamKeys(address))
        run = self.run
        if address is None or state is None:
            if run is None and isinstance(self.where, Address) and address is not None:
                self._begin_if_there(address)
            elif run is not None:
                self._desk.board.note("warning", f"{run.address} is not on the server any more")
                self._leave()
            return
        if run is None or (run.address, run.created_ns) != (address, state.created_ns):
            self._begin(address, state)
            return
        changed = self._find_results(run)
        changed = self._note_end(run, state) or changed
        run.n_expected = state.n_expected
        if changed:
            self._tell(run, state)

    def _note_end(self, run: Run, state: StreamState) -> bool:
        """Say that the run has ended, once; whether it has just now."""
        if run.finished or not state.finished:
            return False
        run.finished = True
        text = f"{run.address} has ended: {state.word}, {state.n_received} messages"
        self._desk.board.note("info" if state.word == "complete" else "warning", text)
        return True

    def _begin_if_there(self, address: Address) -> None:
        """Begin with a stream that is named and may lie on disk only."""
        with contextlib.suppress(StreamNotFoundError), open_reader(address, self._desk.broker) as reader:
            self._begin(address, reader.state)

    def _begin(self, address: Address, state: StreamState) -> None:
        reader = open_reader(address, self._desk.broker)
        if (before := self.run) is not None:
            last = read_state(self._server, StreamKeys(before.address))
            if last is not None and last.created_ns == before.created_ns:
                self._note_end(before, last)
        self._leave()
        run = Run(
            source=self.name,
            address=address,
            created_ns=state.created_ns,
            reader=reader,
            metadata=reader.metadata,
            n_expected=state.n_expected,
            finished=state.finished,
        )
        self._find_results(run)
        self.run, self._pictures = run, RunPictures(run, self._server, self._desk, lambda: self._tell(run))
        expected = "" if state.n_expected is None else f", {state.n_expected} messages expected"
        what = f"has ended ({state.word})" if state.finished else "has begun"
        self._desk.board.note("info", f"{address} {what}{expected}")
        if state.n_parts > 1:
            self._pictures.say("warning", f"{address}: its messages have {state.n_parts} parts; the first one is shown")
        self._tell(run, state)

    def _leave(self) -> None:
        """Forget the run, and what was shown of it."""
        run, self.run, self._pictures = self.run, None, None
        if run is not None:
            self._desk.board.drop_pictures(self.name)
            self._desk.board.put(waiting_document(self.name, []))
            run.close()

    def _find_results(self, run: Run) -> bool:
        """Look for the streams of peaks and hits; whether there is another one."""
        before = run.peaks, run.hits
        run.peaks = self._derived(run, "peaks") if run.peaks is None else run.peaks
        run.hits = self._derived(run, "hits") if run.hits is None else run.hits
        return before != (run.peaks, run.hits)

    def _derived(self, run: Run, what: str) -> Consumer | None:
        address = Address(run.address.beamtime, f"{run.address.source}-{what}", run.address.name)
        if read_state(self._server, StreamKeys(address)) is None:
            return None
        try:
            return open_reader(address, self._desk.broker)
        except StreamNotFoundError:
            return None

    def _tell(self, run: Run, state: StreamState | None = None) -> None:
        """Put what is known of the run on the board."""
        state = state or run.reader.state
        source = run.address.source_address
        streams = [address.name for address in newest_streams(self._server, source, MAX_STREAMS)]
        self._desk.board.put(run.document(streams, state.expired_id + 1, state.next_id - 1))
