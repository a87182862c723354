"""A connection to the process that keeps the segments; safe to share between threads."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from beamstream.errors import SharedMemoryUnavailableError

from .messages import MAX_DESCRIPTORS, MAX_PACKET_BYTES, decode, parse_endpoint

TIMEOUT_S = 10.0
"""How long an answer may take [s]: a new segment takes some hundredths, where memory is short some tenths."""


class Connection:
    """One client's side.

    Parameters
    ----------
    endpoint : str
        As the broker announces it.

    Raises
    ------
    SharedMemoryUnavailableError
        If it cannot be reached from here: it is on another host, or gone.
    """

    def __init__(self, endpoint: str) -> None:
        name, ticket = parse_endpoint(endpoint)
        self.endpoint = endpoint
        self.shown = endpoint.partition("#")[0]
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.connect("\0" + name)
            self._socket.send(ticket)
        except OSError as error:
            self._socket.close()
            raise self._lost(error) from error
        self._hang_up = select.poll()
        self._hang_up.register(self._socket, select.POLLRDHUP)

    @property
    def is_there(self) -> bool:
        """Whether the other side is still there, as far as the kernel knows; asks nobody else."""
        return not self._hang_up.poll(0)

    def tell(self, packet: bytes) -> None:
        """Say something that is not answered.

        Raises
        ------
        SharedMemoryUnavailableError
            If nobody is there any more.
        """
        with self._lock:
            try:
                self._socket.send(packet)
            except OSError as error:
                raise self._lost(error) from error

    def ask(self, packet: bytes, kinds: Mapping[str, Sequence[type]]) -> tuple[list[Any], list[int]]:
        """Say something, and return the answer and the descriptors with it, which are the caller's then.

        Raises
        ------
        SharedMemoryUnavailableError
            If nobody answers.
        SharedMemoryProtocolError
            If the answer is none.
        """
        with self._lock:
            try:
                self._socket.send(packet)
                answer, descriptors, flags, _ = socket.recv_fds(self._socket, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
            except OSError as error:
                self._end()  # an answer that comes too late is none to the next question
                raise self._lost(error) from error
        try:
            if not answer:
                raise SharedMemoryUnavailableError(self.shown, "the broker has closed the connection")
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
        return SharedMemoryUnavailableError(self.shown, error.strerror or str(error))

    def _end(self) -> None:
        """Let the other side know, and `is_there`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let it go."""
        self._socket.close()
