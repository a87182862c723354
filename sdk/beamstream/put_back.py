"""Asking the broker for a stream whose index is not on the server: it puts it back from its segments.

Whoever wants a stream adds its address to a set; the broker takes it out when the stream is there, or when it has
nothing of it on disk.
"""

from __future__ import annotations

import time

from .address import Address
from .presence import PRESENT_S, read_presence
from .protocol import StreamKeys
from .protocol.client import Server
from .protocol.keys import WANTED

LOOK_EVERY_S = 0.02
"""How often the answer is looked for [s]."""


class Comeback:
    """Tells a stream that a server lost by being started anew from one that was deleted, and waits for the former.

    Parameters
    ----------
    server : Server
        The server as it is now.
    address : Address
        The stream, which is there now.
    """

    def __init__(self, server: Server, address: Address) -> None:
        self._server = server
        self._address = address
        self._run_id = server.run_id()

    def __call__(self) -> bool:
        """Whether the stream, which was not found, is there again.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        run_id = self._server.run_id()
        if run_id == self._run_id:
            return False
        self._run_id = run_id
        return put_back(self._server, self._address, expect_broker=True)


def put_back(server: Server, address: Address, *, expect_broker: bool = False) -> bool:
    """Have a stream put back if there is a broker that can; waits as long as one is at it.

    Parameters
    ----------
    server : Server
        Where it is wanted.
    address : Address
        The stream.
    expect_broker : bool
        Whether a broker that is not there may be waited for, some seconds: the server was started anew just now.

    Returns
    -------
    bool
        Whether the stream is there.

    Raises
    ------
    ServerError
        If the server cannot be asked.
    """
    keys = StreamKeys(address)
    gone_at = time.monotonic()
    asked = False
    while not server.call("EXISTS", keys.state):
        presence = read_presence(server)
        if presence is not None and not presence.folder:
            return False
        if presence is None:
            if asked or not expect_broker or time.monotonic() - gone_at > 2 * PRESENT_S:
                return False
        elif not asked:
            server.call("SADD", WANTED, str(address))
            asked = True
        elif not server.call("SISMEMBER", WANTED, str(address)):
            return bool(server.call("EXISTS", keys.state))
        time.sleep(LOOK_EVERY_S)
    return True
