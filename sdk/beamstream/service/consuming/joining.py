"""Joining the streams of a data source as soon as they appear, so that a required group holds what it will read later.

A service reads one stream after the other. Without this, a stream that fills while another one is read would have no
required group yet, and what it holds could leave memory unread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beamstream.address import Address, SourceAddress
from beamstream.consumer.feed import Start, entry_before
from beamstream.consumer.group import GroupMember
from beamstream.errors import BeamstreamError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.streams import list_streams

from .agenda import LOOK_EVERY_S

log = logging.getLogger(__name__)


class EarlyJoiner:
    """Makes a group on each stream of a data source, once."""

    def __init__(self, server: Server, source: SourceAddress, group: str, start: Start) -> None:
        self._server = server
        self._source = source
        self._group = group
        self._start = start
        self._joined: set[Address] = set()
        self._complained = False

    def look(self) -> None:
        """Join the streams that are new; a lost server is looked at again the next time."""
        try:
            there = list_streams(self._server, self._source)
            for address in there:
                if address not in self._joined:
                    self._join(address)
            self._joined.intersection_update(there)
            self._complained = False
        except BeamstreamError as error:
            if not self._complained:
                self._complained = True
                log.warning("cannot look for new streams of %s: %s; trying again", self._source, error)

    def _join(self, address: Address) -> None:
        keys = StreamKeys(address)
        member = GroupMember(self._server, keys, self._group, "-joining-")
        member.join(entry_before(self._server, keys, self._start), required=True)
        self._joined.add(address)


@contextmanager
def joining_early(server: Server, source: SourceAddress, group: str, start: Start) -> Iterator[None]:
    """Look for new streams of a data source, in a thread of its own, as long as the context lasts."""
    joiner = EarlyJoiner(server, source, group, start)
    joiner.look()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY_S):
            joiner.look()

    thread = threading.Thread(target=watch, name=f"join {source}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
