"""One connection to a fetch service: several requests at once, and the first sign that nobody answers any more.

Not thread-safe. ZeroMQ connects again by itself and without a word, and what was asked meanwhile is lost; so the socket
is watched, and a connection that broke, or was refused, is an error here at once. Whoever asks makes a new one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from beamstream.address import Address
from beamstream.dataset import Stored
from beamstream.errors import FetchRefusedError, FetchUnavailableError

from .messages import Reply, ReplyStatus, Request, decode_reply, encode_request, is_loopback

ANSWER_TIMEOUT_S = 30.0
"""How long the next answer may take [s]: the largest payload (512 MiB) over 1 Gb/s takes 5 s, a queue before it as long
again. A service that died is noticed at once; this is for a network that swallows everything."""

LOOK_EVERY_MS = 100
"""How often it is looked at whether the reader is being closed [ms]."""

MAX_PART_BYTES = 512 << 20
"""Longest part that is taken [bytes]: the longest payload."""

_BROKEN = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class FetchConnection:
    """A connection to one endpoint.

    Parameters
    ----------
    endpoint : str
        Where the service is, e.g. ``tcp://dcu-17:5557``.
    ticket : bytes
        What to show there.
    closed : threading.Event
        Ends every wait.
    host : str
        Where the broker runs, for messages; empty where nobody says.

    Raises
    ------
    FetchUnavailableError
        If the endpoint cannot be one here, e.g. because its host has no address.
    """

    def __init__(self, endpoint: str, ticket: bytes, closed: threading.Event, host: str = "") -> None:
        self.endpoint = endpoint
        self._host = host
        self._ticket = ticket
        self._closed = closed
        self._numbers = itertools.count(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.ipv6 = True
        self._socket.maxmsgsize = MAX_PART_BYTES
        self._socket.handshake_ivl = int(ANSWER_TIMEOUT_S * 1000)
        self._monitor = self._socket.get_monitor_socket(_BROKEN)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise FetchUnavailableError(endpoint, str(error)) from error

    def ask(self, address: Address, created_ns: int, wanted: Sequence[Sequence[Stored]]) -> list[Reply]:
        """Ask for several lists of payloads at once; returns a reply for each.

        Raises
        ------
        FetchUnavailableError
            If nobody answers, or another service does; this connection is of no use any more then.
        FetchRefusedError, FetchProtocolError
            If the two sides do not understand each other.
        """
        numbers = [next(self._numbers) for _ in wanted]
        for number, items in zip(numbers, wanted, strict=True):
            request = Request(
                request_id=number, ticket=self._ticket, address=address, created_ns=created_ns, wanted=items
            )
            self._socket.send(encode_request(request))
        replies: dict[int, Reply] = {}
        while len(replies) < len(numbers):
            reply = self._checked(self._receive())
            if reply.request_id in numbers:
                replies[reply.request_id] = reply
        return [replies[number] for number in numbers]

    def _receive(self) -> Reply:
        ends_at = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            ready = dict(self._poller.poll(LOOK_EVERY_MS))
            if self._socket in ready:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                return decode_reply([part.buffer for part in parts])
            if self._monitor in ready:
                event = parse_monitor_message(self._monitor.recv_multipart())["event"]
                raise self._not_there(_meaning(event))
            if self._closed.is_set():
                raise FetchUnavailableError(self.endpoint, "the reader is being closed")
            if time.monotonic() >= ends_at:
                raise FetchUnavailableError(self.endpoint, f"no answer within {ANSWER_TIMEOUT_S:g} s")

    def _checked(self, reply: Reply) -> Reply:
        if reply.status in (ReplyStatus.UNKNOWN_VERSION, ReplyStatus.MALFORMED):
            raise FetchRefusedError(self.endpoint, reply.reason)
        if reply.status is ReplyStatus.WRONG_TICKET:
            raise self._not_there("another broker's service answers there")
        return reply

    def _not_there(self, reason: str) -> FetchUnavailableError:
        """Return the error for a service that is not where it is said to be, or not seen from here."""
        if is_loopback(self.endpoint):
            reason += f"; only the broker's own host{self._host and ', ' + self._host + ','} reaches that address"
        return FetchUnavailableError(self.endpoint, reason)

    def close(self) -> None:
        """Let the connection go."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()


def _meaning(event: int) -> str:
    if event == zmq.EVENT_DISCONNECTED:
        return "the connection broke"
    return "the connection was refused" if event == zmq.EVENT_CLOSED else "what answers there speaks no ZeroMQ"
