"""The socket that workers ask at: requests in, answers out, nothing that a peer sends ends it or fills it up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from beamstream.errors import UsageError

from .protocol import MAX_REQUEST_BYTES

MAX_IN_FLIGHT_BYTES = 1 << 30
"""What may be on its way to workers [bytes]: sixteen 4M frames; until some has gone, nobody is given more."""

QUEUED = 8
"""Messages that ZeroMQ holds for one worker, each way."""

LINGER_MS = 1_000
"""How long the last answers may take to leave [ms]."""

HANDSHAKE_MS = 5_000
HEARTBEAT_MS = 10_000
HEARTBEAT_TIMEOUT_MS = 60_000
"""After which a worker whose host is gone counts as gone [ms]; a busy one still answers: ZeroMQ does it by itself."""


class BridgeEndpointError(UsageError):
    """An endpoint that cannot be listened on."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(
            f"--bind {endpoint}: {reason}; write tcp://127.0.0.1:PORT, tcp://0.0.0.0:PORT for other hosts, or ipc://PATH"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request: who, over which connection, and what it says; None where it is no single part."""

    worker: bytes
    connection: int | None
    text: bytes | None


class Endpoint:
    """A ROUTER socket.

    Parameters
    ----------
    endpoint : str
        Where to listen.

    Attributes
    ----------
    address : str
        Where it listens, with the port where any was asked for.

    Raises
    ------
    BridgeEndpointError
        If it cannot.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._in_flight: list[tuple[zmq.MessageTracker, int]] = []
        for option, value in (
            (zmq.LINGER, LINGER_MS),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.MAXMSGSIZE, MAX_REQUEST_BYTES),
            (zmq.SNDHWM, QUEUED),
            (zmq.RCVHWM, QUEUED),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS),
        ):
            self._socket.setsockopt(option, value)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise BridgeEndpointError(endpoint, error.strerror or str(error)) from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def in_flight_bytes(self) -> int:
        """What ZeroMQ has not sent yet [bytes]."""
        self._in_flight = [(tracker, size) for tracker, size in self._in_flight if not tracker.done]
        return sum(size for _, size in self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another frame may be sent."""
        return self.in_flight_bytes < MAX_IN_FLIGHT_BYTES

    def wait(self, timeout_s: float) -> None:
        """Wait until somebody asks, or leaves."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.poll(round(timeout_s * 1000))

    def requests(self) -> Iterator[Asked]:
        """Yield what was asked since the last call."""
        while self._socket.poll(0):
            parts = self._socket.recv_multipart(copy=False)
            try:
                connection: int | None = int(parts[-1].get(zmq.SRCFD))
            except (zmq.ZMQError, TypeError, ValueError):
                connection = None
            is_request = len(parts) == 3 and not parts[1].bytes
            yield Asked(worker=parts[0].bytes, connection=connection, text=parts[2].bytes if is_request else None)

    def ended(self) -> list[int]:
        """Return the connections that ended since the last call."""
        found = []
        while self._monitor.poll(0):
            found.append(int(parse_monitor_message(self._monitor.recv_multipart())["value"]))
        return found

    def answer(self, worker: bytes, payload: bytes) -> bool:
        """Send an answer; False where the worker is gone."""
        try:
            tracker = self._socket.send_multipart([worker, b"", payload], flags=zmq.NOBLOCK, copy=False, track=True)
        except zmq.ZMQError:
            return False
        if tracker is not None:
            self._in_flight.append((tracker, len(payload)))
        return True

    def close(self) -> None:
        """Let the socket go."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
        self._context.term()
