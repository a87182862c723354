"""What a loss of power leaves of a segment: of what was not synced, records may be whole and their payloads not.

Everything behind the first one that is damaged was not synced either, so nobody was told that it is safe, and producers
send it again. It is set aside, not deleted, and the segment ends before it. Damage among what is known to have been
synced is another thing, a disk that forgets: there nothing is cut.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from beamstream.segments import SegmentReader, list_segments
from beamstream.segments.appended import AppendedFile
from beamstream.segments.file import SegmentFile
from beamstream.segments.scan import Scanner, payload_flaw

from .position import START, Place

log = logging.getLogger(__name__)

SUFFIX = ".torn"
"""What is set aside lies beside its segment under this name, a number in front of it where there is one already."""


def set_torn_aside(folder: Path, safe: Place) -> int:
    """Cut a stream's last segment off before the first damage, if it was not closed; returns how much that was [bytes].

    Parameters
    ----------
    folder : Path
        The stream's segments.
    safe : tuple of int
        The last entry that is known to be synced.

    Raises
    ------
    SegmentBusyError
        If somebody writes the segment: then what looks damaged may only be unfinished.
    SegmentError, SegmentFormatError
        If the segment cannot be read.
    OSError
        If it cannot be cut.
    """
    segments = list_segments(folder)
    if not segments:
        return 0
    path = segments[max(segments)]
    with SegmentReader(path) as reader:
        if reader.report.closed or reader.header is None:
            return 0
        begin, segment_id = reader.header.length, reader.header.segment_id
    with contextlib.closing(AppendedFile.open(path)) as file, contextlib.closing(SegmentFile(path)) as source:
        cut_at, size = _first_damage(source, begin, segment_id, safe), source.length
        if cut_at is None:
            return 0
        _copy_aside(path, cut_at)
        file.cut(cut_at)
        file.sync()
    n_bytes = size - cut_at
    log.error("%s: %d bytes behind byte %d were not synced before a crash, and were set aside", path, n_bytes, cut_at)
    return n_bytes


def _first_damage(source: SegmentFile, begin: int, segment_id: int, safe: Place) -> int | None:
    """Return where the first damaged record begins; None where nothing is, or only what is known to be synced."""
    scanner = Scanner(source, begin, segment_id)
    last = START
    for head, _ in scanner.records():
        damages = scanner.report.damages
        if damages:
            return damages[0].offset if last >= safe else None
        if payload_flaw(source, head):
            return head.offset if last >= safe else None
        last = max(last, (head.position or head.message_id, head.sequence))
    return None  # a torn tail, with nothing whole behind it, is cut off by who goes on writing


def _copy_aside(path: Path, begin: int) -> None:
    """Copy what stands behind a place of a segment to a file beside it, and make it safe there."""
    number = len(list(path.parent.glob(f"{path.name}.*{SUFFIX}"))) + 1
    with path.open("rb") as file, path.with_name(f"{path.name}.{number}{SUFFIX}").open("xb") as aside:
        file.seek(begin)
        shutil.copyfileobj(file, aside)
        aside.flush()
        os.fsync(aside.fileno())
