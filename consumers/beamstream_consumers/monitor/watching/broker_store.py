"""Streams on a broker, for the archive: opened by their address, neighbours found in the index without any payload."""

from __future__ import annotations

from beamstream import Consumer
from beamstream.address import Address
from beamstream.protocol import EntryKind, StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server

from .runs import open_reader

PAGE = 64
"""Entries of the index that are read at once."""

MAX_PAGES = 200
"""Pages that are looked through for a neighbour; what was declined or is missing in one piece is one entry."""


class BrokerStore:
    """Streams on a broker."""

    def __init__(self, broker: str | None) -> None:
        self._broker = broker
        self._server = Server(broker)

    def open(self, address: Address) -> Consumer:
        """Return a reader of a stream."""
        return open_reader(address, self._broker)

    def made_ns(self, consumer: Consumer) -> int:
        """Return when a stream was made [ns since 1970]."""
        return consumer.state.created_ns

    def ids_beside(self, consumer: Consumer, message_id: int, by: int, *, only_hits: bool = False) -> list[int]:
        """Return the ids of up to `by` messages after (or before) one, the nearest first."""
        index = StreamKeys(consumer.address).index
        found: list[int] = []
        at = f"({max(0, message_id)}-{0 if by < 0 else 2**32}"
        for _ in range(MAX_PAGES):
            if by > 0:
                page = self._server.call("XRANGE", index, at, "+", "COUNT", PAGE)
            else:
                page = self._server.call("XREVRANGE", index, at, "-", "COUNT", PAGE)
            for entry_id, flat in page:
                entry = read_entry(entry_id, fields_of(flat))
                at = f"({entry_id.decode()}"
                if entry.kind is not EntryKind.MESSAGE or entry.late or entry.header is None:
                    continue
                if not only_hits or entry.header.metadata.get("hit"):
                    found.append(entry.message_id)
                    if len(found) == abs(by):
                        return found
            if len(page) < PAGE:
                break
        return found

    def close(self) -> None:
        """Let the connections go."""
        self._server.close()
