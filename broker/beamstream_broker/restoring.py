"""Putting streams back: an index that has left the server is built up again from the stream's segments.

It is built under keys of its own and renamed into place at once, so that nobody ever sees half a stream. The groups are
put where the last snapshot saw them, but not behind what is on disk: what comes after that is sent again by the
producers of a stream that keeps all, and must be given to the groups again, too.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from beamstream.address import Address
from beamstream.errors import AddressError, BeamstreamError, CorruptDataError, ServerError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.keys import SOURCES, WANTED, streams_of
from beamstream.protocol.packing import Argument
from beamstream.segments import (
    EntryTally,
    SegmentBusyError,
    SegmentError,
    SegmentFormatError,
    SegmentStream,
    SegmentWriteError,
    list_segments,
    restored_state,
)
from beamstream.segments.records import StoredEntry

from .position import Place, format_place, parse_place
from .snapshots import GroupSnapshot, Snapshot, SnapshotError, read_snapshot
from .torn import set_torn_aside

log = logging.getLogger(__name__)

PAGE = 512
"""Commands in one round trip."""

PAGE_BYTES = 8 << 20
"""Inline payloads in one round trip [bytes]."""

Command = tuple[Argument, ...]


@dataclass(slots=True)
class RestoreCounts:
    """What was put back: streams, their messages, and streams that could not be."""

    n_streams: int = 0
    n_messages: int = 0
    n_failed: int = 0


def restore_stream(server: Server, folder: Path) -> tuple[Address, int] | None:
    """Put a stream back from its folder; returns it and the number of its messages, None where it is there already.

    Raises
    ------
    SegmentError, SegmentFormatError
        If the segments cannot be read.
    ServerError
        If the server does not take it.
    """
    with SegmentStream(folder) as stream:
        snapshot = _snapshot_of(folder, stream)
    if not server.call("EXISTS", StreamKeys(stream.address).state):
        try:
            set_torn_aside(folder, parse_place(snapshot.state.get(b"spilled_entry", b"0-0")))
        except SegmentBusyError as error:
            log.info("%s; nothing of it is torn", error)
        except (OSError, SegmentWriteError) as error:
            log.error("what a crash has torn in %s cannot be set aside: %s", folder, error)
    with SegmentStream(folder) as stream:
        return _Restoring(server, stream, snapshot).run()


def _snapshot_of(folder: Path, stream: SegmentStream) -> Snapshot:
    """Return the folder's snapshot; what the segments have recorded, where there is none of this very stream."""
    recorded = stream.recorded_state()
    try:
        snapshot = read_snapshot(folder)
    except SnapshotError as error:
        log.error("%s; its groups begin anew", error)
        snapshot = None
    if snapshot is None or recorded.get(b"created_ns", b"") != snapshot.state.get(b"created_ns"):
        return Snapshot(run_id="", state=recorded)
    return snapshot


class _Restoring:
    """One stream on its way back."""

    def __init__(self, server: Server, stream: SegmentStream, snapshot: Snapshot) -> None:
        self._server = server
        self._stream = stream
        self._snapshot = snapshot
        self._keys = StreamKeys(stream.address)
        self._built: dict[str, str] = {}  # the key that is built -> the one that it becomes

    def _key(self, final: str) -> str:
        built = f"{final}:restoring"
        self._built[built] = final
        return built

    def run(self) -> tuple[Address, int] | None:
        address = self._stream.address
        index, late = self._key(self._keys.index), self._key(self._keys.late)
        meta, newest = self._key(self._keys.meta), self._key(self._keys.newest)
        group_keys = [[self._key(key) for key in self._keys.delivery(_name(one))[1:]] for one in self._snapshot.groups]
        self._server.call("UNLINK", *self._built)
        try:
            tally = self._build_index(index, late)
            self._server.call_all(self._rest(index, meta, newest, tally, group_keys))
            state = self._state(tally)
            made = self._server.script(
                "restore",
                [self._keys.state, *(key for pair in self._built.items() for key in pair)],
                [part for pair in state.items() for part in pair],
            )
        except ServerError:
            self._clear()
            raise
        if not made:
            return None
        self._server.call_all(
            [
                ("ZADD", streams_of(address.source_address), "NX", _created_ms(state), address.name),
                ("SADD", SOURCES, str(address.source_address)),
            ]
        )
        return address, tally.n_received

    def _clear(self) -> None:
        try:
            self._server.call("UNLINK", *self._built)
        except ServerError as error:
            log.debug("half a stream stays behind: %s", error)

    def _build_index(self, index: str, late: str) -> EntryTally:
        tally = EntryTally()
        late_ids: defaultdict[int, list[str]] = defaultdict(list)  # several where parts of a dataset came one by one
        commands: list[Command] = []
        n_bytes = 0
        for stored in self._stream.entries():
            tally.add(stored.entry)
            payload = self._inline(stored)
            fields = [part for pair in stored.fields(payload).items() for part in pair]
            commands.append(("XADD", index, stored.entry.entry_id, *fields))
            if stored.entry.late:
                entry_ids = late_ids[stored.entry.message_id]
                entry_ids.append(stored.entry.entry_id)
                commands.append(("HSET", late, stored.entry.message_id, " ".join(entry_ids)))
            n_bytes += len(payload or b"")
            if len(commands) >= PAGE or n_bytes > PAGE_BYTES:
                self._server.call_all(commands)
                commands, n_bytes = [], 0
        self._server.call_all(commands)
        return tally

    def _inline(self, stored: StoredEntry) -> bytes | None:
        header = stored.entry.header
        if not stored.is_inline or header is None:
            return None
        try:
            return self._stream.read(stored.location, header.checksum)
        except (SegmentError, CorruptDataError) as error:
            log.error(
                "%s: the payload of message %d is damaged: %s", self._keys.address, stored.entry.message_id, error
            )
            return None

    def _rest(
        self, index: str, meta: str, newest: str, tally: EntryTally, group_keys: list[list[str]]
    ) -> list[Command]:
        """Return the commands for metadata and groups."""
        commands: list[Command] = []
        packed = self._stream.metadata()
        if packed is not None:
            commands.append(("SET", meta, packed))
        if self._snapshot.newest:
            commands.append(("HSET", newest, *_flat(self._snapshot.newest)))
        end = parse_place(tally.last_entry)
        for group, (about, delayed, dead) in zip(self._snapshot.groups, group_keys, strict=True):
            commands += _group_commands(group, end, index=index, about=about, delayed=delayed, dead=dead)
        return commands

    def _state(self, tally: EntryTally) -> dict[bytes, bytes]:
        state = restored_state(self._snapshot.state, tally, self._stream.ending())
        state[b"spilled_entry"] = tally.last_entry.encode()
        state[b"spilled_n"] = b"%d" % (tally.n_received + tally.n_additions)
        state[b"spill_host"] = socket.gethostname().encode()
        state[b"spill_folder"] = bytes(self._stream.folder.absolute())
        state[b"restored_ns"] = b"%d" % time.time_ns()
        state.setdefault(b"created_ns", state[b"restored_ns"])
        state.setdefault(b"patience_ms", b"5000")
        if not tally.ended and int(state.get(b"finish_since_ms", b"0")):
            state[b"last"] = b"%d" % max(int(state.get(b"last", b"0")), tally.next_id - 1)
        return state


def _group_commands(
    group: GroupSnapshot, end: Place, *, index: str, about: str, delayed: str, dead: str
) -> Iterator[Command]:
    """Yield what makes a group again: nothing of it stands behind the `end` of what is on disk."""
    last = min(parse_place(group.last), end)
    yield "XGROUP", "CREATE", index, group.name, format_place(last), "MKSTREAM"
    for entry_id, member, idle_ms, n in group.pending:
        if parse_place(entry_id) <= end:
            yield (
                *("XCLAIM", index, group.name, member, 0, entry_id),
                *("IDLE", idle_ms, "RETRYCOUNT", n, "FORCE", "JUSTID"),
            )
    if group.about:
        yield "HSET", about, *_flat(group.about)
    for entry_id, due_ms in group.delayed:
        if parse_place(entry_id) <= end:
            yield "ZADD", delayed, due_ms, entry_id
    kept = {entry_id: letter for entry_id, letter in group.dead.items() if parse_place(entry_id) <= end}
    if kept:
        yield "HSET", dead, *_flat(kept)


def _name(group: GroupSnapshot) -> str:
    return group.name.decode("utf-8", "surrogateescape")


def _flat(fields: Mapping[bytes, bytes]) -> list[Argument]:
    return [part for pair in fields.items() for part in pair]


def _created_ms(state: Mapping[bytes, bytes]) -> int:
    return int(state[b"created_ns"]) // 1_000_000


class Restoring:
    """Puts the streams below one folder back on one server: at the start, and when somebody wants one.

    Parameters
    ----------
    server : Server
        The server.
    root : Path
        Where the segments are.
    """

    def __init__(self, server: Server, root: Path) -> None:
        self.counts = RestoreCounts()
        self._server = server
        self._root = root.absolute()

    def put_back_live(self) -> None:
        """Put back the streams that were on the server when it was lost.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        run_id = self._server.run_id()
        folders = []
        for folder in self._root.glob("*/*/*"):
            if list_segments(folder) and _is_live(folder, run_id):
                folders.append((_created_ns(folder), folder))
        for _, folder in sorted(folders, reverse=True):  # of two of one name, the one made last
            self._put_back(folder)

    def answer(self) -> None:
        """Put back what somebody wants; what there is nothing of is answered, too.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        for name in self._server.call("SMEMBERS", WANTED):
            try:
                address = Address.parse(name.decode())
            except (AddressError, UnicodeDecodeError):
                address = None
            if address is not None and not self._server.call("EXISTS", StreamKeys(address).state):
                folder = self._newest_folder(address)
                if folder is not None:
                    self._put_back(folder)
            self._server.call("SREM", WANTED, name)

    def _newest_folder(self, address: Address) -> Path | None:
        """Return the folder of the last stream of this name: one that came again has a number behind it."""
        parent = self._root / address.beamtime / address.source
        names = [address.name, *(path.name for path in parent.glob(f"{address.name}_*"))]
        found = [parent / name for name in names if list_segments(parent / name)]
        mine = [folder for folder in found if _address_of(folder) == address]
        return max(mine, key=_created_ns, default=None)

    def _put_back(self, folder: Path) -> None:
        begun_at = time.monotonic()
        try:
            done = restore_stream(self._server, folder)
        except ServerError:
            self.counts.n_failed += 1
            raise
        except (SegmentError, BeamstreamError) as error:
            self.counts.n_failed += 1
            log.error("the stream in %s cannot be put back: %s", folder, error)
            return
        if done is None:
            log.info("the stream in %s is not put back: one of its name is there", folder)
            return
        address, n_messages = done
        self.counts.n_streams += 1
        self.counts.n_messages += n_messages
        log.info("%s is back from disk: %d message(s) in %.1f s", address, n_messages, time.monotonic() - begun_at)


def _is_live(folder: Path, run_id: str) -> bool:
    """Whether a stream belongs on the server: it was neither deleted nor let go before the server was lost."""
    try:
        snapshot = read_snapshot(folder)
    except SnapshotError as error:
        log.error("%s", error)
        return True
    # On the run that it was on it is not there any more because somebody deleted it.
    return snapshot is None or (snapshot.live and snapshot.run_id != run_id)


def _created_ns(folder: Path) -> int:
    try:
        with SegmentStream(folder) as stream:
            return int(stream.recorded_state().get(b"created_ns", b"0"))
    except (SegmentError, SegmentFormatError, CorruptDataError, ValueError) as error:
        log.debug("%s: %s", folder, error)
        return 0


def _address_of(folder: Path) -> Address | None:
    try:
        with SegmentStream(folder) as stream:
            return stream.address
    except (SegmentError, SegmentFormatError, CorruptDataError) as error:
        log.debug("%s: %s", folder, error)
        return None
