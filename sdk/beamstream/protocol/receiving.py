"""Large answers from a socket, each in its place at once.

The usual way is in pieces of what has come so far, which are joined, and copied again out of what they were joined to;
each piece takes the interpreter's lock away from a thread that works. Here each string is one call that waits in the
kernel until all of it is there, with the kernel's own timeout, and large ones come into memory that was used before
(see `buffers`). Nothing behind the answer is taken from the socket.
"""

from __future__ import annotations

import re
import socket

from .buffers import ReceiveBuffers
from .sending import closed, stuck

LINE_BYTES = 64
"""Longest line that says how long the next string is, or how many there are [bytes]; the longest in use has 15."""

MAX_STRING_BYTES = 512 << 20
"""Longest string that a server keeps [bytes]."""

LARGE_BYTES = 64 << 10
"""From this length on a string is a view of a buffer that is used again [bytes]; shorter ones are bytes of their own,
for which the interpreter has memory at hand."""

END_BYTES = 2
"""What stands behind each string [bytes]."""


def receive_strings(sock: socket.socket, buffers: ReceiveBuffers) -> list[bytes | memoryview | None] | None:
    """Return the answer to a command that gives an array of strings; None where it is another answer, left unread.

    Parameters
    ----------
    sock : socket
        A stream socket; see `beamstream.protocol.sending.wait_in_kernel`.
    buffers : ReceiveBuffers
        Where strings from `LARGE_BYTES` on come into; they are given as views that can only be read.

    Raises
    ------
    OSError
        If the connection is lost, nothing came for so long, or what came is no array of strings.
    """
    if _received(sock, 1, socket.MSG_PEEK) != b"*":
        return None
    n_strings = _number(_receive_line(sock), b"*")
    return [_receive_string(sock, buffers) for _ in range(n_strings)]


def receive_each(sock: socket.socket, n_answers: int, buffers: ReceiveBuffers) -> list[bytes | memoryview | None]:
    """Return the answers to several commands that each give a string, up to the first other one, which is left unread.

    Parameters
    ----------
    sock, buffers
        As of `receive_strings`.
    n_answers : int
        How many there are.

    Raises
    ------
    OSError
        As `receive_strings`.
    """
    strings: list[bytes | memoryview | None] = []
    while len(strings) < n_answers and _received(sock, 1, socket.MSG_PEEK) == b"$":
        strings.append(_receive_string(sock, buffers))
    return strings


def _receive_string(sock: socket.socket, buffers: ReceiveBuffers) -> bytes | memoryview | None:
    """Receive a string: one look ahead at its length, then all of it with its line and its end."""
    ahead = _received(sock, LINE_BYTES, socket.MSG_PEEK)
    line = ahead[: ahead.find(b"\n") + 1]
    rest_bytes = len(line)  # of it, still in the socket
    if not line:
        line, rest_bytes = _receive_line(sock), 0
    n_bytes = _number(line, b"$")
    if n_bytes < 0:
        _receive_into(sock, [memoryview(bytearray(rest_bytes))])
        return None
    n_bytes_and_end = n_bytes + END_BYTES
    if n_bytes < LARGE_BYTES:
        view = memoryview(bytearray(rest_bytes + n_bytes_and_end))
        _receive_into(sock, [view])
        view = view[rest_bytes:]
    else:
        view = buffers.take(n_bytes_and_end)
        _receive_into(sock, [memoryview(bytearray(rest_bytes)), view])
    if bytes(view[n_bytes:]) != b"\r\n":
        raise OSError(f"a string of the server is longer than the {n_bytes} bytes that it said")
    string = view[:n_bytes]
    return bytes(string) if n_bytes < LARGE_BYTES else string.toreadonly()


def _receive_line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        ahead = _received(sock, LINE_BYTES, socket.MSG_PEEK)
        line += _received(sock, ahead.find(b"\n") + 1 or len(ahead))
        if len(line) > LINE_BYTES:
            break
    return line


def _number(line: bytes, kind: bytes) -> int:
    said = re.fullmatch(rb"([*$])(-?\d{1,10})\r\n", line)
    if said is None or said[1] != kind or int(said[2]) > MAX_STRING_BYTES:
        raise OSError(f"the server answered {line[:LINE_BYTES]!r} where {kind.decode()} and a number were expected")
    return int(said[2])


def _receive_into(sock: socket.socket, views: list[memoryview]) -> None:
    """Fill all of some views; more than one call where a signal or a slow server cuts it short."""
    n_left = sum(map(len, views))
    while n_left:
        try:
            n_bytes = sock.recvmsg_into(views, 0, socket.MSG_WAITALL)[0]
        except BlockingIOError as error:
            raise stuck() from error
        if not n_bytes:
            raise closed()
        n_left -= n_bytes
        if n_left:
            views = _behind(views, n_bytes)


def _behind(views: list[memoryview], n_bytes: int) -> list[memoryview]:
    """Return what is left of some views behind their first bytes."""
    left = []
    for view in views:
        if n_bytes < len(view):
            left.append(view[n_bytes:])
        n_bytes = max(0, n_bytes - len(view))
    return left


def _received(sock: socket.socket, n_bytes: int, flags: int = 0) -> bytes:
    try:
        data = sock.recv(n_bytes, flags)
    except BlockingIOError as error:
        raise stuck() from error
    if not data:
        raise closed()
    return data
