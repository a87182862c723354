"""What producers and readers say to the process that keeps the segments, on this host. Pure: records to bytes and back.

Every message is one packet of a Unix socket: a msgpack array whose first element says what it is. Descriptors travel
beside it. The first packet of a connection is the ticket alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from beamstream.errors import SharedMemoryProtocolError

MAX_PACKET_BYTES = 4096
"""Longest packet [bytes]: an address and some numbers."""

MAX_DESCRIPTORS = 2

TICKET_BYTES = 16
"""Length of what shows that somebody has the endpoint from the broker's server [bytes]."""

LEND, DONE, SHOW = "lend", "done", "show"
"""From clients: ``[lend, address, life, payload bytes]``, ``[done, segment, highest id that is held]`` (which is not
answered), ``[show, segment]``."""

LENT, WAIT, ELSEWHERE, NEVER, SHOWN, UNKNOWN = "lent", "wait", "elsewhere", "never", "shown", "unknown"
"""Answers: ``[lent, segment, epoch]`` with a descriptor that has the lock, and where the client has not got it yet one
to map; ``[wait, why]``: what is in the segments is still wanted; ``[elsewhere, why]``: there is none now, for reasons
that have nothing to do with the stream; ``[never, why]``: for such payloads there is none; ``[shown, segment]`` with a
descriptor to map; ``[unknown, segment]``."""

_ENDPOINT = re.compile(r"unix:@(?P<name>beamstream-[0-9a-f]{32})#(?P<ticket>[0-9a-f]{32})")


def encode(*fields: str | int) -> bytes:
    """Pack a message."""
    packed: bytes = msgpack.packb(fields)
    return packed


def decode(packet: bytes, kinds: Mapping[str, Sequence[type]]) -> list[Any]:
    """Read a message.

    Parameters
    ----------
    kinds : mapping of str to sequence of type
        The messages that may come, and what follows in each.

    Raises
    ------
    SharedMemoryProtocolError
        If it is none of these.
    """
    try:
        fields = msgpack.unpackb(packet)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise SharedMemoryProtocolError(f"no msgpack: {error}") from error
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], str):
        raise SharedMemoryProtocolError(f"{packet[:40]!r} is no message")
    wanted = kinds.get(fields[0])
    if wanted is None or [type(field) for field in fields[1:]] != list(wanted):
        raise SharedMemoryProtocolError(f"{fields!r:.80} is none of {', '.join(sorted(kinds))}")
    if any(isinstance(field, int) and not 0 <= field < 1 << 64 for field in fields):
        raise SharedMemoryProtocolError(f"a number in {fields!r:.80} cannot be one")
    return fields


def format_endpoint(name: str, ticket: bytes) -> str:
    """Write an endpoint as the server holds it.

    Examples
    --------
    >>> format_endpoint("beamstream-" + 32 * "0", bytes(16))
    'unix:@beamstream-00000000000000000000000000000000#00000000000000000000000000000000'
    """
    return f"unix:@{name}#{ticket.hex()}"


def parse_endpoint(text: str) -> tuple[str, bytes]:
    """Read an endpoint: the socket's name (without the zero that it begins with for the kernel), and the ticket.

    Raises
    ------
    SharedMemoryProtocolError
        If it is none.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise SharedMemoryProtocolError(f"{text!r:.80} is no endpoint")
    return match["name"], bytes.fromhex(match["ticket"])
