"""Which stream a consumer service takes next: the one named, or those of a data source, one after the other.

A stream that stays open while nothing comes, because its producer was killed, must not keep the service from the next
ones: it is put aside, and taken up again when something has come.
"""

from __future__ import annotations

import time

from beamstream.address import Address, SourceAddress
from beamstream.errors import StreamNotFoundError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.put_back import put_back
from beamstream.state import read_state
from beamstream.streams import list_streams, nearest_streams

LOOK_EVERY_S = 0.3
"""How often new streams of a data source are looked for [s]."""

Mark = tuple[int, bool]
"""Where a stream stood when it was put aside: messages settled or received, and whether it had ended."""


class Agenda:
    """The streams of a service.

    Parameters
    ----------
    where : Address or SourceAddress
        One stream, or a data source.
    server : Server
        Where they are looked for.
    follow : bool
        Whether streams that are not there yet belong to it, too.
    """

    def __init__(self, where: Address | SourceAddress, server: Server, *, follow: bool) -> None:
        self._where = where
        self._server = server
        self._follow = follow
        self._done: set[Address] = set()
        self._aside: dict[Address, Mark] = {}
        self._asked = False
        self._looked_at = -LOOK_EVERY_S

    def take(self) -> Address | None:
        """Return a stream in which there is something to do; None where there is none now.

        Raises
        ------
        StreamNotFoundError
            If nothing is there, and nothing is to be waited for.
        """
        there = self._streams()
        if not there and not self._asked and isinstance(self._where, Address):
            self._asked = True  # once: what is deleted while it is read stays deleted
            there = [self._where] if put_back(self._server, self._where) else []
        if not there and not self._follow and not self._done:
            raise StreamNotFoundError(str(self._where), self._nearest())
        self._done.intersection_update(there)  # what was deleted may be made again
        self._aside = {address: mark for address, mark in self._aside.items() if address in there}
        return next((address for address in there if self._is_due(address)), None)

    def finish(self, address: Address) -> None:
        """Be done with a stream."""
        self._aside.pop(address, None)
        self._done.add(address)

    def forget(self, address: Address) -> None:
        """Take a stream that is gone for one that was never there: it may be made again."""
        self._aside.pop(address, None)

    def put_aside(self, address: Address) -> None:
        """Leave a stream for now, until something new is in it."""
        self._aside[address] = self._mark(address)

    def has_other(self, address: Address) -> bool:
        """Whether there is something to do in another stream; looks now and then only."""
        if isinstance(self._where, Address) or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        return any(other != address and self._is_due(other) for other in self._streams())

    def is_only(self, address: Address) -> bool:
        """Whether this stream is the one that was named."""
        return address == self._where

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        if isinstance(self._where, Address):
            return self._where in self._done
        return not self._follow and not self._aside

    def _streams(self) -> list[Address]:
        if isinstance(self._where, SourceAddress):
            return list_streams(self._server, self._where)
        return [self._where] if read_state(self._server, StreamKeys(self._where)) else []

    def _is_due(self, address: Address) -> bool:
        if address in self._done:
            return False
        return address not in self._aside or self._aside[address] != self._mark(address)

    def _mark(self, address: Address) -> Mark:
        state = read_state(self._server, StreamKeys(address))
        return (0, True) if state is None else (state.next_id + state.n_entries, state.finished)

    def _nearest(self) -> list[str]:
        return nearest_streams(self._server, self._where) if isinstance(self._where, Address) else []
