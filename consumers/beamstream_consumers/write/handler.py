"""The `write` handler: one NeXus file per stream, safe before it is acknowledged, named when it is whole.

A message is acknowledged after its bytes were handed to the operating system; they are on the disk at most a second
later, so a killed writer loses nothing and a machine that loses power the last second. Messages come in any order
and as often as they like: each has one place in the file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamstream import Frame, Gap
from beamstream.errors import BeamstreamError, RetryLaterError
from beamstream.service import StreamEnd, StreamStart

from .errors import DiskFullError, OutputExistsError
from .finished import FinishedRecording, stream_of
from .paths import DEFAULT_TEMPLATE, OutputPath, free_bytes, output_path, publish, unpublish
from .recording import Recording

log = logging.getLogger(__name__)

MIN_FREE_BYTES = 1 << 30
"""Disk space that stays free [bytes]: enough for the metadata, logs, and the receipt of every open file."""

SYNC_INTERVAL_S = 1.0
"""How often bytes are forced to the disk [s]: what a machine that loses power may lose."""


class WriteHandler:
    """Writes the frames of a stream to a file.

    Parameters
    ----------
    directory : Path
        Where files are made.
    template : str
        Name of a file; may hold ``{beamtime}``, ``{source}``, ``{stream}``.
    overwrite : bool
        Replace a finished file that is in the way.
    verify : bool
        Read every frame back before the file gets its name.
    min_free_bytes : int
        Disk space that must stay free [bytes].
    """

    name = "write"

    def __init__(
        self,
        directory: Path,
        template: str = DEFAULT_TEMPLATE,
        *,
        overwrite: bool = False,
        verify: bool = False,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self._directory = directory
        self._template = template
        self._overwrite = overwrite
        self._verify = verify
        self._min_free_bytes = min_free_bytes
        self._stream: StreamStart | None = None
        self._output: OutputPath | None = None
        self._recording: Recording | None = None
        self._finished: FinishedRecording | None = None
        self._synced_at_s = 0.0
        self._free_bytes = 0
        self._n_written = 0
        self._n_rewritten = 0
        self._n_rejected = 0

    def open(self, stream: StreamStart) -> None:
        """Make the file, or go on with the one a writer before left.

        Raises
        ------
        OutputExistsError
            If a file that holds something else is in the way.
        OutputError
            If the file cannot be written, or another process writes it.
        DatasetStreamError
            If the stream's messages are datasets.
        """
        stream.refuse_datasets(self.name)
        self._stream = stream
        self._output = output = output_path(stream.address, self._directory, self._template)
        self._n_written = self._n_rewritten = self._n_rejected = 0
        if output.final.exists() and not self._overwrite:
            if stream_of(output.final) != str(stream.address) or output.partial.exists():
                raise OutputExistsError(output.final, "is another recording")
            self._finished = FinishedRecording(output.final)
            log.info("%s is finished already; what comes again is compared with it", output.final)
        elif output.partial.exists():
            self._recording = Recording.resume(output.partial, stream)
        else:
            self._recording = Recording.create(output.partial, stream)

    def handle(self, frame: Frame) -> None:
        """Write one frame.

        Raises
        ------
        DiskFullError
            If too little space is left.
        ShapeError, NotAnImageError, CodecError, MessageIdError, RecordingConflictError
            If the frame cannot stand in this file.
        OutputError
            If the file cannot be written.
        """
        try:
            new = self._write(frame)
        except RetryLaterError:
            raise
        except BeamstreamError:
            self._n_rejected += 1
            raise
        self._n_written += new
        self._n_rewritten += not new

    def gap(self, gap: Gap) -> None:
        """Do nothing: what is missing is found at the end, and a late message still has its place."""

    def commit(self) -> None:
        """Make what was handled safe from the death of this process, and once a second from that of the machine."""
        if self._recording is None:
            return
        now_s = time.monotonic()
        to_disk = now_s - self._synced_at_s >= SYNC_INTERVAL_S
        self._recording.sync(to_disk=to_disk)
        if to_disk:
            self._synced_at_s = now_s

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Finish the file and give it its name; with `end` None leave it to be continued.

        Returns
        -------
        mapping
            ``n_written``: frames in the file; ``n_rewritten``: frames that came again; ``n_rejected``: frames that
            went back; ``n_missing``, ``checksum``, ``bytes_written``, ``path``; ``n_verified``: frames that were
            read back, if that was wanted.

        Raises
        ------
        VerificationError
            If a frame does not read back as it was received.
        DiskFullError
            If there is no room for the rest; to be called again.
        OutputError
            If the file cannot be finished.
        """
        try:
            report = self._finish(end)
        except RetryLaterError:
            raise  # everything is kept for the next attempt
        except BeamstreamError:
            self._recording = self._finished = None
            raise
        self._recording = self._finished = None
        return report

    def _finish(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        output, recording, finished = self._output, self._recording, self._finished
        if output is None:
            return None
        if finished is not None:
            report, path = dict(finished.report), output.final
        elif recording is not None:
            report, path = self._close_recording(recording, end), output.partial
            if end is not None:
                publish(output)
                path = output.final
        else:
            return None
        return report | {"n_rewritten": self._n_rewritten, "n_rejected": self._n_rejected, "path": str(path.resolve())}

    def _close_recording(self, recording: Recording, end: StreamEnd | None) -> dict[str, Any]:
        """Close a file, and read it back before if that is wanted and its stream has ended."""
        if end is None or not self._verify:
            return recording.close(end)
        try:
            n_verified = recording.verify()
        except RetryLaterError:
            raise
        except BeamstreamError:
            recording.close(None)
            raise
        return recording.close(end) | {"n_verified": n_verified}

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was written since the stream was opened, and the space that was left then."""
        status: dict[str, int | float | str] = {
            "written": self._n_written,
            "rewritten": self._n_rewritten,
            "rejected": self._n_rejected,
        }
        if self._output is not None:
            status["file"] = self._output.final.name
            status["free_gb"] = round(self._free_bytes / 1e9, 1)
        return status

    def _write(self, frame: Frame) -> bool:
        """Write one frame; return whether it was new."""
        if self._finished is not None:
            if self._finished.holds(frame):
                return False
            self._continue_finished()
        if self._recording is None or self._output is None:
            raise RuntimeError("a frame came before its stream was opened")
        self._check_space(self._output)
        return self._recording.add(frame)

    def _continue_finished(self) -> None:
        """Go on with a finished file: a message came that is not in it."""
        if self._output is None or self._stream is None:
            raise RuntimeError("a frame came before its stream was opened")
        log.info("%s is continued: a message came late", self._output.final)
        unpublish(self._output)
        self._finished = None
        self._recording = Recording.resume(self._output.partial, self._stream)

    def _check_space(self, output: OutputPath) -> None:
        """Raise `DiskFullError` while too little space is left."""
        self._free_bytes = free_bytes(output.final)
        if self._free_bytes < self._min_free_bytes:
            raise DiskFullError(output.final, self._free_bytes, self._min_free_bytes)
