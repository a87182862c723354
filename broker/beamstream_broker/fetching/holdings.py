"""All that a broker has of a stream's payloads: what is still in its shared memory, and what is on its disk.

What a reader says of a place in shared memory is taken for a hint: a payload is given only if it lies there in that use
of the segment, and has the checksum that it is asked for by. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xxhash

from beamstream.dataset import Stored
from beamstream.errors import SharedMemoryError
from beamstream.fetch import ItemStatus
from beamstream.segments import SegmentError, SegmentStream
from beamstream_broker.sharing import Pool

from .allowance import Room
from .archive import Archive, Item, Stream, read_payload


class Holdings:
    """What is served.

    Parameters
    ----------
    root : Path or None
        Where the broker spills to; None where it keeps nothing on disk.
    pool : Pool or None
        Its segments of shared memory; None where it has none.

    Attributes
    ----------
    n_shared, n_copied : int
        Payloads that came from shared memory, and those of them that were copied.
    """

    def __init__(self, root: Path | None, pool: Pool | None) -> None:
        self._archive = None if root is None else Archive(root)
        self._pool = pool
        self.n_shared = 0
        self.n_copied = 0

    @property
    def shared_bytes(self) -> int:
        """How much shared memory there may be [bytes]."""
        return 0 if self._pool is None else self._pool.limit_bytes

    def read(self, which: Stream, wanted: Sequence[Stored], room: Room) -> tuple[list[Item], str] | None:
        """Read payloads of one stream.

        Parameters
        ----------
        room : Room
            What they may take; from the first that does not fit on, all are left for later.

        Returns
        -------
        (list of (ItemStatus, payload or None), str) or None
            In the order of `wanted`, and what is wrong, where something is; None where there is no such stream.
        """
        try:
            stream, trouble = self._stream(which), ""
        except SegmentError as error:
            stream, trouble = None, str(error)
        if stream is None and not trouble and all(one.location is None for one in wanted):
            return None
        items: list[Item] = []
        flaw = trouble
        views, full = self._views(wanted)
        for stored, view in zip(wanted, views, strict=True):
            item: Item = (ItemStatus.FAILED if trouble or full else ItemStatus.ABSENT, None)
            why = full
            if view is not None:
                item, why = self._shared(stored, view, room)
            elif stream is not None:
                item, why = read_payload(stream, stored.payload_id, room.take)
            items.append(item)
            flaw = flaw or why
            if items[-1][0] is ItemStatus.LATER:
                items += [(ItemStatus.LATER, None)] * (len(wanted) - len(items))
                break
        return items, flaw

    def _stream(self, which: Stream) -> SegmentStream | None:
        return None if self._archive is None else self._archive.find(which)

    def _views(self, wanted: Sequence[Stored]) -> tuple[list[memoryview | None], str]:
        """Return what lies at the places that readers named, and why that cannot be seen, if so."""
        views: list[memoryview | None] = [None] * len(wanted)
        located = [(n, one.location, one.n_bytes) for n, one in enumerate(wanted) if one.location is not None]
        if self._pool is None or not located:
            return views, ""
        try:
            found = self._pool.read([(location, n_bytes) for _, location, n_bytes in located])
        except SharedMemoryError as error:
            return views, str(error)
        for (n, _, _), view in zip(located, found, strict=True):
            views[n] = view
        return views, ""

    def _shared(self, stored: Stored, view: memoryview, room: Room) -> tuple[Item, str]:
        if not room.take(view.nbytes):
            return (ItemStatus.LATER, None), ""
        found = xxhash.xxh3_64_intdigest(view)
        if found != stored.payload_id[1]:
            flaw = f"message {stored.payload_id[0]} is not where it is looked for in shared memory: XXH3 {found:016x}"
            return (ItemStatus.DAMAGED, None), flaw
        self.n_shared += 1
        if self._may_hold(stored, room):
            return (ItemStatus.HERE, view), ""
        self.n_copied += 1
        return (ItemStatus.HERE, bytes(view)), ""

    def _may_hold(self, stored: Stored, room: Room) -> bool:
        if self._pool is None or stored.location is None:
            return False
        number = stored.location.segment
        return room.pin(number, self._pool.segment_bytes(number))

    def close(self) -> None:
        """Let all files go."""
        if self._archive is not None:
            self._archive.close()
