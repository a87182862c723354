"""Large answers from a socket, each in its place at once.

The usual way is in pieces of what has come so far, which are joined, and copied again out of what they were joined to;
each piece takes the interpreter's lock away from a thread that works. Here each string is one call that waits in the
kernel until all of it is there, with the kernel's own timeout.
"""

from __future__ import annotations

import re
import socket

from .sending import waiting_in_kernel

LINE_BYTES = 64
"""Longest line that says how long the next string is, or how many there are [bytes]; the longest in use has 15."""

MAX_STRING_BYTES = 512 << 20
"""Longest string that a server keeps [bytes]."""


def receive_strings(sock: socket.socket, timeout_s: float) -> list[bytes | None] | None:
    """Return the answer to a command that gives an array of strings; None where it is another answer, left unread.

    Parameters
    ----------
    sock : socket
        A stream socket; its timeout is the same afterwards.
    timeout_s : float
        How long the other side may take for a string [s].

    Raises
    ------
    OSError
        If the connection is lost, nothing came for so long, or what came is no array of strings.
    """
    with waiting_in_kernel(sock, socket.SO_RCVTIMEO, timeout_s):
        if _received(sock, 1, socket.MSG_PEEK) != b"*":
            return None
        return [_receive_string(sock) for _ in range(_receive_number(sock, b"*"))]


def _receive_string(sock: socket.socket) -> bytes | None:
    n_bytes = _receive_number(sock, b"$")
    if n_bytes < 0:
        return None
    string = _receive_exactly(sock, n_bytes)
    if _receive_exactly(sock, 2) != b"\r\n":
        raise OSError(f"a string of the server is longer than the {n_bytes} bytes that it said")
    return string


def _receive_number(sock: socket.socket, kind: bytes) -> int:
    line = b""
    while not line.endswith(b"\r\n"):
        ahead = _received(sock, LINE_BYTES, socket.MSG_PEEK)
        line += _received(sock, ahead.find(b"\n") + 1 or len(ahead))
        if len(line) > LINE_BYTES:
            break
    said = re.fullmatch(rb"([*$])(-?\d{1,10})\r\n", line)
    if said is None or said[1] != kind or int(said[2]) > MAX_STRING_BYTES:
        raise OSError(f"the server answered {line[:LINE_BYTES]!r} where {kind.decode()} and a number were expected")
    return int(said[2])


def _receive_exactly(sock: socket.socket, n_bytes: int) -> bytes:
    data = _received(sock, n_bytes, socket.MSG_WAITALL) if n_bytes else b""
    if len(data) == n_bytes:
        return data
    pieces = [data]  # a signal, or a slow server
    n_left = n_bytes - len(data)
    while n_left:
        pieces.append(_received(sock, n_left, socket.MSG_WAITALL))
        n_left -= len(pieces[-1])
    return b"".join(pieces)


def _received(sock: socket.socket, n_bytes: int, flags: int = 0) -> bytes:
    try:
        data = sock.recv(n_bytes, flags)
    except BlockingIOError as error:
        raise TimeoutError("the server does not go on with its answer") from error
    if not data:
        raise ConnectionError("the server closed the connection")
    return data
