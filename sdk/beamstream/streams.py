"""What there is on a broker: data sources, streams; and how to delete a stream. Groups: see `beamstream.groups`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from .address import Address, SourceAddress
from .dataset import keyed_payload_ids
from .errors import AddressError, StreamNotFoundError
from .groups import group_names
from .protocol import Entry, StreamKeys, fields_of, read_entry
from .protocol.client import Server
from .protocol.held import waiting_payload_ids
from .protocol.keys import SOURCES, streams_of
from .put_back import put_back
from .state import StreamState, read_state

PAGE = 1000
"""Index entries asked for at once."""


def list_sources(server: Server) -> list[SourceAddress]:
    """Return all data sources, sorted."""
    return sorted(_sources(server.call("SMEMBERS", SOURCES)))


def _sources(names: list[bytes]) -> Iterator[SourceAddress]:
    for name in names:
        beamtime, _, source = name.decode("utf-8", "replace").partition("/")
        try:
            yield SourceAddress(beamtime, source)
        except AddressError:
            continue  # somebody else's key; nothing of ours can be behind it


def list_streams(server: Server, source: SourceAddress) -> list[Address]:
    """Return the streams of a data source, oldest first."""
    names = server.call("ZRANGE", streams_of(source), 0, -1)
    return [source.stream(name.decode()) for name in names]


def newest_streams(server: Server, source: SourceAddress, most: int) -> list[Address]:
    """Return the streams of a data source that were made last, newest first; `most` of them."""
    return [source.stream(name.decode()) for name in server.call("ZREVRANGE", streams_of(source), 0, most - 1)]


def all_streams(server: Server) -> list[Address]:
    """Return the streams of all data sources."""
    return [address for source in list_sources(server) for address in list_streams(server, source)]


def nearest_streams(server: Server, address: Address) -> list[str]:
    """Return addresses that look like a mistyped one."""
    known = [str(stream) for stream in all_streams(server)]
    return difflib.get_close_matches(str(address), known, n=3)


def stream_state(server: Server, address: Address) -> StreamState:
    """Return where a stream stands; one that lies on disk only is put back.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream; names similar ones.
    """
    state = read_state(server, StreamKeys(address))
    if state is None and put_back(server, address):
        state = read_state(server, StreamKeys(address))
    if state is None:
        raise StreamNotFoundError(str(address), nearest_streams(server, address))
    return state


def index_entries(server: Server, address: Address, first: str = "-") -> Iterator[Entry]:
    """Yield the entries of a stream's index as they are now, oldest first, without their payloads."""
    while page := server.call("XRANGE", StreamKeys(address).index, first, "+", "COUNT", PAGE):
        for entry_id, flat in page:
            yield read_entry(entry_id, fields_of(flat))
        first = "(" + page[-1][0].decode()


def delete_stream(server: Server, address: Address) -> int:
    """Delete a stream: index, payloads, groups and metadata; returns the number of messages that were in it.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream.
    """
    keys = StreamKeys(address)
    if read_state(server, keys) is None:
        raise StreamNotFoundError(str(address), nearest_streams(server, address))
    n_messages = 0
    stored = []
    for entry in index_entries(server, address):
        if entry.header is None:
            continue
        n_messages += not entry.header.is_addition
        if entry.inline is None:
            stored += [keys.payload(*payload_id) for payload_id in keyed_payload_ids(entry.message_id, entry.header)]
    stored += [keys.payload(*payload_id) for payload_id in waiting_payload_ids(server, keys)]
    groups = group_names(server, address)
    for start in range(0, len(stored), PAGE):
        server.call("UNLINK", *stored[start : start + PAGE])
    server.call(
        "UNLINK",
        *keys.sequence,
        keys.meta,
        keys.newest,
        *(key for name in groups for key in keys.delivery(name)),
    )
    server.call("ZREM", streams_of(address.source_address), address.name)
    if not server.call("EXISTS", streams_of(address.source_address)):
        server.call("SREM", SOURCES, str(address.source_address))
    return n_messages
