"""Large commands to a socket in as few system calls as can be.

Python gives a socket with a timeout to the kernel as one that never waits, and so sends 16 MB in some hundred pieces of
what just has room, with a look whether there is room before each; every piece gives up the interpreter's lock and has
to get it back from threads that work. One call that waits in the kernel, with the kernel's own timeout, does all that
at once.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable

MAX_PIECES = 512
"""Most buffers that one call is given; the kernel takes 1024."""

LOCAL_SEND_BYTES = 200 << 10
"""What may wait in a socket for a server on this host [bytes]; Linux doubles it for its own needs.

Unset, a Unix socket holds half of that, and the server has to be waken twice as often: 0.21 s for 1 GB in payloads of
1 MiB, and 0.13 s with this (or with anything from 128 KiB to 4 MiB). TCP, unset, lets some MB wait, which have left the
caches when the server comes to them: 0.41 s, and 0.20 s with 192 to 212 KiB, but no better with 160 or 256 KiB."""

_TIMEVAL = struct.Struct("@ll")


def is_of_this_host(sock: socket.socket) -> bool:
    """Whether the other side of a connection is on this host, as far as its address tells."""
    if sock.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(sock.getpeername()[0].partition("%")[0]).is_loopback


def limit_waiting(sock: socket.socket) -> None:
    """Set how much may wait in a socket to a server on this host; on a network the kernel finds that out itself."""
    with contextlib.suppress(OSError, ValueError):  # it goes without, slower
        if is_of_this_host(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LOCAL_SEND_BYTES)


def wait_in_kernel(sock: socket.socket, timeout_s: float) -> None:
    """Let a socket wait in the kernel, for each call, and with the kernel's timeout.

    With a timeout of its own Python asks before each call whether it can go on, which is a call more; and it gives the
    socket to the kernel as one that never waits.

    Parameters
    ----------
    sock : socket
        A stream socket.
    timeout_s : float
        How long the kernel waits for the other side [s]; the call raises `BlockingIOError` then.
    """
    whole_s = int(timeout_s)
    timeout = _TIMEVAL.pack(whole_s, int((timeout_s - whole_s) * 1e6))
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, timeout)
    sock.settimeout(None)


def stuck() -> TimeoutError:
    """Return the error of a server that neither takes nor gives anything for too long."""
    return TimeoutError("the server does not go on")


def closed() -> ConnectionError:
    """Return the error of a server that has closed the connection."""
    return ConnectionError("the server closed the connection")


def send_pieces(sock: socket.socket, pieces: Iterable[bytes | memoryview]) -> None:
    """Send buffers one behind the other; none is copied or joined.

    Parameters
    ----------
    sock : socket
        A stream socket; see `wait_in_kernel`.
    pieces : iterable of bytes-like
        What is sent.

    Raises
    ------
    OSError
        If the connection is lost, or the other side took nothing for so long.
    """
    left = [memoryview(piece) for piece in pieces if len(piece)]
    first = 0
    while first < len(left):
        try:
            n_sent = sock.sendmsg(left[first : first + MAX_PIECES])
        except BlockingIOError as error:
            raise stuck() from error
        while first < len(left) and n_sent >= len(left[first]):
            n_sent -= len(left[first])
            first += 1
        if n_sent:
            left[first] = left[first][n_sent:]
