"""Where the group of a reducer goes on after a crash, and which messages may have caused it.

The group is set to what the newest result counts, whatever it was given, acknowledged, or forgot with its server. That
lets go of the numbers of attempts, too. So that a message that kills the process does not do so for ever, what was in
the hands of one that died is noted before it is tried again; one that the process died of repeatedly is not tried any
more.
"""

from __future__ import annotations

from beamstream.errors import BeamstreamError
from beamstream.frame import Frame
from beamstream.groups import Target, seek_group
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .counted import START, place_of

MAX_DEATHS = 3
"""How often the process may die of one message that was noted before it is not tried any more."""

PAGE = 1000
"""Pending entries looked at with one call."""

TRYING = "trying"
"""Field of the group's hash: entry that is tried, and how often the process died of it."""


class DeadlyMessageError(BeamstreamError):
    """A message that a reducer died of repeatedly; it goes to the dead letters untried."""

    def __init__(self, address: str, message_id: int, n_deaths: int) -> None:
        self.address = address
        self.message_id = message_id
        self.n_deaths = n_deaths
        super().__init__(f"{address}: the process died {n_deaths} times of message {message_id}; it is not tried again")


class Suspects:
    """The messages that were in the hands of a process that died.

    Parameters
    ----------
    server : Server
        Where.
    keys : StreamKeys
        Of the stream that is reduced.
    group : str
        The reducer's.
    """

    def __init__(self, server: Server, keys: StreamKeys, group: str) -> None:
        self._server = server
        self._keys = keys
        self._group = group
        tried = (server.call("HGET", keys.group(group), TRYING) or b"").decode().split()
        self._last_tried, self._n_deaths = (tried[0], int(tried[1]) + 1) if len(tried) == 2 else ("", 0)
        pending = server.call("XPENDING", keys.index, group)
        self._up_to = place_of(pending[2].decode()) if pending[0] else (0, 0)

    def go_on_behind(self, position: str) -> None:
        """Set the group to go on behind an entry; what was pending up to there is counted, and acknowledged."""
        while position != START:
            page = self._server.call("XPENDING", self._keys.index, self._group, "-", position, PAGE)
            if not page:
                break
            self._server.call("XACK", self._keys.index, self._group, *(entry_id for entry_id, *_ in page))
        seek_group(self._server, self._keys.address, self._group, Target(entry_id=position), force=True)

    def check(self, frame: Frame) -> None:
        """Note that a message is tried now, if it is a suspect.

        Raises
        ------
        DeadlyMessageError
            If the process died of it too often.
        """
        if place_of(frame.entry_id) > self._up_to and frame.entry_id != self._last_tried:
            return
        n_deaths = self._n_deaths if frame.entry_id == self._last_tried else 0
        if n_deaths >= MAX_DEATHS:
            raise DeadlyMessageError(str(frame.address), frame.message_id, n_deaths)
        about = self._keys.group(self._group)
        self._server.script("note", [about], ["set", TRYING, f"{frame.entry_id} {n_deaths}"])
