"""A stream in data files of N ids each, as a detector's own file writer makes them, and a master that links to them.

Message i is in data file (i - 1) // N + 1, whenever it comes; so a reader finds image i without looking. A data file
gets its name when all of its ids have come or were passed over, the others at the end; one to which a message comes
late loses its name until that is in. One writer writes all of them.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

from beamstream import Frame, Gap
from beamstream.service import StreamEnd, StreamStart

from .claims import WHOLE, Claims
from .errors import MessageIdError, OutputError, OutputExistsError
from .finished import FinishedRecording, stream_of
from .gathering import has_arrays
from .ledger import MAX_MESSAGES
from .master import compose
from .one_file import close_recording
from .paths import SeriesPaths, publish, unpublish
from .recording import Recording, Shape
from .removal import remove_series

log = logging.getLogger(__name__)

MAX_OPEN = 4
"""Data files that are open at a time: the newest, and some to which messages come again."""

MAX_KNOWN = 16
"""Finished data files of which it is kept in memory what is in them."""

MAX_DATA_FILES = 100_000
"""Most data files of a recording, as many as readers take."""


class Blocks:
    """The data files of a stream; see `Rolling` for the parameters.

    Raises
    ------
    OutputExistsError
        If a file that holds something else is in the way.
    OutputError
        If another writer writes them.
    """

    def __init__(
        self, paths: SeriesPaths, stream: StreamStart, *, images_per_file: int, overwrite: bool, verify: bool
    ) -> None:
        self.output = paths.master
        self._paths = paths
        self._stream = stream
        self._n = images_per_file
        self._max_id = min(MAX_MESSAGES, self._n * MAX_DATA_FILES)
        self._verify = verify
        self._n_verified = 0
        self._open: OrderedDict[int, Recording] = OrderedDict()
        self._known: OrderedDict[int, FinishedRecording] = OrderedDict()
        self._passed: Counter[int] = Counter()
        self._declined: list[Gap] = []
        self._master: FinishedRecording | None = None
        self._claims = Claims(paths.claims)
        try:
            if not self._claims.take(WHOLE):
                raise OutputError(self.output.final, f"another writer has a lock on it: {self._claims.holder(WHOLE)}")
            if self.output.final.exists():
                if overwrite:
                    remove_series(paths, stream.address)
                elif stream_of(self.output.final) != str(stream.address):
                    raise OutputExistsError(self.output.final, "is another recording")
                else:
                    self._master = FinishedRecording(self.output.final)
        except BaseException:
            self._claims.close()
            raise

    def write(self, frame: Frame) -> bool:
        """Write one message; return whether it was new."""
        if not 1 <= frame.message_id <= self._max_id:
            raise MessageIdError(frame.message_id, self._max_id)
        if self._master is not None:
            if self._master.holds(frame):
                return False
            log.info("%s is put together anew: a message came late", self.output.final)
            unpublish(self.output)
            self._master = None
        number = (frame.message_id - 1) // self._n + 1
        finished = self._finished_file(number)
        if finished is not None:
            if finished.holds(frame):
                return False
            self._known.pop(number, None)
            unpublish(self._paths.data(number))
        recording = self._recording(number)
        new = recording.add(frame)
        if recording.n_received + self._passed[number] >= self._n:
            self._finish_file(number)
        return new

    def _finished_file(self, number: int) -> FinishedRecording | None:
        """Return what is in a data file that has its name."""
        if number in self._open or not self._paths.data(number).final.exists():
            return None
        if number not in self._known:
            path = self._paths.data(number).final
            if stream_of(path) != str(self._stream.address):
                raise OutputExistsError(path, "is another recording")
            self._known[number] = FinishedRecording(path)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return self._known[number]

    def _recording(self, number: int) -> Recording:
        """Return a data file to write to."""
        if number not in self._open:
            if len(self._open) >= MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                oldest.close(None)
            path = self._paths.data(number).partial
            make = Recording.resume if path.exists() else Recording.create
            self._open[number] = make(path, self._stream, self._shape(number))
        self._open.move_to_end(number)
        return self._open[number]

    def _shape(self, number: int) -> Shape:
        return Shape(first_id=(number - 1) * self._n + 1, room=self._n, is_part=True)

    def _finish_file(self, number: int, last_id: int = 0) -> None:
        """Finish a data file and give it its name."""
        recording = self._open[number]
        whole = last_id or number * self._n
        end = StreamEnd(last_id=whole, n_expected=None, reason="open", next_stream=None)
        report = close_recording(recording, end, verify=self._verify)
        self._n_verified += report.get("n_verified", 0)
        del self._open[number]
        publish(self._paths.data(number))

    def pass_over(self, gap: Gap) -> None:
        """Take note of ids without a message: their data file need not wait for them."""
        if gap.is_declined:
            self._declined.append(gap)
        for number in list(self._open):
            first = (number - 1) * self._n + 1
            n_passed = min(gap.last_id, first + self._n - 1) - max(gap.first_id, first) + 1
            if n_passed > 0:
                self._passed[number] += n_passed
                if self._open[number].n_received + self._passed[number] >= self._n:
                    self._finish_file(number)

    def commit(self, *, to_disk: bool) -> None:
        """Make what was written safe."""
        for recording in self._open.values():
            if recording.is_dirty or to_disk:
                recording.sync(to_disk=to_disk)

    def close(self, end: StreamEnd | None) -> dict[str, Any] | None:
        """Finish the data files, and make the master; with `end` None leave all to be continued."""
        if end is None:
            for recording in self._open.values():
                recording.close(None)
            self._open.clear()
            self._claims.close()
            return None
        if self._master is None:
            self._finish_files(end)
            parts = [self._paths.data(number).final for number in self._paths.numbers()]
            compose(
                self.output.partial, self._stream, parts, end,
                images_per_file=self._n, declined=self._declined,
            )  # fmt: skip
            publish(self.output)
            self._claims.delete()
        report = {**FinishedRecording(self.output.final).report, "path": str(self.output.final.resolve())}
        self._claims.close()
        return report | ({"n_verified": self._n_verified} if self._verify else {})

    def _finish_files(self, end: StreamEnd) -> None:
        """Finish all data files up to the last id; those of which nothing came are made, so that none is missing."""
        numbers = self._paths.numbers()
        if not numbers:
            return
        n_files = min(MAX_DATA_FILES, max(-(-end.last_id // self._n), *numbers))
        unfinished = [n for n in range(1, n_files + 1) if n in self._open or not self._paths.data(n).final.exists()]
        for number in unfinished:
            if self._paths.data(number).partial.exists() and self._recording(number).n_received:
                self._finish_file(number, self._last_id(number, end))
        like = next((path for path in map(self._final, numbers) if path.exists() and has_arrays(path)), None)
        for number in unfinished:
            if not self._final(number).exists():
                if like is not None:
                    self._recording(number).begin_like(like)
                else:
                    self._recording(number)
                self._finish_file(number, self._last_id(number, end))

    def _final(self, number: int) -> Path:
        return self._paths.data(number).final

    def _last_id(self, number: int, end: StreamEnd) -> int:
        """Return the last id that a data file has a row for; each has one at least."""
        return min(number * self._n, max(end.last_id, (number - 1) * self._n + 1))
