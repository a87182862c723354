"""Finished streams that nobody reads: their index leaves the server once a time has passed, and waits on disk.

Only where the segments hold everything, the end included, and the groups are written down beside them; every other
stream stays. Whoever asks for it again gets it put back, groups where they were. That it is gone on purpose is written
down, too: a server that is started anew does not get it back by itself.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from beamstream.address import Address
from beamstream.dataset import keyed_payload_ids
from beamstream.errors import CorruptDataError, ServerRefusedError
from beamstream.groups import group_names
from beamstream.protocol import EntryKind, StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.keys import SOURCES, streams_of
from beamstream.segments import list_segments
from beamstream.state import StreamState, read_state
from beamstream.streams import all_streams, index_entries

from .snapshots import Snapshots
from .spilling import Spilling

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How often streams are looked at [s]; the time after which they leave is hours."""

PAGE = 1000
"""Payload keys deleted at once."""


class Forgetting:
    """Lets the indexes of one server's finished streams go.

    Parameters
    ----------
    server : Server
        The server.
    after_s : float or None
        How long nobody has to have read a stream [s]; None: they stay.
    spilling : Spilling
        Lets the files go, too.
    snapshots : Snapshots
        Writes down where the groups are.
    root : Path
        Where the segments are.
    """

    def __init__(
        self, server: Server, after_s: float | None, spilling: Spilling, snapshots: Snapshots, root: Path
    ) -> None:
        self.n_forgotten = 0
        self._server = server
        self._after_s = after_s
        self._spilling = spilling
        self._snapshots = snapshots
        self._root = root.absolute()
        self._looked_at = -LOOK_EVERY_S

    def tick(self) -> None:
        """Look at all streams if it is time.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        if self._after_s is None or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        for address in all_streams(self._server):
            try:
                state = read_state(self._server, StreamKeys(address))
                if state is not None and self._is_on_disk(address, state):
                    self._forget(address, state, self._after_s)
            except (CorruptDataError, ServerRefusedError) as error:
                log.debug("%s stays: %s", address, error)

    def _is_on_disk(self, address: Address, state: StreamState) -> bool:
        if not (state.finished and state.is_on_disk and state.n_dropped == 0):
            return False
        name = self._server.call("HGET", StreamKeys(address).state, "spill_folder")
        folder = None if name is None else Path(os.fsdecode(name))
        return folder is not None and self._root in folder.parents and bool(list_segments(folder))

    def _forget(self, address: Address, state: StreamState, after_s: float) -> None:
        keys = StreamKeys(address)
        stored = [
            keys.payload(*payload_id)
            for entry in index_entries(self._server, address, f"{max(1, state.released_id)}-0")
            if entry.kind is EntryKind.MESSAGE and entry.header is not None and entry.inline is None
            for payload_id in keyed_payload_ids(entry.message_id, entry.header)
        ]
        self._snapshots.look(now=True)
        if self._snapshots.flaw:
            return
        names = group_names(self._server, address)
        gone = self._server.script(
            "forget",
            [
                *(keys.state, keys.index, keys.held, keys.late, keys.parts, keys.meta, keys.newest),
                *(key for name in names for key in keys.delivery(name)[1:]),
            ],
            [state.created_ns, round(after_s * 1000), *names],
        )
        if not gone:
            return
        for begin in range(0, len(stored), PAGE):
            self._server.call("UNLINK", *stored[begin : begin + PAGE])
        self._server.call("ZREM", streams_of(address.source_address), address.name)
        if not self._server.call("EXISTS", streams_of(address.source_address)):
            self._server.call("SREM", SOURCES, str(address.source_address))
        self._spilling.forget(address)
        flaw = self._snapshots.let_go(address)
        if flaw:
            log.error("%s; trying again", flaw)
        self.n_forgotten += 1
        log.info("%s has left the server: nobody has read it for %.0f s; it is on disk", address, after_s)
