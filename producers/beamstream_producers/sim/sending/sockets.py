"""The detector's two PUSH sockets, one for each version of the stream, and whether anybody is there.

A PUSH deals messages to its receivers in turn and copies none; without a receiver it takes nothing at all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import zmq

from beamstream.errors import UsageError
from beamstream_producers.formats.simplon import Buffer

from .second_client import SecondClientSocket


class PortError(UsageError):
    """A port that cannot be listened on."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"cannot listen on {host}:{port}: {reason}; is another detector running? 0 takes any free port"
        )


class StreamSockets:
    """Binds, sends, and sees receivers; used by one thread at a time.

    Parameters
    ----------
    host : str
        Interface to bind to.
    ports : mapping of int to int
        TCP port by version of the stream; 0 for any that is free.
    n_queue : int
        Messages that may lie in a socket's own queue.

    Attributes
    ----------
    endpoints : dict of int to str
        Where to connect, by version of the stream.

    Raises
    ------
    PortError
        If a port is taken or the interface does not exist.
    """

    def __init__(self, host: str, ports: Mapping[int, int], n_queue: int) -> None:
        self.endpoints: dict[int, str] = {}
        self._n_queue = n_queue
        self._second_client: SecondClientSocket | None = None
        self._context = zmq.Context()
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        for version, port in ports.items():
            self._bind(version, host, port)

    def _bind(self, version: int, host: str, port: int) -> None:
        socket = self._sockets[version] = self._context.socket(zmq.PUSH)
        socket.set(zmq.SNDHWM, self._n_queue)
        try:
            socket.bind(f"tcp://{host}:{port}")
        except zmq.ZMQError as error:
            self.close(linger_s=0.0)
            raise PortError(host, port, str(error)) from error
        self.endpoints[version] = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def can_send(self, version: int, wait_s: float = 0.0) -> bool:
        """Tell whether a receiver has room, waiting for it for at most `wait_s`."""
        return bool(self._sockets[version].poll(round(wait_s * 1e3), zmq.POLLOUT))

    def send(self, version: int, parts: list[Buffer]) -> bool:
        """Hand a message over; False if there is no room after all."""
        try:
            # without copying: the pool keeps the pixels for longer than the socket needs them
            self._sockets[version].send_multipart(parts, flags=zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def receivers(self) -> frozenset[int]:
        """Return the versions whose socket has a receiver with room: any receiver, if nothing is queued."""
        return frozenset(version for version in self._sockets if self.can_send(version))

    def let_second_client(self, version: int, *, join: bool) -> None:
        """Let another client join, or leave again."""
        if self._second_client is not None:
            self._second_client.close()
            self._second_client = None
        if join:
            self._second_client = SecondClientSocket(self._context, self._sockets[version])

    def was_stolen(self) -> bool:
        """Tell whether the second client got the message that was sent last."""
        return self._second_client is not None and self._second_client.take()

    def restart(self, away_s: float, linger_s: float) -> None:
        """Vanish and come back at the same place after `away_s`; what was handed over is sent before that.

        Raises
        ------
        PortError
            If somebody else has taken a port meanwhile.
        """
        self.close(linger_s)
        time.sleep(away_s)
        self._context = zmq.Context()
        self._sockets = {}
        for version, endpoint in self.endpoints.items():
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            self._bind(version, host, int(port))

    def close(self, linger_s: float) -> None:
        """Give the sockets back; what they still hold is sent for as long as `linger_s`."""
        if self._second_client is not None:
            self._second_client.close()
            self._second_client = None
        for socket in self._sockets.values():
            socket.close(linger=round(linger_s * 1e3))
        self._context.term()
