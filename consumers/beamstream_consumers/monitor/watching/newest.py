"""The newest message of a stream without its payload: what is looked at often has to cost little."""

from __future__ import annotations

from beamstream.address import Address, SourceAddress
from beamstream.protocol import Entry, EntryKind, StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server
from beamstream.streams import newest_streams


def newest_entry(server: Server, address: Address) -> Entry | None:
    """Return the entry of the newest message; None where there is none that can be read.

    Raises
    ------
    ServerError
        If the server cannot be asked.
    """
    keys = StreamKeys(address)
    raw = server.script("newest", [keys.index, keys.newest, keys.state], ["", "0-0"])
    if not raw:
        return None
    entry = read_entry(raw[0], fields_of(raw[1]))
    return entry if entry.kind is EntryKind.MESSAGE and entry.header is not None else None


def newest_run(server: Server, where: Address | SourceAddress) -> Address | None:
    """Return the stream that is to be shown: the one that is named, or the newest of a data source."""
    if isinstance(where, Address):
        return where
    return next(iter(newest_streams(server, where, 1)), None)
