"""Large commands to a socket in as few system calls as can be.

Python gives a socket with a timeout to the kernel as one that never waits, and so sends 16 MB in some hundred pieces of
what just has room, with a look whether there is room before each; every piece gives up the interpreter's lock and has
to get it back from threads that work. One call that waits in the kernel, with the kernel's own timeout, does all that
at once.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

MAX_PIECES = 512
"""Most buffers that one call is given; the kernel takes 1024."""

_TIMEVAL = struct.Struct("@ll")


def limit_sending(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel wait no longer than this for room [s]."""
    whole_s = int(timeout_s)
    packed = _TIMEVAL.pack(whole_s, int((timeout_s - whole_s) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, packed)


def send_pieces(sock: socket.socket, pieces: Iterable[bytes | memoryview], timeout_s: float) -> None:
    """Send buffers one behind the other; none is copied or joined.

    Parameters
    ----------
    sock : socket
        A stream socket; its timeout is the same afterwards.
    pieces : iterable of bytes-like
        What is sent.
    timeout_s : float
        How long the other side may take none of it [s].

    Raises
    ------
    OSError
        If the connection is lost, or the other side took nothing for so long.
    """
    left = [memoryview(piece) for piece in pieces if len(piece)]
    known_s = sock.gettimeout()
    limit_sending(sock, timeout_s)
    sock.settimeout(None)
    try:
        first = 0
        while first < len(left):
            n_sent = sock.sendmsg(left[first : first + MAX_PIECES])
            while first < len(left) and n_sent >= len(left[first]):
                n_sent -= len(left[first])
                first += 1
            if n_sent:
                left[first] = left[first][n_sent:]
    finally:
        sock.settimeout(known_s)
