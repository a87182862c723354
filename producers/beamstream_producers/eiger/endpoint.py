"""The socket on the detector: where it connects, what it holds, and what can be said while nothing comes."""

from __future__ import annotations

import contextlib
import logging
import re
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from beamstream.errors import UsageError
from beamstream_producers.complaints import Complaints

PORT_V2 = 31001
PORT_V1 = 9999

HELD_MESSAGES = 100
"""Messages that may wait in our socket: 11 ms at 9 kHz. What waits here is lost if the process dies, what waits in the
detector is not, so this is no place for more."""

HELD_BYTES = 1 << 30
"""What may wait in our socket, of images that do not compress at all [bytes]."""

MIN_HELD = 4
"""Fewest messages that may wait in our socket, however large they are."""

MAX_PART_BYTES = 2**30
"""Largest part that libzmq takes [bytes]: a v2 start of a 16M with the tables of three channels has 0.43 GB."""

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_PROBES = 3
"""A detector that lost power says no goodbye: the kernel notices within 45 s, and libzmq connects anew."""

_ENDPOINT = re.compile(r"tcp://(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})|ipc://.+")
_IS_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_IS_TRIED = zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_CONNECTED
_LINK_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | _IS_LOST | _IS_TRIED

GIVEN_UP_S = 0.5
"""How long after a connection was lost libzmq has begun to connect anew, or never will [s]; it begins at once."""

log = logging.getLogger(__name__)


def check_endpoint(text: str) -> str:
    """Return an endpoint that can be connected to.

    Raises
    ------
    UsageError
        If it is none; says which ports a detector has.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None or (match["port"] and not 0 < int(match["port"]) < 2**16):
        host = text.removeprefix("tcp://").split(":")[0].split("/")[0] or "HOST"
        raise UsageError(
            f"{text!r} is no endpoint of a detector; write tcp://{host}:{PORT_V2} for stream v2 (CBOR) "
            f"or tcp://{host}:{PORT_V1} for stream v1 (legacy)"
        )
    return text


class DetectorSocket:
    """A PULL socket, connected from the moment it is made: a detector forgets what it sends while nobody is.

    Parameters
    ----------
    endpoint : str
        ``tcp://host:port`` or ``ipc://path``.

    Raises
    ------
    UsageError
        If the endpoint is none.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = check_endpoint(endpoint)
        self.is_connected = False
        self._lost_at_s: float | None = None
        self._complaints = Complaints()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.linger = 0
        self._socket.rcvhwm = HELD_MESSAGES
        self._socket.maxmsgsize = MAX_PART_BYTES
        self._socket.ipv6 = True
        self._socket.tcp_keepalive = 1
        self._socket.tcp_keepalive_idle = KEEPALIVE_IDLE_S
        self._socket.tcp_keepalive_intvl = KEEPALIVE_INTERVAL_S
        self._socket.tcp_keepalive_cnt = KEEPALIVE_PROBES
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._monitor = self._socket.get_monitor_socket(_LINK_EVENTS)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"cannot connect to {endpoint}: {error.strerror}") from error

    def receive(self, timeout_s: float) -> list[memoryview] | None:
        """Return the parts of the next message, None if there is none within `timeout_s` [s].

        The parts are views into libzmq's own memory, which lives as long as they do.
        """
        try:
            # looked for first: while messages come, asking whether one is there costs as much as taking it
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            if not timeout_s or not self._poller.poll(int(1000 * timeout_s)):
                return None
            return self.receive(0)
        parts = [frame.buffer]
        while frame.more:  # a message comes with all of its parts, or not at all
            frame = self._socket.recv(copy=False)
            parts.append(frame.buffer)
        return parts

    def hold(self, image_bytes: int) -> None:
        """Let no more messages wait than there is room for, each of this many bytes at most.

        Never more than before: libzmq lets whoever waits for room wait for ever where the limit is raised (it says that
        there is room again when half of the new limit has been read, and so much was never written).
        """
        n_held = max(MIN_HELD, HELD_BYTES // image_bytes)
        self._socket.rcvhwm = min(self._socket.rcvhwm, n_held)

    def link_changes(self) -> list[bool]:
        """Look after the connection; returns what happened since the last call: True made, False lost."""
        changes = []
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._lost_at_s = time.monotonic() if event & _IS_LOST else None
            if event in (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED):
                self.is_connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
                changes.append(self.is_connected)
        if self._lost_at_s is not None and time.monotonic() - self._lost_at_s > GIVEN_UP_S:
            self._connect_anew()
        return changes

    def _connect_anew(self) -> None:
        """Do what libzmq does not: after a breach of its protocol it never connects again (its issue 4196)."""
        if self._socket.poll(0):
            return  # disconnecting would lose what waits
        line = self._complaints.note(
            "breach", f"what answers at {self.endpoint} does not speak ZeroMQ; trying again", time.monotonic()
        )
        if line is not None:
            log.warning("%s", line)
        self._lost_at_s = None
        with contextlib.suppress(zmq.ZMQError):  # it may have forgotten the endpoint
            self._socket.disconnect(self.endpoint)
        self._socket.connect(self.endpoint)

    def close(self) -> None:
        """Give the socket back; what waits in it is lost."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
            self._context.term()
