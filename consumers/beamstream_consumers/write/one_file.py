"""All of a stream in one file, by one writer."""

from __future__ import annotations

import logging
from typing import Any

from beamstream import Frame, Gap
from beamstream.errors import BeamstreamError, RetryLaterError
from beamstream.service import StreamEnd, StreamStart

from .errors import OutputExistsError
from .finished import FinishedRecording, stream_of
from .paths import OutputPath, publish, unpublish
from .recording import Recording, Shape

log = logging.getLogger(__name__)


class OneFile:
    """A stream that becomes one file.

    Parameters
    ----------
    output : OutputPath
        The file.
    stream : StreamStart
        The stream.
    packed : bool or None
        Rows in the order of arrival, for streams of which most ids have no message; see `Shape`.
    overwrite : bool
        Replace a finished file that is in the way.
    verify : bool
        Read every payload back before the file gets its name.

    Raises
    ------
    OutputExistsError
        If a file that holds something else is in the way.
    OutputError
        If the file cannot be written, or another process writes it.
    """

    def __init__(
        self, output: OutputPath, stream: StreamStart, *, packed: bool | None, overwrite: bool, verify: bool
    ) -> None:
        self.output = output
        self._stream = stream
        self._shape = Shape(packed=packed)
        self._verify = verify
        self._recording: Recording | None = None
        self._finished: FinishedRecording | None = None
        if output.final.exists() and not overwrite:
            if stream_of(output.final) != str(stream.address) or output.partial.exists():
                raise OutputExistsError(output.final, "is another recording")
            self._finished = FinishedRecording(output.final)
            log.info("%s is finished already; what comes again is compared with it", output.final)
        elif output.partial.exists():
            self._recording = Recording.resume(output.partial, stream, self._shape)
        else:
            self._recording = Recording.create(output.partial, stream, self._shape)

    def write(self, frame: Frame) -> bool:
        """Write one message; return whether it was new."""
        if self._finished is not None:
            if self._finished.holds(frame):
                return False
            self._continue_finished()
        if self._recording is None:
            raise RuntimeError("a message came after its file was closed")
        return self._recording.add(frame)

    def _continue_finished(self) -> None:
        """Go on with a finished file: a message came that is not in it."""
        log.info("%s is continued: a message came late", self.output.final)
        unpublish(self.output)
        self._finished = None
        self._recording = Recording.resume(self.output.partial, self._stream, self._shape)

    def pass_over(self, gap: Gap) -> None:
        """Take note of ids without a message."""
        if self._recording is not None:
            self._recording.pass_over(gap)

    def commit(self, *, to_disk: bool) -> None:
        """Make what was written safe."""
        if self._recording is not None:
            self._recording.sync(to_disk=to_disk)

    def close(self, end: StreamEnd | None) -> dict[str, Any] | None:
        """Finish the file and give it its name; with `end` None leave it to be continued."""
        if self._finished is not None:
            return {**self._finished.report, "path": str(self.output.final.resolve())}
        recording = self._recording
        if recording is None:
            return None
        report, path = close_recording(recording, end, verify=self._verify), self.output.partial
        self._recording = None
        if end is not None:
            publish(self.output)
            path = self.output.final
        return {**report, "path": str(path.resolve())}


def close_recording(recording: Recording, end: StreamEnd | None, *, verify: bool) -> dict[str, Any]:
    """Close a file, and read it back before if that is wanted and its stream has ended.

    Raises
    ------
    VerificationError
        If a payload does not read back as it was received; the file is closed then, and keeps its ``.partial`` name.
    DiskFullError
        If there is no room for the rest; to be called again.
    """
    if end is None or not verify:
        return recording.close(end)
    try:
        n_verified = recording.verify()
    except RetryLaterError:
        raise
    except BeamstreamError:
        recording.close(None)
        raise
    return recording.close(end) | {"n_verified": n_verified}
