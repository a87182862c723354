"""How the stream of a scan is begun, or gone on with: its name, its first number, its metadata.

A stream that is on the broker says in its metadata which scan it is from and which file was its message 1. So a run
that was stopped is gone on with under the same ids, also where the first files have been deleted since; and a scan that
has the name of another folder's gets another name.
"""

from __future__ import annotations

import logging
import time

from beamstream.errors import StreamExistsError
from beamstream.service import Event, StreamOpened
from beamstream.stop import StopFlag
from beamstream_producers.formats import cbf

from .files import FoundFile
from .known_streams import KnownStream, KnownStreams
from .messages import make_stream_metadata
from .naming import ScanKey, stream_names
from .options import CbfOptions
from .scan import Scan

log = logging.getLogger(__name__)

FULL_PATIENCE_S = 0.5
"""How long a gap may stay open where nothing is waited for [s]: a number that is not in the folder will not come."""


class Opening:
    """Begins streams.

    Parameters
    ----------
    options : CbfOptions
        Names, promises and the time zone.
    known : KnownStreams or None
        What is on the broker.
    sends_all : bool
        Whether what is there is sent again.
    """

    def __init__(self, options: CbfOptions, known: KnownStreams | None, *, sends_all: bool) -> None:
        self._options = options
        self._known = known
        self._sends_all = sends_all
        self._taken: set[str] = set()

    def open(
        self, found: FoundFile, image: cbf.CbfImage, lowest_number: int, stop: StopFlag
    ) -> tuple[Scan, list[Event]]:
        """Return the scan of a file, and the event that opens its stream; none where that has ended already.

        Raises
        ------
        CodecError
            If the image cannot be unpacked; the next one may do.
        StreamExistsError
            If the name that was asked for is something else's.
        ServerError, EntryError
            If the broker cannot be asked.
        """
        name, there = self._name(found.scan, stop)
        first = self._first_number(there, lowest_number)
        metadata = there.metadata if there else make_stream_metadata(image, found.scan, first, self._options.zone)
        scan = Scan(
            key=found.scan,
            stream=name,
            first_number=first,
            n_frames=self._options.n_frames,
            sends_all=self._sends_all,
            news_s=time.monotonic(),
        )
        self._taken.add(name)
        if there is not None and there.state.finished and not self._sends_all:
            scan.note_state(there.state)
            log.warning(
                "%s is on the broker as %s, which has ended (%s) with message %d: its files are not sent again; "
                "delete the stream, or name another one",
                *(found.scan, name, there.state.reason, there.state.last_id),
            )
            return scan, []
        scan.is_open = True
        going_on = "" if there is None else f", of which messages up to {there.state.next_id - 1} are there"
        log.info("%s becomes %s: file number %d is message 1%s", found.scan, name, first, going_on)
        opened = StreamOpened(
            stream=name,
            metadata=metadata,
            n_expected=self._options.n_frames,
            on_open=lambda _, state: scan.note_state(state),
            patience_s=None if self._options.follow else FULL_PATIENCE_S,
        )
        return scan, [opened]

    def _first_number(self, there: KnownStream | None, lowest_number: int) -> int:
        if there is not None and there.origin is not None:
            return there.origin.first_number
        return lowest_number if self._options.first_number is None else self._options.first_number

    def _name(self, key: ScanKey, stop: StopFlag) -> tuple[str, KnownStream | None]:
        """Return what the stream of a scan is called, and what is there of it."""
        wanted = self._options.stream
        if wanted is not None:
            there = self._find(wanted, stop)
            if there is not None and there.origin is None:
                raise StreamExistsError(wanted)
            return wanted, there
        for name in stream_names(key):
            if name in self._taken:
                continue
            there = self._find(name, stop)
            origin = there.origin if there else None
            if there is None or (origin and (origin.folder, origin.base) == (str(key.folder), key.base)):
                return name, there
            log.warning("the stream %s is there and not of %s; trying another name", name, key)
        raise StreamExistsError(key.base)

    def _find(self, name: str, stop: StopFlag) -> KnownStream | None:
        there = None if self._known is None else self._known.find(name, stop)
        if there is not None and there.origin is None and there.state.n_received == 0:
            return None  # nobody has said anything about it, nor sent anything to it
        return there

    def close(self) -> None:
        """Let the broker's connections go."""
        if self._known is not None:
            self._known.close()
