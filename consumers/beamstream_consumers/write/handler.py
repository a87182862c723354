"""The `write` handler: streams to NeXus files, safe before they are acknowledged, named when they are whole.

A message is acknowledged after its bytes were handed to the operating system; they are on the disk at most a second
later, so a killed writer loses nothing and a machine that loses power the last second. Messages come in any order
and as often as they like: each has one place in the files, whichever layout they have (`layouts`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamstream import Frame, Gap
from beamstream.errors import BeamstreamError, RetryLaterError
from beamstream.service import Commits, StreamEnd, StreamStart

from .errors import DiskFullError
from .layouts import Layout, Options, choose_layout
from .paths import DEFAULT_TEMPLATE, free_bytes

MIN_FREE_BYTES = 1 << 30
"""Disk space that stays free [bytes]: enough for the metadata, logs, and the receipt of every open file."""

SYNC_INTERVAL_S = 1.0
"""How often bytes are forced to the disk [s]: what a machine that loses power may lose."""

LOOK_EVERY_S = 0.05
"""How often the free space is looked at [s]: a fast disk takes half a GB meanwhile, less than stays free."""


COMMITS = Commits(n_messages=1024)
"""A commit takes some milliseconds whatever is in it: of small frames as long as it takes to write a hundred. Of large
ones the loop's limits of a tenth of a second and 256 MB come first."""


class WriteHandler:
    """Writes the messages of a stream to one file or several.

    Parameters
    ----------
    directory : Path
        Where files are made.
    template : str
        Name of a file; may hold ``{beamtime}``, ``{source}``, ``{stream}``.
    images_per_file : int, optional
        A master and data files of so many messages; otherwise one file.
    shared : bool
        Several members of the group write: each its own data files, and one of them the master in the end.
    packed : bool, optional
        Rows in the order of arrival and not by id; by default for streams of which the first ids were declined.
    overwrite : bool
        Replace a finished file that is in the way.
    verify : bool
        Read every message back before a file gets its name.
    min_free_bytes : int
        Disk space that must stay free [bytes].

    Raises
    ------
    UsageError
        If these cannot be had together.
    """

    name = "write"
    commits = COMMITS

    def __init__(
        self,
        directory: Path,
        template: str = DEFAULT_TEMPLATE,
        *,
        images_per_file: int | None = None,
        shared: bool = False,
        packed: bool | None = None,
        overwrite: bool = False,
        verify: bool = False,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self._options = Options(
            directory=directory,
            template=template,
            images_per_file=images_per_file,
            shared=shared,
            packed=packed,
            overwrite=overwrite,
            verify=verify,
        )
        self._min_free_bytes = min_free_bytes
        self._layout: Layout | None = None
        self._stream: StreamStart | None = None
        self._gaps: list[Gap] = []
        self._file = ""
        self._place = directory
        self._synced_at_s = 0.0
        self._looked_at_s = 0.0
        self._free_bytes = 0
        self._n_written = 0
        self._n_rewritten = 0
        self._n_rejected = 0

    def open(self, stream: StreamStart) -> None:
        """Make the files, or go on with those that a writer before left.

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
        self._n_written = self._n_rewritten = self._n_rejected = 0
        self._layout = layout = choose_layout(self._options, stream)
        self._file = layout.output.final.name
        self._place = layout.output.final
        self._looked_at_s = 0.0

    def handle(self, frame: Frame) -> None:
        """Write one message.

        Raises
        ------
        DiskFullError
            If too little space is left.
        ShapeError, NotAnImageError, CodecError, MessageIdError, RecordingConflictError
            If the message cannot stand in this file.
        OutputError
            If the file cannot be written.
        """
        if self._layout is None:
            raise RuntimeError("a message came before its stream was opened")
        try:
            self._check_space()
            new = self._layout.write(frame)
        except RetryLaterError:
            raise
        except BeamstreamError:
            self._n_rejected += 1
            raise
        self._n_written += new
        self._n_rewritten += not new

    def gap(self, gap: Gap) -> None:
        """Take note of ids without a message; a late one still has its place."""
        if self._layout is not None:
            self._layout.pass_over(gap)

    def commit(self) -> None:
        """Make what was handled safe from the death of this process, and once a second from that of the machine."""
        if self._layout is None:
            return
        now_s = time.monotonic()
        to_disk = now_s - self._synced_at_s >= SYNC_INTERVAL_S
        self._layout.commit(to_disk=to_disk)
        if to_disk:
            self._synced_at_s = now_s

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Finish the files and give them their names; with `end` None leave them to be continued.

        Returns
        -------
        mapping
            ``n_written``: messages in the files; ``n_rewritten``: messages that came again; ``n_rejected``: messages
            that went back; ``n_missing``, ``checksum``, ``bytes_written``, ``path``; ``n_verified``: messages that
            were read back, if that was wanted. None where that is not known yet: of several files without a master.

        Raises
        ------
        VerificationError
            If a message does not read back as it was received.
        DiskFullError, OthersWriteError
            If there is no room for the rest, or other members are not done; to be called again.
        OutputError
            If the file cannot be finished.
        """
        if self._layout is None:
            return None
        try:
            report = self._layout.close(end)
        except RetryLaterError:
            raise  # everything is kept for the next attempt
        except BeamstreamError:
            self._layout = None
            raise
        self._layout = None
        return None if report is None else report | {"n_rewritten": self._n_rewritten, "n_rejected": self._n_rejected}

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was written since the stream was opened, and the space that was left then."""
        status: dict[str, int | float | str] = {
            "written": self._n_written,
            "rewritten": self._n_rewritten,
            "rejected": self._n_rejected,
        }
        if self._file:
            status["file"] = self._file
            status["free_gb"] = round(self._free_bytes / 1e9, 1)
        return status

    def _check_space(self) -> None:
        """Raise `DiskFullError` while too little space is left."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s < LOOK_EVERY_S and self._free_bytes >= self._min_free_bytes:
            return
        self._looked_at_s = now_s
        self._free_bytes = free_bytes(self._place)
        if self._free_bytes < self._min_free_bytes:
            raise DiskFullError(self._place, self._free_bytes, self._min_free_bytes)
