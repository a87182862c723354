"""A stream in data files of whatever messages came, by one member of a group or several; a master over them in the end.

Each member writes data files of its own, one at a time; a claim says which (`claims`). A member that begins first
looks for a data file that nobody has a claim on and that is not finished, because its writer was stopped or killed,
and goes on with it. Who comes to the end of the stream finishes its file, then waits until nobody else has one,
finishes those that were left, and puts the master together: under a claim that only one can have, and that nobody
begins a file under.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from beamstream import Frame, Gap
from beamstream.service import StreamEnd, StreamStart

from .claims import WHOLE, Claims
from .errors import OthersWriteError, OutputExistsError
from .finished import FinishedRecording, stream_of
from .master import compose
from .one_file import close_recording
from .paths import SeriesPaths, publish, unpublish
from .recording import Recording, Shape
from .removal import remove_series

log = logging.getLogger(__name__)

PATIENCE_S = 1.0
"""How long others are waited for at the end before that is worth a word [s]: one takes less to finish its file."""

LOOK_EVERY_S = 0.02
"""How often it is looked whether they are done [s]."""


class Rolling:
    """The data files of one member.

    Parameters
    ----------
    paths : SeriesPaths
        Where files are.
    stream : StreamStart
        The stream.
    images_per_file : int or None
        After how many messages a data file is finished; None: at the end.
    packed : bool
        Rows in the order of arrival, not by id.
    shared : bool
        Whether other members write, too.
    overwrite : bool
        Replace a finished recording.
    verify : bool
        Read every payload back before a file gets its name.

    Raises
    ------
    OutputExistsError
        If a file that holds something else is in the way.
    OutputError
        If files cannot be written.
    """

    def __init__(
        self,
        paths: SeriesPaths,
        stream: StreamStart,
        *,
        images_per_file: int | None,
        packed: bool,
        shared: bool,
        overwrite: bool,
        verify: bool,
    ) -> None:
        self.output = paths.master
        self._paths = paths
        self._stream = stream
        self._images_per_file = images_per_file
        self._shape = Shape(packed=packed, is_part=True)
        self._shared = shared
        self._verify = verify
        self._n_verified = 0
        self._number = 0
        self._recording: Recording | None = None
        self._declined: list[Gap] = []
        self._finished: FinishedRecording | None = None
        self._claims = Claims(paths.claims)
        try:
            if overwrite and self.output.final.exists() and self._claims.take(WHOLE):
                remove_series(paths, stream.address)
                self._claims.drop(WHOLE)
            self._look_for_master()
        except BaseException:
            self._claims.close()
            raise

    def _look_for_master(self) -> None:
        """See whether the recording is finished already; what comes again is compared with it."""
        if self.output.final.exists():
            if stream_of(self.output.final) != str(self._stream.address):
                raise OutputExistsError(self.output.final, "is another recording")
            self._finished = FinishedRecording(self.output.final)

    def write(self, frame: Frame) -> bool:
        """Write one message; return whether it was new, as far as this member knows."""
        if self._finished is not None:
            if self._finished.holds(frame):
                return False
            self._finished = None
        if self._recording is None and not self._begin(frame):
            return False
        recording = self._recording
        if recording is None:
            raise RuntimeError("there is no file for a message")
        new = recording.add(frame)
        if self._images_per_file is not None and recording.n_received >= self._images_per_file:
            self._finish_file(None)
        return new

    def _begin(self, frame: Frame) -> bool:
        """Take a data file that nobody writes, or make one; False where all is finished and has the message."""
        if not self._claims.take(WHOLE, shared=True):
            raise OthersWriteError(self.output.final, self._claims.holder(WHOLE))
        try:
            if self.output.final.exists():
                self._look_for_master()
                if self._finished is not None and self._finished.holds(frame):
                    return False
                self._finished = None
                log.info("%s is put together anew: a message came late", self.output.final)
                unpublish(self.output)
            self._recording = self._continue_one() or self._make_one()
        finally:
            self._claims.drop(WHOLE)
        for gap in self._declined:
            self._recording.pass_over(gap)
        self._declined = []
        return True

    def _continue_one(self) -> Recording | None:
        """Go on with a data file that was left unfinished."""
        for number in self._paths.numbers():
            path = self._paths.data(number).partial
            if path.exists() and self._claims.take(number):
                if path.exists():
                    recording = self._resume(number)
                    if self._images_per_file is None or recording.n_received < self._images_per_file:
                        self._number = number
                        return recording
                    recording.close(None)
                self._claims.drop(number)
        return None

    def _resume(self, number: int) -> Recording:
        return Recording.resume(self._paths.data(number).partial, self._stream, self._shape)

    def _make_one(self) -> Recording:
        number = 1
        while True:
            data = self._paths.data(number)
            if not data.final.exists() and not data.partial.exists() and self._claims.take(number):
                if not data.final.exists() and not data.partial.exists():
                    break
                self._claims.drop(number)
            number += 1
        recording = Recording.create(data.partial, self._stream, self._shape)
        self._number = number
        return recording

    def _finish_file(self, end: StreamEnd | None) -> None:
        """Finish this member's data file and give it its name."""
        recording = self._recording
        if recording is None:
            return
        finished = end or StreamEnd(last_id=0, n_expected=None, reason="open", next_stream=None)
        report = close_recording(recording, replace(finished, last_id=0), verify=self._verify)
        self._n_verified += report.get("n_verified", 0)
        self._recording = None
        publish(self._paths.data(self._number))
        self._claims.drop(self._number)

    def pass_over(self, gap: Gap) -> None:
        """Take note of ids without a message."""
        if self._recording is not None:
            self._recording.pass_over(gap)
        elif self._finished is None and gap.is_declined:
            self._declined.append(gap)

    def commit(self, *, to_disk: bool) -> None:
        """Make what was written safe."""
        if self._recording is not None:
            self._recording.sync(to_disk=to_disk)

    def close(self, end: StreamEnd | None) -> dict[str, Any] | None:
        """Finish; of several members, one puts the master together and the others wait for it.

        Raises
        ------
        OthersWriteError
            If others are not done; to be called again.
        """
        if end is None:
            if self._recording is not None:
                self._recording.close(None)
                self._recording = None
            self._leave_claims()
            return None
        self._finish_file(end)
        ends_at = time.monotonic() + PATIENCE_S
        while not self.output.final.exists():
            try:
                self._compose(end)
            except OthersWriteError:
                if time.monotonic() >= ends_at:
                    raise
                time.sleep(LOOK_EVERY_S)
        self._leave_claims()
        report = {**FinishedRecording(self.output.final).report, "path": str(self.output.final.resolve())}
        return report | ({"n_verified": self._n_verified} if self._verify else {})

    def _leave_claims(self) -> None:
        """Let go of all claims; who finds the recording finished deletes the file of them."""
        if self.output.final.exists() and self._claims.take(WHOLE):
            self._claims.delete()
        self._claims.close()

    def _compose(self, end: StreamEnd) -> None:
        """Finish what others left, and put the master together."""
        if not self._claims.take(WHOLE):
            raise OthersWriteError(self.output.final, self._claims.holder(WHOLE))
        try:
            if self.output.final.exists():
                return
            self._adopt(end)
            parts = [self._paths.data(number).final for number in self._paths.numbers()]
            compose(
                self.output.partial, self._stream, parts, end, packed=bool(self._shape.packed), declined=self._declined
            )
            publish(self.output)
            self._claims.delete()
        finally:
            self._claims.drop(WHOLE)

    def _adopt(self, end: StreamEnd) -> None:
        """Finish the data files that nobody writes any more.

        Raises
        ------
        OthersWriteError
            If somebody still writes one.
        """
        for number in self._paths.numbers():
            if not self._paths.data(number).partial.exists():
                continue
            if not self._claims.take(number):
                raise OthersWriteError(self._paths.data(number).final, self._claims.holder(number))
            if self._paths.data(number).partial.exists():
                log.info("%s was left unfinished; it is finished now", self._paths.data(number).final)
                self._recording, self._number = self._resume(number), number
                self._finish_file(end)
            else:
                self._claims.drop(number)
