"""Streams without an end: what is older than a stream is kept leaves the index, memory and disk, oldest first.

How long that is says the stream (`Producer(retain_s=…)`), else the broker's ``--retain`` for streams that are open. One
script takes a step: it counts what each group had not acknowledged, moves the groups behind it, and cuts the index off;
nothing relies on what the server does with entries that groups still wait for. Segments go as whole files, once all in
them has gone; the one that is being written stays. A stream whose keys hold something else than the protocol says is
passed over, with a line in the log.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from beamstream.address import Address
from beamstream.dataset import keyed_payload_ids
from beamstream.errors import CorruptDataError, ServerRefusedError
from beamstream.groups import group_names
from beamstream.payloads import MemoryTier
from beamstream.protocol import StreamKeys, decode_header
from beamstream.protocol.client import Server
from beamstream.segments import SegmentError, SegmentReader, list_segments
from beamstream.streams import all_streams

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How often streams are looked at [s]."""

STEP_ENTRIES = 128
"""Most entries that one step lets go: about a millisecond in which the server does nothing else."""

TURN_STEPS = 64
"""Most steps for one stream at a time: 8192 messages a second, more than a detector makes that runs for days."""

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class ExpireCounts:
    """What left up to now: messages, those of them that a group had not acknowledged, files.

    A message that two groups had not acknowledged counts twice among `n_missed`.
    """

    n_expired: int = 0
    n_missed: int = 0
    n_files: int = 0


class Expiring:
    """Lets the streams of one server grow old.

    Parameters
    ----------
    server : Server
        The server.
    retain_s : float or None
        How long open streams are kept that do not say it themselves [s]; None: for ever.
    root : Path, optional
        Where the broker spills to: only files below it are deleted.
    """

    def __init__(self, server: Server, retain_s: float | None = None, root: Path | None = None) -> None:
        self.counts = ExpireCounts()
        self._server = server
        self._retain_s = retain_s
        self._root = None if root is None else root.absolute()
        self._looked_at = -LOOK_EVERY_S
        self._damaged: set[Address] = set()

    def tick(self) -> None:
        """Look at all streams if it is time.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self.look()
            self._looked_at = time.monotonic()

    def look(self) -> None:
        """Look at all streams once; see `tick`."""
        now_ms = int(self._server.call("TIME")[0]) * 1000
        for address in all_streams(self._server):
            try:
                self._look_at(address, now_ms)
            except (CorruptDataError, ServerRefusedError, ValueError) as error:
                if address not in self._damaged:
                    self._damaged.add(address)
                    log.error("%s is passed over when old messages go: %s", address, error)

    def _look_at(self, address: Address, now_ms: int) -> None:
        keys = StreamKeys(address)
        own_ms, is_sealed = self._server.call("HMGET", keys.state, "retain_ms", "sealed")
        if own_ms is not None:
            retain_ms = int(own_ms)
        elif self._retain_s is not None and is_sealed != b"1":
            retain_ms = round(self._retain_s * 1000)
        else:
            return
        n_gone = 0
        for _ in range(TURN_STEPS):
            n_entries = self._step(keys, now_ms - retain_ms)
            n_gone += n_entries
            if n_entries < STEP_ENTRIES:
                break
        if n_gone and self._root is not None:
            self._delete_files(address, keys, self._root)

    def _step(self, keys: StreamKeys, limit_ms: int) -> int:
        """Let some messages go; returns the number of entries."""
        names = group_names(self._server, keys.address)
        before = self._counted(keys, names)
        n_entries, *flat = self._server.script(
            "expire",
            [keys.index, keys.state, keys.late, *(key for name in names for key in keys.delivery(name)[1:])],
            [limit_ms, STEP_ENTRIES, *names],
        )
        if n_entries <= 0:
            return 0  # also where a group was made meanwhile: the next look knows it
        headers = [(int(one), decode_header(two)) for one, two in zip(flat[::2], flat[1::2], strict=True)]
        MemoryTier(self._server, keys).delete([one for named in headers for one in keyed_payload_ids(*named)])
        after = self._counted(keys, names)
        self.counts.n_expired += after[0] - before[0]
        self.counts.n_missed += after[1] - before[1]
        return int(n_entries)

    def _counted(self, keys: StreamKeys, names: list[str]) -> tuple[int, int]:
        """Return the messages that left the stream up to now, and those that its groups missed."""
        n_expired = int(self._server.call("HGET", keys.state, "n_expired") or 0)
        missed = (self._server.call("HGET", keys.group(name), "n_expired") for name in names)
        return n_expired, sum(int(one or 0) for one in missed)

    def _delete_files(self, address: Address, keys: StreamKeys, root: Path) -> None:
        """Delete the segments from whose last entry on everything is younger than what has gone."""
        folder, expired = self._server.call("HMGET", keys.state, "spill_folder", "expired")
        if folder is None or root not in Path(os.fsdecode(folder)).parents:
            return
        segments = list(list_segments(Path(os.fsdecode(folder))).values())
        for path in segments[:-1]:  # the last one is being written, or says how the stream ended
            try:
                with SegmentReader(path) as reader:
                    if not reader.report.closed or int(reader.table["position"].max(initial=0)) > int(expired):
                        return
                path.unlink()
            except (SegmentError, CorruptDataError, OSError) as error:
                log.error("%s stays, although all in it is older than %s is kept: %s", path, address, error)
                return
            self.counts.n_files += 1
