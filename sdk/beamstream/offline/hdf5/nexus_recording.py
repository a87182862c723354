"""Our own NeXus files as a `Recording`: what `stream consume write` wrote is what comes out.

Ids, times, checksums, numbers, texts and lists that messages said, payload bytes and codec are the original's, and so
is the receipt. What the file does not know: when a late message came, how often messages were sent twice. What the
writer added so that the file is a valid NXmx is listed in the file and left out of the stream metadata.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import xxhash

from beamstream.address import Address
from beamstream.dataset import make_frame
from beamstream.errors import AddressError
from beamstream.frame import Frame, Header
from beamstream.offline.errors import RecordingFormatError

from .eiger_layout import numbered_links
from .files import OpenFiles, reading
from .image_recording import MAX_MESSAGES, Described, Ending, ImageRecording, ImageRun, Place
from .images import ImageDataset
from .nexus_arrays import MESSAGE_SHAPE, NOTHING, ArrayDataset, find_pieces
from .nexus_columns import MESSAGES, NOTES, MessageTable, Rows
from .tree import read_tree
from .virtual import Piece

DECLINED = "declined"
"""Dataset of the notes: ranges of ids for which no message was to come."""

GAP_REASON = "patience"
"""Why ids are missing, as far as the file knows: they had not come when their gap was passed over."""

WRITERS_OWN = frozenset(
    {"/entry/data/data", "/entry/data@signal", "/entry/data@NX_class"}
    | {"/entry/beamstream", "/entry/end_time", "/entry@default", "/entry/instrument/detector/data"}
    | {"/entry/data@axes", "/entry/data/timestamp", "/entry/result_1"}
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
        self._table = MessageTable(path, files)
        pieces = find_pieces(path, files)
        with reading(path):
            notes = file[NOTES]
            ending = _ending(notes)
            declined = [(int(first), int(last)) for first, last in notes[DECLINED][()]] if DECLINED in notes else []
            self._has_payloads = not bool(notes.attrs.get(NOTHING, False))
        try:
            address = Address.parse(notes.attrs["address"])
        except AddressError as error:
            raise RecordingFormatError(path, str(error)) from error
        if self._has_payloads:
            runs = _where(self._table.runs, pieces)
        else:
            place = Place(file=path, dataset="")
            runs = [ImageRun(first_id=run.first_id, n_images=run.n_messages, place=place) for run in self._table.runs]
        super().__init__(path, address, files, runs, ending, gap_reason=GAP_REASON, declined=declined)

    def describe(self, message_id: int) -> Described:
        """Return the message's row of the columns."""
        return self._table.describe(message_id)

    def known_checksum(self, message_id: int) -> int | None:
        """Return the checksum that the message came with."""
        return self._table.describe(message_id).checksum

    def late_ids(self) -> list[int]:
        """Return the ids of messages that came late, in order."""
        return self._table.late

    def open_dataset(self, place: Place) -> ImageDataset | ArrayDataset:
        """Return the arrays at a place: images, or what else messages can be."""
        dataset = self._files.dataset(place.file, place.dataset)
        codec = str(dataset.attrs.get("codec", ""))
        if MESSAGE_SHAPE in dataset.attrs or len(dataset.shape) != 3:
            return ArrayDataset(dataset, codec)
        return ImageDataset(dataset, place.channel, codec)

    def _frame(self, message_id: int) -> Frame:
        if self._has_payloads or self._run_of(message_id) is None:
            return super()._frame(message_id)
        described = self.describe(message_id)
        header = Header(
            payload_bytes=0,
            checksum=xxhash.xxh3_64_intdigest(b"") if described.checksum is None else described.checksum,
            timestamp_ns=described.timestamp_ns,
            metadata=described.metadata,
        )
        return make_frame(self.address, message_id, header, [b""], late=described.late, entry_id=f"{message_id}-0")

    def _stored_bytes(self, place: Place) -> int | None:
        return super()._stored_bytes(place) if self._has_payloads else 0

    @cached_property
    def _tree(self) -> dict[str, Any]:
        file = self._files.file(self.path)
        with reading(self.path):
            notes = file[NOTES]
            added = set(notes["completed"].asstr()[()].tolist()) if "completed" in notes else set()
            links = {f"/entry/data/{name}" for _, name in numbered_links(file["entry/data"])}
            entry = read_tree(file["entry"], self._files, self.path, WRITERS_OWN | added | links)
            others = read_tree(notes["metadata"], self._files, self.path) if "metadata" in notes else {}
        others.pop("@NX_class", None)
        if not entry.get("data"):
            entry.pop("data", None)
        said = {"entry": entry} if entry.keys() - {"@NX_class"} else {}  # the writer needs an entry, whatever was said
        return said | others

    def metadata(self) -> Mapping[str, Any]:
        """Return the stream metadata that the writer got, as far as HDF5 could hold them."""
        return self._tree


def _where(rows: list[Rows], pieces: list[Piece]) -> list[ImageRun]:
    """Return where the arrays of messages are: the rows of each run, as the pieces have them."""
    begins = [piece.begin for piece in pieces]
    runs: list[ImageRun] = []
    for run in rows:
        row, end = run.row, run.row + run.n_messages
        at = max(0, bisect.bisect_right(begins, row) - 1)
        while at < len(pieces) and row < end:
            piece = pieces[at]
            first, last = max(row, piece.begin), min(end, piece.begin + piece.n_images)
            if first < last:
                runs.append(
                    ImageRun(
                        first_id=run.first_id + first - run.row,
                        n_images=last - first,
                        place=piece.place,
                        position=piece.position + first - piece.begin,
                    )
                )
                row = last
            at += 1
    return runs


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
