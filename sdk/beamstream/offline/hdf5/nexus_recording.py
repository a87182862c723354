"""Our own NeXus files as a `Recording`: what `stream consume write` wrote is what comes out.

Ids, times, checksums, numbers that messages said, payload bytes and codec are the original's, and so is the receipt.
What the file does not know: texts and lists that messages said, when a late message came, how often messages were sent
twice. What the writer added so that the file is a valid NXmx is listed in the file and left out of the stream metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream.address import Address
from beamstream.errors import AddressError
from beamstream.offline.errors import RecordingFormatError

from .files import OpenFiles, reading
from .image_recording import MAX_MESSAGES, Described, Ending, ImageRecording, ImageRun, Place
from .images import merge_ranges
from .tree import read_tree

NOTES = "entry/beamstream"
MESSAGES = f"{NOTES}/messages"
IMAGES = "entry/data/data"
OWN_COLUMNS = frozenset({"message_id", "timestamp", "checksum", "received", "late"})

BLOCK_ROWS = 4096
"""Rows of the columns that are read at once, as they are stored."""

GAP_REASON = "patience"
"""Why ids are missing, as far as the file knows: they had not come when their gap was passed over."""

WRITERS_OWN = frozenset(
    {"/entry/data/data", "/entry/data@signal", "/entry/data@NX_class"}
    | {"/entry/beamstream", "/entry/end_time", "/entry@default", "/entry/instrument/detector/data"}
)
"""What the writer always puts there, and no stream metadata did."""


def is_ours(file: h5py.File) -> bool:
    """Whether a file was written by `stream consume write`."""
    notes = file.get(NOTES)
    return isinstance(notes, h5py.Group) and isinstance(notes.attrs.get("address"), str) and MESSAGES in file


class NexusRecording(ImageRecording):
    """One of our NeXus files, finished or not.

    Raises
    ------
    RecordingFormatError
        If it is damaged.
    """

    def __init__(self, path: Path, files: OpenFiles) -> None:
        file = files.file(path)
        with reading(path):
            notes = file[NOTES]
            columns = file[MESSAGES]
            self._columns: dict[str, h5py.Dataset] = {name: columns[name] for name in columns}
            n_rows = min(int(self._columns["received"].shape[0]), MAX_MESSAGES)
            received = merge_ranges(_flagged(self._columns["received"], n_rows))
            late = self._columns.get("late")
            self._late = [] if late is None else _ids(_flagged(late, min(n_rows, int(late.shape[0]))))
            ending = _ending(notes)
            images = file.get(IMAGES)
            codec = None if images is None else str(images.attrs.get("codec", ""))
        try:
            address = Address.parse(notes.attrs["address"])
        except AddressError as error:
            raise RecordingFormatError(path, str(error)) from error
        place = Place(file=path, dataset=IMAGES)
        runs = [
            ImageRun(first_id=first + 1, n_images=last - first + 1, place=place, position=first)
            for first, last in received
        ]
        self._block: tuple[int, dict[str, npt.NDArray[Any]]] = (-1, {})
        super().__init__(path, address, files, runs, ending, gap_reason=GAP_REASON, codec=codec)

    def describe(self, message_id: int) -> Described:
        """Return the message's row of the columns."""
        row = self._row(message_id)
        metadata = {
            name: value.item()
            for name, value in row.items()
            if name not in OWN_COLUMNS and not (value.dtype.kind == "f" and np.isnan(value))
        }
        return Described(
            timestamp_ns=int(row["timestamp"]),
            metadata=metadata,
            checksum=int(row["checksum"]),
            late=bool(row.get("late", 0)),
        )

    def known_checksum(self, message_id: int) -> int | None:
        """Return the checksum that the message came with."""
        return int(self._row(message_id)["checksum"])

    def late_ids(self) -> list[int]:
        """Return the ids of messages that came late, in order."""
        return self._late

    def _row(self, message_id: int) -> dict[str, Any]:
        block, place = divmod(message_id - 1, BLOCK_ROWS)
        if self._block[0] != block:
            first = block * BLOCK_ROWS
            with reading(self.path):
                self._block = block, {name: rows[first : first + BLOCK_ROWS] for name, rows in self._columns.items()}
        return {name: rows[place] for name, rows in self._block[1].items() if place < len(rows)}

    @cached_property
    def _tree(self) -> dict[str, Any]:
        file = self._files.file(self.path)
        with reading(self.path):
            notes = file[NOTES]
            added = set(notes["completed"].asstr()[()].tolist()) if "completed" in notes else set()
            entry = read_tree(file["entry"], self._files, self.path, WRITERS_OWN | added)
            others = read_tree(notes["metadata"], self._files, self.path) if "metadata" in notes else {}
        others.pop("@NX_class", None)
        if not entry.get("data"):
            entry.pop("data", None)
        said = {"entry": entry} if entry.keys() - {"@NX_class"} else {}  # the writer needs an entry, whatever was said
        return said | others

    def metadata(self) -> Mapping[str, Any]:
        """Return the stream metadata that the writer got, as far as HDF5 could hold them."""
        return self._tree


def _flagged(column: h5py.Dataset, n_rows: int) -> list[tuple[int, int]]:
    """Return the ranges of rows in which a column is not 0, read in blocks."""
    ranges: list[tuple[int, int]] = []
    for first in range(0, n_rows, BLOCK_ROWS):
        rows = np.flatnonzero(column[first : first + BLOCK_ROWS])
        if rows.size == 0:
            continue
        breaks = np.flatnonzero(np.diff(rows) != 1)
        begins = rows[np.concatenate(([0], breaks + 1))]
        ends = rows[np.concatenate((breaks, [rows.size - 1]))]
        ranges += [(first + int(begin), first + int(end)) for begin, end in zip(begins, ends, strict=True)]
    return ranges


def _ids(ranges: list[tuple[int, int]]) -> list[int]:
    return [row + 1 for first, last in ranges for row in range(first, last + 1)]


def _ending(notes: h5py.Group) -> Ending:
    """Read how the stream ended; a file that its writer did not close has no receipt."""
    if "reason" not in notes:
        return Ending(last_id=0, n_expected=None, reason="", finished=False)
    reason = str(notes["reason"].asstr()[()])
    expected = int(notes["expected"][()])
    return Ending(
        last_id=min(int(notes["last_id"][()]), MAX_MESSAGES),
        n_expected=None if expected < 0 else expected,
        reason=reason,
        finished=reason != "open",
    )
