"""Which segments nothing is wanted of any more: those that a stream's release cursor has passed.

Payloads leave memory in the order of the index (see `retention`), so that one comparison says it of a whole segment.
Where its producer is gone without having said what is in it, the server may still be reading what that sent last: it is
given `GRACE_S`; what waits for others then may all be in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from beamstream.address import Address
from beamstream.errors import ServerRefusedError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument
from beamstream_broker.position import START, Place, parse_place

from .pool import Pool, Segment, State

GRACE_S = 60.0
"""How long what a killed producer sent last may take to come into the index [s]."""

_FIELDS = ("created_ns", "restored_ns", "released_entry", "newest_entry", "next", "sealed")


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
            self._take_note_of_left(taken)
            states = self._states(_addresses(taken))
            free = [one for one in taken if self._is_free(one, states)]
            self._pool.free(sorted(free, key=lambda one: one.last or START))  # the oldest is used again first

    def _take_note_of_left(self, taken: Sequence[Segment]) -> None:
        """Ask what waits for others of streams whose producer is gone; before their newest entry is asked for."""
        left = [
            one
            for one in taken
            if one.state is State.LEFT and not one.is_known and time.monotonic() - one.since_s >= self._grace_s
        ]
        addresses = _addresses(left)
        held = self._ask(addresses, [("ZRANGE", StreamKeys(one).held, -1, -1, "WITHSCORES") for one in addresses])
        for segment in left:
            if segment.address in held:
                segment.held_id = max((int(score) for score in held[segment.address][1::2]), default=0)
                segment.is_known = True

    def _states(self, addresses: Sequence[Address]) -> Mapping[Address, Sequence[bytes | None]]:
        return self._ask(addresses, [("HMGET", StreamKeys(one).state, *_FIELDS) for one in addresses])

    def _ask(self, addresses: Sequence[Address], commands: Sequence[Sequence[Argument]]) -> dict[Address, Any]:
        """Return an answer for each stream; of one whose keys hold something else nothing is known."""
        answers = self._server.pipeline(commands)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ServerRefusedError):
                raise answer
        return {
            address: answer
            for address, answer in zip(addresses, answers, strict=True)
            if not isinstance(answer, ServerRefusedError)
        }

    def _is_free(self, segment: Segment, states: Mapping[Address, Sequence[bytes | None]]) -> bool:
        state = None if segment.address is None else states.get(segment.address)
        if state is None:
            return False
        created, restored, released, newest, next_id, sealed = state
        if segment.life != f"{(created or b'').decode()}/{(restored or b'').decode()}":
            return True  # deleted, or made anew: no entry leads there
        # In a sealed stream nothing waits any more: what waited is there, or was never taken.
        if segment.last is None and segment.is_known and (segment.held_id < int(next_id or 0) or sealed == b"1"):
            segment.last = _place(newest)
        return segment.last is not None and _place(released) >= segment.last


def _addresses(segments: Sequence[Segment]) -> list[Address]:
    return sorted({one.address for one in segments if one.address is not None}, key=str)


def _place(entry_id: bytes | None) -> Place:
    return START if entry_id is None else parse_place(entry_id)
