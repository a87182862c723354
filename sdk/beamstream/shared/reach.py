"""Whether shared memory can be had from here, and in words why not: what commands ask before they begin.

A broker process says of itself whether it lends segments (`beamstream.presence`); whether this process reaches it shows
only when it is tried: it may run on another host, or in another network namespace of this one (a container).
"""

from __future__ import annotations

import contextlib
import os
import socket

from beamstream.address import is_path, split_url
from beamstream.errors import SharedMemoryError, SharedMemoryUnavailableError
from beamstream.presence import Presence, read_presence
from beamstream.protocol.client import Server, broker_url

from .connection import Connection
from .messages import SHOW, SHOWN, UNKNOWN, encode

NO_SEGMENT = 0
"""A number that no segment has: whoever answers that it is unknown answers."""


def why_not_shared(presence: Presence | None, shown_url: str) -> str:
    """Return in words why producers here put no payloads into shared memory; empty where they do.

    Parameters
    ----------
    presence : Presence or None
        What the broker process says of itself; None where there is none.
    shown_url : str
        Where it should be, for people.
    """
    if presence is None:
        return f"no broker looks after {shown_url}; start 'stream broker run' on this host"
    if not presence.shared:
        return f"the broker on {presence.host} has none: {presence.shared_flaw or 'it does not say why'}"
    try:
        with contextlib.closing(Connection(presence.shared)) as connection:
            _, descriptors = connection.ask(encode(SHOW, NO_SEGMENT), {SHOWN: (int,), UNKNOWN: (int,)})
            for descriptor in descriptors:
                os.close(descriptor)
    except SharedMemoryError as error:
        here = socket.gethostname()
        if presence.host != here:
            return f"the broker runs on {presence.host}, and this is {here}; payloads go through its server"
        reason = getattr(error, "reason", str(error))
        return (
            f"the broker runs on this host ({here}) and cannot be reached here ({reason}); a container needs the "
            "broker's network namespace (--network host)"
        )
    return ""


def check_reach(server: Server, tier: str) -> None:
    """Raise if payloads are to lie in shared memory, and none can be had from here.

    Raises
    ------
    SharedMemoryUnavailableError
        With the reason.
    ServerError
        If the server cannot be asked.
    """
    if tier == "shared" and (why := why_not_shared(read_presence(server), server.shown_url)):
        raise SharedMemoryUnavailableError(server.shown_url, why)


def check_reach_of(where: str, broker: str | None, tier: str) -> None:
    """Do so for the broker that `where`, or else `broker`, names; asks nobody where any tier will do.

    Raises
    ------
    SharedMemoryUnavailableError
        With the reason.
    ServerError
        If the server cannot be asked.
    """
    if tier == "shared":
        url = None if is_path(where) else split_url(where)[0]
        with contextlib.closing(Server(broker_url(url or broker))) as server:
            check_reach(server, tier)
