"""A connection to the process that keeps the segments; safe to share between threads."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from beamstream.errors import SharedMemoryElsewhereError, SharedMemoryUnavailableError

from .messages import MAX_DESCRIPTORS, MAX_PACKET_BYTES, decode, parse_endpoint

_NOT_HERE = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT})
"""What kernels say where nobody of this host, or of this container, has such a socket, or none that we may use; the
last one where there are no such sockets at all."""

TIMEOUT_S = 10.0
"""How long an answer may take [s]: a new segment takes some hundredths, where memory is short some tenths."""

_TIMEVAL = struct.Struct("@ll")


class Connection:
    """One client's side.

    Parameters
    ----------
    endpoint : str
        As the broker announces it.

    Raises
    ------
    SharedMemoryElsewhereError
        If nobody listens there on this host.
    SharedMemoryUnavailableError
        If it cannot be reached now.
    """

    def __init__(self, endpoint: str) -> None:
        name, ticket = parse_endpoint(endpoint)
        self.endpoint = endpoint
        self.shown = endpoint.partition("#")[0]
        self._is_broken = False
        self._lock = threading.Lock()
        try:
            self._socket = _connect(name, ticket)
        except OSError as error:
            if error.errno in _NOT_HERE:
                raise SharedMemoryElsewhereError(self.shown, error.strerror or str(error)) from error
            raise self._unavailable(error) from error
        self._hang_up = select.poll()
        self._hang_up.register(self._socket, select.POLLRDHUP)

    @property
    def is_there(self) -> bool:
        """Whether the other side is still there, as far as the kernel knows; asks nobody else."""
        return not self._is_broken and not self._hang_up.poll(0)

    def tell(self, packet: bytes) -> None:
        """Say something whose answer, if there will be one, is taken later.

        Raises
        ------
        SharedMemoryUnavailableError
            If nobody is there any more.
        """
        with self._lock:
            self._send(packet)

    def take(self, kinds: Mapping[str, Sequence[type]]) -> tuple[list[Any], list[int]]:
        """Return the next answer, and the descriptors with it, which are the caller's then.

        Raises
        ------
        SharedMemoryUnavailableError
            If nobody answers.
        SharedMemoryProtocolError
            If the answer is none.
        """
        with self._lock:
            return self._receive(kinds)

    def ask(self, packet: bytes, kinds: Mapping[str, Sequence[type]]) -> tuple[list[Any], list[int]]:
        """Say something, and return the answer to it; see `take`."""
        with self._lock:
            self._send(packet)
            return self._receive(kinds)

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, kinds: Mapping[str, Sequence[type]]) -> tuple[list[Any], list[int]]:
        try:
            answer, descriptors, flags, _ = socket.recv_fds(self._socket, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
        except OSError as error:
            raise self._lost(error) from error
        try:
            if not answer:
                raise self._lost(ConnectionResetError("the broker has closed the connection"))
            if flags & socket.MSG_CTRUNC:
                raise SharedMemoryUnavailableError(self.shown, "this process has too many files open")
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            return decode(answer, kinds), descriptors
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def _lost(self, error: OSError) -> SharedMemoryUnavailableError:
        """Be of no use any more: an answer that comes too late must not be taken for the next one."""
        self._is_broken = True
        self._socket.close()
        return self._unavailable(error)

    def _unavailable(self, error: OSError) -> SharedMemoryUnavailableError:
        if isinstance(error, BlockingIOError):
            return SharedMemoryUnavailableError(self.shown, f"no answer within {TIMEOUT_S:g} s")
        return SharedMemoryUnavailableError(self.shown, error.strerror or str(error))

    def close(self) -> None:
        """Let it go."""
        self._is_broken = True
        self._socket.close()


def _connect(name: str, ticket: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(None)  # the kernel's own timeouts, so that a look need not wait
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(TIMEOUT_S), 0))
        connection.connect("\0" + name)
        connection.send(ticket)
    except BaseException:
        connection.close()
        raise
    return connection
