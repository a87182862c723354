"""`SegmentStream`: all segments of one stream as one sequence, in the order of the index.

A record that is there twice (a crash between writing and remembering it) is given once, the whole one if one is
damaged. Ids whose records are damaged, or whose segments are missing, are stated as a gap of the reason `LOST`.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from beamstream.address import Address
from beamstream.dataset import PayloadId
from beamstream.errors import EntryError
from beamstream.frame import Gap
from beamstream.protocol import Entry, EntryKind

from .errors import CorruptRecordError, SegmentFormatError, SegmentReadError
from .paths import address_of_folder, list_segments
from .reader import ENTRY_KINDS, SegmentReader
from .records import Location, RecordKind, StoredEntry, StreamEnding, unpack_ending, unpack_state
from .restored import EntryTally, restored_state
from .table import Table

LOST = "lost"
"""Reason of a gap that only the segments have: the ids were there once."""

MAX_OPEN_FILES = 16
"""Files kept open at a time; the others open again when they are read."""

ORDER = np.dtype([("position", "<u8"), ("sequence", "<u8"), ("segment", "<u4"), ("row", "<u4")])
"""Where the entries are, in the order of the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDamage:
    """What is wrong with a stream's segments.

    Attributes
    ----------
    missing : list of (int, int)
        Ranges of numbers whose files are not there, both ends included.
    unreadable : dict of int to str
        Files that are no segments, and why.
    n_damaged : int
        Damaged records and places.
    torn_bytes : int
        Length of all torn tails [bytes].
    """

    missing: list[tuple[int, int]]
    unreadable: dict[int, str]
    n_damaged: int
    torn_bytes: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unreadable or self.n_damaged)


class SegmentStream:
    """The segments in one folder; not thread-safe.

    Parameters
    ----------
    folder : Path
        ``<root>/<beamtime>/<source>/<stream>``.

    Attributes
    ----------
    address : Address
        The stream, as the segments say, else the folder's last three names.
    order : (n_entries,) structured array
        A row for each entry, in the order of the index.

    Raises
    ------
    SegmentFormatError
        If there is no segment, or none that can be read, or they are of several streams.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._readers: dict[int, SegmentReader] = {}
        self._open: OrderedDict[int, None] = OrderedDict()
        self._unreadable: dict[int, str] = {}
        self._n_corrupt = 0
        self.order: npt.NDArray[Any] = np.empty(0, ORDER)
        self._by_id: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
        self.refresh()
        if not self._readers:
            reasons = "; ".join(f"{number:06d}: {why}" for number, why in self._unreadable.items())
            raise SegmentFormatError(folder, reasons or "the folder holds no segments")
        self.address = self._address()

    def _address(self) -> Address:
        named = {reader.header.address for reader in self._readers.values() if reader.header is not None}
        if len(named) > 1:
            raise SegmentFormatError(self.folder, f"segments of {', '.join(sorted(map(str, named)))} lie together")
        address = next(iter(named)) if named else address_of_folder(self.folder)
        if address is None:
            raise SegmentFormatError(self.folder, "neither its segments nor its name say which stream it is")
        return address

    def refresh(self) -> int:
        """Take in what was written since; return how many entries there are more."""
        n_before = len(self.order)
        changed = False
        for number, path in list_segments(self.folder).items():
            reader = self._readers.get(number)
            try:
                if reader is not None:
                    changed |= reader.refresh() > 0
                else:
                    self._readers[number] = SegmentReader(path)
                    changed = True
                self._touch(number)
                self._unreadable.pop(number, None)
            except (SegmentFormatError, SegmentReadError) as error:
                self._unreadable[number] = str(error)
        if changed:
            self._readers = dict(sorted(self._readers.items()))
            self._put_in_order()
        return len(self.order) - n_before

    def _put_in_order(self) -> None:
        pieces = [_entries_of(number, reader.table) for number, reader in self._readers.items()]
        order = np.concatenate(pieces) if pieces else np.empty(0, ORDER)
        self.order = order[np.lexsort((order["row"], order["segment"], order["sequence"], order["position"]))]
        self._by_id = None

    def _touch(self, number: int) -> SegmentReader:
        """Return a segment's reader, and let the file go that was not used for the longest time."""
        self._open[number] = None
        self._open.move_to_end(number)
        if len(self._open) > MAX_OPEN_FILES:
            self._readers[self._open.popitem(last=False)[0]].close()
        return self._readers[number]

    # --- what is there -----------------------------------------------------------------------------------------

    @property
    def segments(self) -> dict[int, SegmentReader]:
        """The readers of its segments, by number."""
        return self._readers

    @property
    def damage(self) -> StreamDamage:
        """What is wrong, as far as it was read; see `verify`."""
        numbers = sorted(self._readers.keys() | self._unreadable.keys())
        missing = [
            (before + 1, number - 1)
            for before, number in zip([0, *numbers], numbers, strict=False)
            if number > before + 1
        ]
        reports = [reader.report for reader in self._readers.values()]
        return StreamDamage(
            missing=missing,
            unreadable=dict(self._unreadable),
            n_damaged=self._n_corrupt
            + sum(report.n_damaged for report in reports)
            + sum(bool(reader.header_flaw) for reader in self._readers.values()),
            torn_bytes=sum(report.torn_bytes for report in reports),
        )

    def metadata(self) -> bytes | None:
        """Return the stream metadata as the server keeps them, from the last whole record; None where there is none."""
        return self._last_payload(RecordKind.METADATA)

    def ending(self) -> StreamEnding | None:
        """Return how the stream ended; None where no whole record says so."""
        for number, row in self._last_rows(RecordKind.END):
            try:
                return unpack_ending(*self._touch(number).record(row))
            except (CorruptRecordError, EntryError):
                self._n_corrupt += 1
        return None

    def recorded_state(self) -> dict[bytes, bytes]:
        """Return the fields of the state hash as last recorded; empty where they were not."""
        packed = self._last_payload(RecordKind.STATE)
        return {} if packed is None else unpack_state(packed)

    def state(self) -> dict[bytes, bytes]:
        """Return the fields of the state hash as the segments' entries make it; see `restored_state`.

        Goes through all entries.
        """
        tally = EntryTally()
        for stored in self.entries():
            tally.add(stored.entry)
        return restored_state(self.recorded_state(), tally, self.ending())

    def _last_rows(self, kind: RecordKind) -> Iterator[tuple[int, int]]:
        for number in reversed(self._readers):
            for row in reversed(self._readers[number].rows_of(kind)):
                yield number, row

    def _last_payload(self, kind: RecordKind) -> bytes | None:
        for number, row in self._last_rows(kind):
            try:
                return self._touch(number).payload(row)
            except CorruptRecordError:
                self._n_corrupt += 1
        return None

    # --- entries -----------------------------------------------------------------------------------------------

    def entries(self, position: int = 0, sequence: int = 0) -> Iterator[StoredEntry]:
        """Yield entries in the order of the index, beginning with this entry id or the first one behind it.

        What is lost stands there as a gap; payloads are not read. Messages are counted as far as they are here.
        """
        begin = bisect.bisect_left(
            self.order, (position, sequence), key=lambda row: (int(row["position"]), int(row["sequence"]))
        )
        next_id = max(1, position + (sequence > 0))
        total_bytes = 0
        n_messages = self._n_messages_before(begin)
        given = (0, 0)
        for place in self.order[begin:]:
            entry_id = int(place["position"]), int(place["sequence"])
            if entry_id == given:
                continue
            try:
                stored = self._touch(int(place["segment"])).entry(int(place["row"]))
            except CorruptRecordError:
                self._n_corrupt += 1
                continue
            given = entry_id
            first_id = _first_id(stored.entry)
            if first_id is not None and first_id > next_id:
                yield _counted(_lost(next_id, first_id - 1, total_bytes), n_messages)
            n_messages += stored.entry.kind is EntryKind.MESSAGE
            yield _counted(stored, n_messages)
            total_bytes = stored.entry.total_bytes
            if first_id is not None:
                next_id = max(next_id, entry_id[0] + 1)

    def _n_messages_before(self, begin: int) -> int:
        return int(np.count_nonzero(self._ids()[1] < begin)) if begin else 0

    def find(self, message_id: int) -> StoredEntry | None:
        """Return a message by its id, the first entry of it; None where it is not here, or damaged."""
        return next(self.find_all(message_id), None)

    def find_all(self, message_id: int) -> Iterator[StoredEntry]:
        """Yield what stands under a message id, in the order of the index: a dataset may have parts that came later."""
        ids, rows = self._ids()
        begin, end = np.searchsorted(ids, message_id), np.searchsorted(ids, message_id, "right")
        given = ""
        for place in self.order[rows[begin:end]]:
            try:
                stored = self._touch(int(place["segment"])).entry(int(place["row"]))
            except CorruptRecordError:
                self._n_corrupt += 1
                continue
            if stored.entry.entry_id != given:
                given = stored.entry.entry_id
                yield stored

    def locate(self, payload_id: PayloadId) -> Location | None:
        """Return where the payload of a message lies, or of a part of it; None where it is not here, or gone."""
        message_id, _, *part = payload_id
        for stored in self.find_all(message_id):
            location = stored.part_location(part[0]) if part else stored.location
            if location is not None and not stored.is_gone:
                return location
        return None

    def is_gone(self, message_id: int) -> bool:
        """Whether a message is here, and its payload had left memory before it could be kept."""
        found = list(self.find_all(message_id))
        return bool(found) and all(stored.is_gone for stored in found)

    def messages_backwards(self) -> Iterator[StoredEntry]:
        """Yield the messages that are whole, the last one of the index first."""
        for place in self.order[::-1]:
            try:
                stored = self._touch(int(place["segment"])).entry(int(place["row"]))
            except CorruptRecordError:
                self._n_corrupt += 1
                continue
            if stored.entry.kind is EntryKind.MESSAGE:
                yield stored

    def _ids(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the message ids in rising order, and where in `order` each stands."""
        if self._by_id is None:
            ids = np.zeros(len(self.order), "u8")
            is_message = np.zeros(len(self.order), bool)
            for number, reader in self._readers.items():
                mine = self.order["segment"] == number
                found = reader.table[self.order["row"][mine]]
                ids[mine], is_message[mine] = found["message_id"], found["kind"] == RecordKind.MESSAGE
            rows = np.flatnonzero(is_message)
            rows = rows[np.argsort(ids[rows], kind="stable")]
            self._by_id = ids[rows], rows
        return self._by_id

    def read(self, location: Location, checksum: int | None = None) -> bytes:
        """Read a payload; see `SegmentReader.read`.

        Raises
        ------
        CorruptRecordError
            If it is damaged, or its segment is not here.
        """
        if location.segment not in self._readers:
            raise CorruptRecordError(self.folder, location.offset, f"segment {location.segment} is missing")
        return self._touch(location.segment).read(location, checksum)

    def close(self) -> None:
        """Let all files go."""
        for reader in self._readers.values():
            reader.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _entries_of(number: int, table: Table) -> npt.NDArray[Any]:
    """Return where the entries of a segment stand; one that was not placed stands where its message id says."""
    rows = np.flatnonzero(np.isin(table["kind"], ENTRY_KINDS))
    found = table[rows]
    places = np.empty(len(rows), ORDER)
    places["position"] = np.where(found["position"], found["position"], found["message_id"])
    places["sequence"] = found["sequence"]
    places["segment"] = number
    places["row"] = rows
    return places


def _first_id(entry: Entry) -> int | None:
    """Return the first id that an entry settles; None for a late one, which was settled before."""
    if entry.gap is not None:
        return entry.gap.first_id
    if entry.kind is EntryKind.END:
        return entry.message_id + 1
    return None if entry.late else entry.message_id


def _counted(stored: StoredEntry, n_messages: int) -> StoredEntry:
    return replace(stored, entry=replace(stored.entry, n_messages=n_messages))


def _lost(first_id: int, last_id: int, total_bytes: int) -> StoredEntry:
    gap = Gap(first_id=first_id, last_id=last_id, reason=LOST)
    entry = Entry(entry_id=f"{last_id}-0", kind=EntryKind.GAP, message_id=last_id, total_bytes=total_bytes, gap=gap)
    return StoredEntry(entry=entry, header=b"", location=Location(segment=0, offset=0, length=0))
