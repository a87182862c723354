"""Large commands to a socket in as few system calls as can be.

Python gives a socket with a timeout to the kernel as one that never waits, and so sends 16 MB in some hundred pieces of
what just has room, with a look whether there is room before each; every piece gives up the interpreter's lock and has
to get it back from threads that work. One call that waits in the kernel, with the kernel's own timeout, does all that
at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator

MAX_PIECES = 512
"""Most buffers that one call is given; the kernel takes 1024."""

_TIMEVAL = struct.Struct("@ll")


@contextlib.contextmanager
def waiting_in_kernel(sock: socket.socket, option: int, timeout_s: float) -> Iterator[None]:
    """Let a socket wait in the kernel, which makes one call of many.

    Parameters
    ----------
    sock : socket
        Its own timeout is the same afterwards.
    option : int
        ``SO_SNDTIMEO`` or ``SO_RCVTIMEO``.
    timeout_s : float
        How long the kernel waits for the other side [s].
    """
    known_s = sock.gettimeout()
    whole_s = int(timeout_s)
    sock.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole_s, int((timeout_s - whole_s) * 1e6)))
    sock.settimeout(None)
    try:
        yield
    finally:
        sock.settimeout(known_s)


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
    with waiting_in_kernel(sock, socket.SO_SNDTIMEO, timeout_s):
        first = 0
        while first < len(left):
            n_sent = sock.sendmsg(left[first : first + MAX_PIECES])
            while first < len(left) and n_sent >= len(left[first]):
                n_sent -= len(left[first])
                first += 1
            if n_sent:
                left[first] = left[first][n_sent:]
