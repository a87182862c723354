"""Which segments nothing is wanted of any more: those that a stream's release cursor has passed.

Payloads leave memory in the order of the index (see `retention`), so that one comparison says it of a whole segment.
Where its producer is gone without having said what is in it, the server may still be reading what that sent last: it is
given `GRACE_S`, and until nothing of the stream waits for others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from beamstream.address import Address
from beamstream.errors import ServerRefusedError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream_broker.position import START, Place, parse_place

from .pool import Pool, Segment, State

GRACE_S = 60.0
"""How long what a killed producer sent last may take to come into the index [s]."""

ANY = 1 << 53
"""More entries than there are at one place."""

_FIELDS = ("created_ns", "restored_ns", "released_entry", "newest_entry", "n_held")


class Collecting:
    """Finds the segments of a pool that are free.

    Parameters
    ----------
    server : Server
        The server whose streams lead into them.
    pool : Pool
        The segments.
    grace_s : float
        See `GRACE_S`.
    """

    def __init__(self, server: Server, pool: Pool, grace_s: float = GRACE_S) -> None:
        self._server = server
        self._pool = pool
        self._grace_s = grace_s

    def look(self) -> None:
        """Free what can be freed.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        taken = self._pool.taken()
        if taken:
            states = self._states(sorted({one.address for one in taken if one.address is not None}, key=str))
            free = [one for one in taken if self._is_free(one, states)]
            self._pool.free(sorted(free, key=lambda one: one.last or START))  # the oldest is used again first

    def _states(self, addresses: Sequence[Address]) -> Mapping[Address, Sequence[bytes | None]]:
        answers: list[Any] = self._server.pipeline(
            [("HMGET", StreamKeys(address).state, *_FIELDS) for address in addresses]
        )
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ServerRefusedError):
                raise answer
        return {
            address: answer
            for address, answer in zip(addresses, answers, strict=True)
            if not isinstance(answer, ServerRefusedError)  # something else stands there; nothing is known
        }

    def _is_free(self, segment: Segment, states: Mapping[Address, Sequence[bytes | None]]) -> bool:
        state = None if segment.address is None else states.get(segment.address)
        if state is None:
            return False
        created, restored, released, newest, n_held = state
        if segment.life != f"{(created or b'').decode()}/{(restored or b'').decode()}":
            return True  # deleted, or made anew: no entry leads there
        if segment.last is None:
            segment.last = self._last(segment, newest, int(n_held or 0))
        return segment.last is not None and _place(released) >= segment.last

    def _last(self, segment: Segment, newest: bytes | None, n_held: int) -> Place | None:
        """Return the last entry that can lead into a segment; None where that is not known yet."""
        if segment.state is State.LEFT and (n_held or time.monotonic() - segment.since_s < self._grace_s):
            return None
        return max(_place(newest), (segment.held_id, ANY) if segment.held_id else START)


def _place(entry_id: bytes | None) -> Place:
    return START if entry_id is None else parse_place(entry_id)
