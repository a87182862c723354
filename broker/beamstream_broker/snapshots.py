"""What the segments of a stream do not tell: its state's counts and its groups, in a file beside them.

Written within a second of a change, so that a server that is started anew can be told where everybody was. The file is
replaced as a whole, and safe on disk before the old one goes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from beamstream.address import Address
from beamstream.errors import CorruptDataError, ServerRefusedError, StreamNotFoundError
from beamstream.groups import group_names
from beamstream.protocol import StreamKeys, fields_of
from beamstream.protocol.client import Server
from beamstream.streams import all_streams

log = logging.getLogger(__name__)

NAME = "broker.snapshot"
"""The file's name, beside the segments."""

VERSION = 1

MAX_BYTES = 256 << 20
"""Longest file that is read [bytes]: a million pending messages and full dead letters are far below it."""

EVERY_S = 0.5
"""How often groups are looked at [s]; with the time that a disk takes it is well below the second that is promised."""

ANYWAY_S = 5.0
"""After which time a stream is looked at in whatever case [s]."""

Fields = dict[bytes, bytes]


class SnapshotError(CorruptDataError):
    """A snapshot that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSnapshot:
    """A consumer group.

    Attributes
    ----------
    name : bytes
        Its name.
    last : bytes
        The last entry that was given to a member.
    about, dead : dict
        Its hash, and its dead letters.
    delayed : list of (entry id, due)
        What waits for its time [ms since 1970].
    pending : list of (entry id, member, idle, deliveries)
        What is with members [ms].
    """

    name: bytes
    last: bytes
    about: Fields
    dead: Fields
    delayed: list[tuple[bytes, int]]
    pending: list[tuple[bytes, bytes, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stream.

    Attributes
    ----------
    run_id : str
        The run of the server that it was on.
    live : bool
        Whether it belongs on the server: it was neither deleted there nor let go.
    state, newest : dict
        Hashes.
    groups : list of GroupSnapshot
        Its groups.
    """

    run_id: str
    live: bool = True
    state: Fields = field(default_factory=dict)
    newest: Fields = field(default_factory=dict)
    groups: list[GroupSnapshot] = field(default_factory=list)


def take_snapshot(server: Server, address: Address, run_id: str) -> Snapshot:
    """Return a stream's state and groups as they are now.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream.
    """
    keys = StreamKeys(address)
    names = group_names(server, address)
    group_keys = [key for name in names for key in keys.delivery(name)[1:]]
    newest, *groups = server.script("snapshot", [keys.index, keys.newest, *group_keys], names)
    state = fields_of(server.call("HGETALL", keys.state))
    if not state:
        raise StreamNotFoundError(str(address))
    return Snapshot(
        run_id=run_id,
        state=state,
        newest=fields_of(newest),
        groups=[
            GroupSnapshot(
                name=name,
                last=last,
                about=fields_of(about),
                dead=fields_of(dead),
                delayed=[(entry, int(float(due))) for entry, due in zip(delayed[::2], delayed[1::2], strict=True)],
                pending=[(entry, member, int(idle), int(n)) for entry, member, idle, n in pending],
            )
            for name, last, about, delayed, dead, pending in groups
        ],
    )


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Write a snapshot; the old one stays until the new one is safe.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    packed = msgpack.packb(
        {
            "version": VERSION,
            "run_id": snapshot.run_id,
            "live": snapshot.live,
            "state": snapshot.state,
            "newest": snapshot.newest,
            "groups": [
                [group.name, group.last, group.about, group.dead, group.delayed, group.pending]
                for group in snapshot.groups
            ],
        }
    )
    new = folder / f".{NAME}.new"
    try:
        with new.open("wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / NAME)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Return the snapshot beside a stream's segments; None where there is none.

    Raises
    ------
    SnapshotError
        If it cannot be read, or is none.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            packed = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotError(path, error.strerror or str(error)) from error
    if len(packed) > MAX_BYTES:
        raise SnapshotError(path, f"longer than {MAX_BYTES} bytes")
    try:
        tree = msgpack.unpackb(packed, strict_map_key=False)
        if tree["version"] != VERSION:
            raise SnapshotError(path, f"version {tree['version']!r:.20}, this program reads {VERSION}")
        return Snapshot(
            run_id=str(tree["run_id"]),
            live=bool(tree["live"]),
            state=_fields(tree["state"]),
            newest=_fields(tree["newest"]),
            groups=[
                GroupSnapshot(
                    name=bytes(name),
                    last=bytes(last),
                    about=_fields(about),
                    dead=_fields(dead),
                    delayed=[(bytes(entry), int(due)) for entry, due in delayed],
                    pending=[(bytes(entry), bytes(member), int(idle), int(n)) for entry, member, idle, n in pending],
                )
                for name, last, about, dead, delayed, pending in tree["groups"]
            ],
        )
    except (KeyError, TypeError, ValueError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise SnapshotError(path, f"no snapshot: {type(error).__name__}: {error}") from error


def _fields(tree: Mapping[Any, Any]) -> Fields:
    return {bytes(key): bytes(value) for key, value in tree.items()}


class Snapshots:
    """Writes the snapshots of the streams of one server that have segments below one folder.

    Parameters
    ----------
    server : Server
        The server.
    root : Path
        Only folders below it are written to, whatever a stream's state says.
    """

    def __init__(self, server: Server, root: Path) -> None:
        self.flaw = ""
        self._server = server
        self._root = root.absolute()
        self._run_id = ""
        self._written: dict[Address, tuple[Path, Snapshot]] = {}
        self._marks: dict[Address, tuple[str, float]] = {}
        self._looked_at = -EVERY_S

    def look(self, *, now: bool = False) -> None:
        """Write what has changed; does nothing where it looked just now, unless it has to be `now`.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if not now and time.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = time.monotonic()
        run_id = self._server.run_id()
        if run_id != self._run_id:
            self._run_id = run_id
            self._written.clear()
            self._marks.clear()
        there = all_streams(self._server)
        flaw = ""
        for address in there if now else self._changed(there):
            try:
                self._write(address)
            except (StreamNotFoundError, ServerRefusedError) as error:
                log.debug("no snapshot of %s: %s", address, error)
            except OSError as error:
                flaw = f"where the groups of {address} are cannot be written: {error}"
                self._marks.pop(address, None)  # to be tried again at the next look
        for address in self._written.keys() - set(there):
            flaw = self.let_go(address) or flaw
        if flaw and not self.flaw:
            log.error("%s; trying again", flaw)
        self.flaw = flaw

    def _changed(self, there: Sequence[Address]) -> list[Address]:
        """Return the streams of which something may have changed: one round trip for all that lie there untouched.

        What a group is (`stream group set`) does not show in that; so each has its turn now and then.
        """
        looked_at = time.monotonic()
        answers = self._server.pipeline(
            [
                command
                for address in there
                for command in (
                    ("HGETALL", StreamKeys(address).state),
                    ("XINFO", "GROUPS", StreamKeys(address).index),
                )
            ]
        )
        changed = []
        marks: dict[Address, tuple[str, float]] = {}
        for address, state, groups in zip(there, answers[::2], answers[1::2], strict=True):
            mark = repr((state, groups))
            known, since = self._marks.get(address, ("", 0.0))
            if mark == known and looked_at - since < ANYWAY_S:
                marks[address] = known, since
            else:
                marks[address] = mark, looked_at
                changed.append(address)
        self._marks = marks
        return changed

    def _write(self, address: Address) -> None:
        folder = self._folder(address)
        if folder is None:
            return
        snapshot = take_snapshot(self._server, address, self._run_id)
        known = self._written.get(address)
        if known is None or known[0] != folder or _without_clocks(known[1]) != _without_clocks(snapshot):
            write_snapshot(folder, snapshot)
            self._written[address] = folder, snapshot

    def _folder(self, address: Address) -> Path | None:
        name: bytes | None = self._server.call("HGET", StreamKeys(address).state, "spill_folder")
        folder = None if name is None else Path(os.fsdecode(name))
        return folder if folder is not None and self._root in folder.parents and folder.is_dir() else None

    def let_go(self, address: Address) -> str:
        """Write down that a stream has left the server and shall not come back by itself; returns what failed."""
        known = self._written.pop(address, None)
        if known is None or not known[0].is_dir():
            return ""
        folder, last = known
        try:
            write_snapshot(folder, Snapshot(run_id=last.run_id, live=False, state=last.state, groups=last.groups))
        except OSError as error:
            self._written[address] = known
            return f"that {address} has left the server cannot be written: {error}"
        return ""


def _without_clocks(snapshot: Snapshot) -> tuple[Any, ...]:
    """Return what counts as a change: not how long members have been silent, nor what the segments tell."""
    return (
        {key: value for key, value in snapshot.state.items() if key not in TOLD_BY_SEGMENTS},
        snapshot.newest,
        [
            (
                group.name,
                group.last,
                group.about,
                group.dead,
                group.delayed,
                [(p[0], p[1], p[3]) for p in group.pending],
            )
            for group in snapshot.groups
        ],
    )


TOLD_BY_SEGMENTS = frozenset(
    {b"next", b"bytes", b"memory_bytes", b"n_held", b"held_bytes", b"n_received", b"released", b"released_entry"}
    | {b"spilled_entry", b"spilled_n", b"n_late", b"n_missing", b"sealed", b"n_additions", b"n_incomplete"}
    | {b"n_declined", b"newest_entry"}
)
"""Fields of the state that change with every message and that the segments tell themselves."""
