"""One connection to a server: redis-py opens it and says who we are, all else goes straight to the socket.

What redis-py does for a call beside packing, sending, receiving and parsing costs as much again, and several times that
where calls are rare: code that was not run for 10 ms has left the processor's caches.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
from redis.connection import ConnectionPool

from .packing import Argument, pack_commands
from .sending import closed, limit_waiting, send_pieces, stuck, wait_in_kernel

TIMEOUT_S = 15.0
"""How long one answer may take [s]; blocking reads ask for at most a second, so this means that the server is gone."""

READ_BYTES = 256 << 10
"""What is read from a socket at once [bytes]: a little more than Linux lets wait in a Unix socket."""


SOCKET = "_sock"
"""What redis-py calls a connection's socket; it has no public name for it."""


class AnsweredError(Exception):
    """What a server answered in place of a result; never leaves `connections`."""


class Wire:
    """A connection that was opened and greeted; one thread at a time uses it.

    Parameters
    ----------
    maker : ConnectionPool
        What redis-py needs to know to open it; nothing is taken from that pool, or given to it.

    Attributes
    ----------
    plain : socket or None
        Its socket, where bytes go through it as they are (no TLS). It waits in the kernel, with the kernel's timeout.

    Raises
    ------
    redis.RedisError, OSError
        If there is no server, or it does not let us in.
    """

    __slots__ = ("__weakref__", "_connection", "_look", "_reader", "_room", "_sock", "plain")

    def __init__(self, maker: ConnectionPool) -> None:
        self._connection = maker.connection_class(**maker.connection_kwargs)
        self._connection.connect()
        self._sock: socket.socket = getattr(self._connection, SOCKET)
        self.plain = None if isinstance(self._sock, ssl.SSLSocket) else self._sock
        if self.plain is not None:
            wait_in_kernel(self.plain, TIMEOUT_S)
            limit_waiting(self.plain)
        self._reader = hiredis.Reader(protocolError=OSError, replyError=AnsweredError)
        self._room = bytearray(READ_BYTES)
        self._look = select.poll()
        self._look.register(self._sock, select.POLLIN)

    def send(self, command: Sequence[Argument]) -> None:
        """Send one command, in one piece.

        Raises
        ------
        OSError
            As all here: if the connection is lost, or the server does not go on.
        """
        try:
            packed = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # it says that there is one argument
        except TypeError:  # it does not know all types that we have
            packed = b"".join(pack_commands([command]))
        try:
            self._sock.sendall(packed)
        except BlockingIOError as error:
            raise stuck() from error

    def send_all(self, commands: Iterable[Sequence[Argument]]) -> None:
        """Send several commands; large arguments are not copied."""
        pieces = pack_commands(commands)
        if self.plain is not None:
            send_pieces(self.plain, pieces)
        else:
            self._sock.sendall(b"".join(pieces))

    def read(self) -> Any:
        """Return the next answer.

        Raises
        ------
        AnsweredError
            If it is an error.
        """
        answer = self._reader.gets()
        while answer is False:
            try:
                n_bytes = self._sock.recv_into(self._room)
            except BlockingIOError as error:
                raise stuck() from error
            if not n_bytes:
                raise closed()
            self._reader.feed(self._room, 0, n_bytes)  # type: ignore[arg-type]  # takes any buffer
            answer = self._reader.gets()
        if isinstance(answer, AnsweredError):
            raise answer
        return answer

    @property
    def has_word(self) -> bool:
        """Whether a connection that nobody uses has something to say: that can only be its end."""
        return self._sock.fileno() < 0 or bool(self._look.poll(0))

    def close(self) -> None:
        """Close it, also where another thread waits at it; may be called again."""
        self._connection.disconnect()
