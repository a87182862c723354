"""The payloads of what is not in the index yet: of messages behind a gap, of parts that wait for others."""

from __future__ import annotations

import msgpack

from beamstream.dataset import PayloadId, payload_ids
from beamstream.errors import EntryError

from .client import Server
from .entry import decode_header
from .keys import StreamKeys


def waiting_payload_ids(server: Server, keys: StreamKeys, *, inline: bool = False) -> list[PayloadId]:
    """Return what names the payloads of a stream that wait: those with keys of their own, with `inline` the others too.

    Raises
    ------
    EntryError
        If what waits is none of ours.
    """
    found = [one for packed in server.call("ZRANGE", keys.held, 0, -1) for one in _held(packed, inline=inline)]
    flat = server.call("HGETALL", keys.parts)
    for name, header in zip(flat[::2], flat[1::2], strict=True):
        message_id, _, part = name.partition(b":")
        found.append((int(message_id), decode_header(header).checksum, int(part)))
    return found


def _held(packed: bytes, *, inline: bool) -> list[PayloadId]:
    """Read a message as the scripts pack it; of a dataset that waits for parts there is nothing here."""
    try:
        message_id, _, header, _, payload, *_ = msgpack.unpackb(packed, raw=True)
    except (ValueError, TypeError) as error:
        raise EntryError("held message", f"{type(error).__name__}: {error}") from error
    return payload_ids(message_id, decode_header(header)) if header and (inline or payload is False) else []
