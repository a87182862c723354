"""Spilling: from memory to segments on disk, oldest first, before a payload may leave memory.

What was spilled is named in the stream's state (`spilled_entry`, `spill_host`, `spill_folder`) only after it is safe on
disk, so a reader never looks for what is not there. Where a broker that was killed had written more than it could say,
its successor goes on behind the last record in the file: nothing is written twice.
"""

from __future__ import annotations

import itertools
import logging
import socket
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamstream.address import Address
from beamstream.dataset import stored_payloads
from beamstream.errors import StreamNotFoundError
from beamstream.frame import Payload
from beamstream.protocol import Entry, EntryKind, StreamKeys, fields_of, read_entry, unlocate_header
from beamstream.protocol.client import Server
from beamstream.segments import (
    Record,
    RecordKind,
    SegmentBusyError,
    SegmentError,
    SegmentFormatError,
    SegmentStream,
    StreamWriter,
    end_record,
    list_segments,
    record_of_entry,
    stream_folder,
)

from .payloads import BufferedPayloads
from .position import START, Place, format_place, parse_place
from .sharing import Pool

log = logging.getLogger(__name__)

PAGE_MESSAGES = 256
"""Most entries spilled at once."""

PAGE_BYTES = 32 << 20
"""Payload bytes spilled at once [bytes]: large enough for the disk's own speed, small against any memory limit."""


INCOMPLETE = "incomplete"
"""Reason of a gap whose dataset had too few parts; see datasets.lua."""


RETRY_EVERY_S = 0.2
"""How often a disk that takes nothing is tried again [s]."""


@dataclass(slots=True)
class SpillCounts:
    """What was spilled up to now.

    Attributes
    ----------
    n_spilled, spilled_bytes : int
        Messages whose payload went to disk, and their bytes [bytes].
    n_gone : int
        Messages whose payload had left memory before it could be spilled.
    """

    n_spilled: int = 0
    spilled_bytes: int = 0
    n_gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Entries that are spilled at once: their records, the place of the last one and the messages up to there, their
    payload [bytes], whether the stream ends with them."""

    records: list[Record]
    last: Place
    n_messages: int
    payload_bytes: int
    ends: bool


class StreamSpiller:
    """Spills one stream into the segments of one folder."""

    def __init__(
        self,
        server: Server,
        address: Address,
        folder: Path,
        counts: SpillCounts,
        endpoint: str = "",
        pool: Pool | None = None,
    ) -> None:
        self.folder = folder
        self._endpoint = endpoint
        self._server = server
        self._keys = StreamKeys(address)
        self._payloads = BufferedPayloads(server, self._keys, pool)
        self._counts = counts
        self._writer = StreamWriter(folder, address)
        self.spilled = _last_place(folder)
        self._n_spilled = self._n_messages_up_to(self.spilled)
        self._writer.set_state(self._state())
        packed = server.call("GET", self._keys.meta)
        if packed:
            self._writer.set_metadata(packed)
        if self.spilled > START:
            self._announce()  # a broker that was killed may have written more than it could say

    def _n_messages_up_to(self, place: Place) -> int:
        """Return how many messages there are up to a place of the index."""
        raw = self._server.call("XREVRANGE", self._keys.index, format_place(place), "-", "COUNT", 1)
        return max((read_entry(entry_id, fields_of(flat)).n_messages for entry_id, flat in raw), default=0)

    def spill(self, wanted_bytes: int, reading: Executor) -> None:
        """Spill until so many payload bytes more are on disk, or nothing is left [bytes].

        While a page is written the next one is read, so that the disk does not wait for the server.

        Raises
        ------
        SegmentError
            If the disk does not take them; nothing has left memory, and it can be tried again.
        """
        page = self._read_page(self.spilled)
        while page is not None:
            wanted_bytes -= page.payload_bytes
            ahead = reading.submit(self._read_page, page.last) if wanted_bytes > 0 else None
            try:
                self._write_page(page)
            finally:
                page = ahead.result() if ahead is not None else None

    def _read_page(self, behind: Place) -> _Page | None:
        """Read the next entries and their payloads; None where there is nothing more."""
        raw = self._server.call("XRANGE", self._keys.index, "(" + format_place(behind), "+", "COUNT", PAGE_MESSAGES)
        if not raw:
            return None
        page = _within_bytes([(entry_id, fields_of(flat)) for entry_id, flat in raw])
        records = self._records(page)
        return _Page(
            records=records,
            last=parse_place(page[-1][0]),
            n_messages=read_entry(*page[-1]).n_messages,
            payload_bytes=sum(memoryview(record.payload).nbytes for record in records),
            ends=any(record.kind is RecordKind.END for record in records),
        )

    def _write_page(self, page: _Page) -> None:
        self._writer.append_all(page.records)
        self._writer.sync()
        self.spilled = page.last
        self._n_spilled = max(self._n_spilled, page.n_messages)
        if page.ends:
            self._writer.append_state(self._state())
            self._writer.close()
        self._announce()
        self._counts.n_spilled += len(page.records)
        self._counts.spilled_bytes += page.payload_bytes

    def _records(self, page: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Record]:
        entries = [read_entry(*one) for one in page]
        wanted = [stored_payloads(e.message_id, e.header) if e.header and e.inline is None else [] for e in entries]
        payloads = iter(self._payloads.fetch([one for of_entry in wanted for one in of_entry]))
        records = []
        for (entry_id, fields), entry, of_entry in zip(page, entries, wanted, strict=True):
            payload = _joined([next(payloads) for _ in of_entry])
            if entry.kind is EntryKind.END:
                records.append(self._end_record(entry))
            elif entry.kind is not EntryKind.UNREADABLE:
                self._counts.n_gone += bool(of_entry) and payload is None
                is_dataset = entry.header is not None and bool(entry.header.parts)
                if of_entry:
                    fields = {**fields, b"h": unlocate_header(fields[b"h"])}
                records.append(record_of_entry(entry_id, fields, payload, is_dataset=is_dataset))
        return records

    def _end_record(self, entry: Entry) -> Record:
        state = self._state()
        expected = state.get(b"expected")
        return end_record(
            last_id=entry.message_id,
            total_bytes=entry.total_bytes,
            reason=state.get(b"reason", b"").decode("utf-8", "replace"),
            next_stream=state.get(b"next_stream", b"").decode("utf-8", "replace") or None,
            n_expected=None if expected is None else int(expected),
        )

    def _state(self) -> dict[bytes, bytes]:
        flat = self._server.call("HGETALL", self._keys.state)
        if not flat:
            raise StreamNotFoundError(str(self._keys.address))
        return fields_of(flat)

    def _announce(self) -> None:
        """Tell readers how far the disk goes, and where it is."""
        self._server.script(
            "note",
            [self._keys.state],
            [
                *("set", "spilled_entry", format_place(self.spilled), "spilled_n", self._n_spilled),
                *("spill_host", socket.gethostname(), "spill_folder", str(self.folder)),
                *("spill_fetch", self._endpoint),
            ],
        )

    def close(self) -> None:
        """Let the files go; another spiller goes on with them."""
        self._writer.abandon()


class Spilling:
    """Spills the streams of one server below one folder.

    Parameters
    ----------
    server : Server
        The broker's server.
    root : Path
        Segments go to ``<root>/<beamtime>/<source>/<stream>/``; a stream of a name that is taken there by an older one
        gets a number behind it.
    endpoint : str
        Who serves the segments to readers that do not see them; empty: nobody.
    pool : Pool, optional
        The segments of shared memory.
    """

    def __init__(self, server: Server, root: Path, endpoint: str = "", pool: Pool | None = None) -> None:
        self.counts = SpillCounts()
        self._flaws: dict[Address, tuple[str, float]] = {}
        self._server = server
        self._root = root.absolute()
        self._endpoint = endpoint
        self._pool = pool
        self._spillers: dict[Address, tuple[int, StreamSpiller]] = {}
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="read ahead")

    @property
    def flaw(self) -> str:
        """What keeps a stream from being spilled; empty where nothing does."""
        return next((flaw for flaw, _ in self._flaws.values()), "")

    def spill(self, address: Address, created_ns: int, wanted_bytes: int) -> Place:
        """Spill a stream until so many bytes more are on disk, or nothing is left; returns how far the disk goes.

        A disk that is full or broken is told in the log once for each stream, and in `flaw`, until it takes something
        again; it is tried a few times a second.
        """
        known = self._spillers.get(address)
        spiller = known[1] if known is not None and known[0] == created_ns else None
        _, flawed_at = self._flaws.get(address, ("", -RETRY_EVERY_S))
        if time.monotonic() - flawed_at >= RETRY_EVERY_S:
            try:
                spiller = spiller or self._make_spiller(address, created_ns)
                spiller.spill(wanted_bytes, self._reading)
                self._say(address, "")
            except (SegmentError, SegmentBusyError, SegmentFormatError) as error:
                self._say(address, str(error))
        return spiller.spilled if spiller is not None else START

    def _say(self, address: Address, flaw: str) -> None:
        if flaw and address not in self._flaws:
            log.error("spilling %s stands still, producers will have to wait: %s", address, flaw)
        if flaw:
            self._flaws[address] = flaw, time.monotonic()
        elif self._flaws.pop(address, None) is not None:
            log.info("spilling %s goes on", address)

    def _make_spiller(self, address: Address, created_ns: int) -> StreamSpiller:
        self.forget(address)
        folder = self._folder(address, created_ns)
        spiller = StreamSpiller(self._server, address, folder, self.counts, self._endpoint, self._pool)
        self._spillers[address] = created_ns, spiller
        return spiller

    def _folder(self, address: Address, created_ns: int) -> Path:
        """Return the folder of this very stream, or a new one: a name may come again after its stream was deleted."""
        plain = stream_folder(self._root, address)
        for number in itertools.count(1):
            folder = plain if number == 1 else plain.with_name(f"{plain.name}_{number}")
            if not list_segments(folder) or _recorded_state(folder).get(b"created_ns") == b"%d" % created_ns:
                return folder
        return plain

    def keep_only(self, there: Collection[Address]) -> None:
        """Let the files of all other streams go: they were deleted."""
        for address in self._spillers.keys() - set(there):
            self.forget(address)

    def forget(self, address: Address) -> None:
        """Let a stream's files go, e.g. because it was deleted."""
        self._flaws.pop(address, None)
        known = self._spillers.pop(address, None)
        if known is not None:
            known[1].close()

    def close(self) -> None:
        """Let all files go."""
        for address in list(self._spillers):
            self.forget(address)


def _joined(payloads: list[Payload | None]) -> Payload | None:
    """Return the payloads of a message's parts one behind the other; None where one of them is gone."""
    there = [payload for payload in payloads if payload is not None]
    if not there or len(there) < len(payloads):
        return None
    return there[0] if len(there) == 1 else b"".join(there)


def _within_bytes(page: list[tuple[bytes, dict[bytes, bytes]]]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the first entries of a page, as many as fit into `PAGE_BYTES`, at least one message.

    A gap goes together with what the script appended behind it: producers take a message for safe when what stands at
    its id is on disk, and that may be the gap that it came too late for.
    """
    n_bytes = n_messages = 0
    for number, one in enumerate(page):
        header = read_entry(*one).header
        n_bytes += header.payload_bytes if header is not None else 0
        if n_messages and n_bytes > PAGE_BYTES:
            page = page[:number]
            break
        n_messages += header is not None
    while len(page) > 1 and read_entry(*page[-1]).kind is EntryKind.GAP:
        page = page[:-1]
    return page


def _last_place(folder: Path) -> Place:
    """Return the last entry that the segments in a folder hold."""
    if not list_segments(folder):
        return START
    with SegmentStream(folder) as stream:
        if not len(stream.order):
            return START
        last: Any = stream.order[-1]
        return int(last["position"]), int(last["sequence"])


def _recorded_state(folder: Path) -> Mapping[bytes, bytes]:
    try:
        with SegmentStream(folder) as stream:
            return stream.recorded_state()
    except (SegmentError, SegmentFormatError) as error:
        log.warning("%s is left alone: %s", folder, error)
        return {}
