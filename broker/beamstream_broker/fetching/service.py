"""The fetch service's socket and its thread: one request after the other, nothing held for long, nothing that ends it.

What readers have not taken yet is bounded in bytes, for all and for each (see `allowance`); a reader that wants more is
told that the service is busy. One that takes nothing any more is cut off by the kernel or by missing heartbeats.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zmq

from beamstream.fetch import (
    MAX_REQUEST_BYTES,
    TICKET_BYTES,
    BadRequestError,
    ItemStatus,
    Reply,
    ReplyStatus,
    Request,
    decode_request,
    encode_reply,
    format_endpoint,
)
from beamstream.segments import SegmentError
from beamstream_broker.errors import FetchEndpointError

from .allowance import Allowance
from .archive import Archive
from .endpoint import FetchEndpoint
from .handshakes import Handshakes

log = logging.getLogger(__name__)

LOOK_EVERY_MS = 100
"""How often it is looked at whether the service is to end, and what readers have taken, when nothing comes [ms]."""

QUEUED_REPLIES = 16
"""Messages that ZeroMQ holds for one reader; more than `READER_LIMIT_REPLIES`: it can still be told to wait."""

QUEUED_REQUESTS = 64
"""Requests that ZeroMQ holds of one reader before TCP holds it back: 1 MiB."""

SILENCE_MS = 15_000
"""After which a reader that takes nothing, or does not answer a heartbeat, is cut off [ms]."""

HEARTBEAT_MS = 5_000
HANDSHAKE_MS = 5_000
COMPLAIN_EVERY_S = 60.0
"""How often the log hears of requests that make no sense [s]."""


@dataclass(slots=True)
class FetchCounts:
    """What the service did up to now.

    Attributes
    ----------
    n_requests, n_served, served_bytes, n_absent : int
        Requests answered; payloads in the answers [messages, bytes]; messages that are not there, or damaged.
    n_busy, n_refused, n_garbage, n_lost : int
        Requests that were put off; that were refused; connections that spoke no ZeroMQ; replies that nobody took.
    """

    n_requests: int = 0
    n_served: int = 0
    served_bytes: int = 0
    n_absent: int = 0
    n_busy: int = 0
    n_refused: int = 0
    n_garbage: int = 0
    n_lost: int = 0

    def as_events(self) -> dict[str, int]:
        """Return them under the names that metrics have."""
        return {
            "fetch_requests": self.n_requests,
            "fetch_served": self.n_served,
            "fetch_bytes": self.served_bytes,
            "fetch_absent": self.n_absent,
            "fetch_busy": self.n_busy,
            "fetch_refused": self.n_refused,
            "fetch_garbage": self.n_garbage,
            "fetch_lost": self.n_lost,
        }


class FetchService:
    """Gives what lies below one folder to whoever shows the ticket; runs from the moment it exists until `close`.

    Parameters
    ----------
    root : Path
        Where the broker spills to.
    where : FetchEndpoint
        What it listens on.

    Attributes
    ----------
    address : str
        Where others reach it, e.g. ``tcp://dcu-17:5557``.
    endpoint : str
        The same with the ticket: what streams' states say.

    Raises
    ------
    FetchEndpointError
        If it cannot be listened on.
    """

    def __init__(self, root: Path, where: FetchEndpoint) -> None:
        self.root = root.absolute()
        self.counts = FetchCounts()
        self._archive = Archive(self.root)
        self._allowance = Allowance()
        self._ticket = os.urandom(TICKET_BYTES)
        self._complained_at = -COMPLAIN_EVERY_S
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        _set_limits(self._socket)
        self._handshakes = Handshakes(self._socket)
        try:
            self._socket.bind(where.bind_address)
        except zmq.ZMQError as error:
            self._close_sockets()
            raise FetchEndpointError(where.text, str(error)) from error
        bound = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.address = where.announced(int(bound.rpartition(":")[2]))
        self.endpoint = format_endpoint(self.address, self._ticket)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch service", daemon=True)
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        """Payload bytes that readers have not taken yet [bytes]."""
        return self._allowance.queued_bytes

    def close(self) -> None:
        """End the thread, and let everything go."""
        self._stop.set()
        self._thread.join()
        self._archive.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._handshakes.close()
        self._socket.close(0)
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._handshakes.monitor, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(LOOK_EVERY_MS))
            self._allowance.settle()
            if self._handshakes.monitor in ready and self._handshakes.note():
                self.counts.n_garbage += 1
                self._complain("a connection that speaks no ZeroMQ")
            if self._socket in ready:
                self._answer_next()

    def _answer_next(self) -> None:
        reader, *parts = self._socket.recv_multipart()
        try:
            if len(parts) != 1:
                raise BadRequestError(0, ReplyStatus.MALFORMED, f"{len(parts)} parts where one is needed")
            reply, n_bytes = self._answer(reader, decode_request(parts[0]))
        except BadRequestError as flaw:
            self.counts.n_refused += 1
            self._complain(f"a request is refused: {flaw.reason}")
            reply, n_bytes = Reply(request_id=flaw.request_id, status=flaw.status, reason=flaw.reason), 0
        except Exception:  # the service goes on, whatever one request finds
            log.exception("a request could not be answered")
            self.counts.n_lost += 1
            return
        self._send(reader, reply, n_bytes)

    def _answer(self, reader: bytes, request: Request) -> tuple[Reply, int]:
        number = request.request_id
        if request.ticket != self._ticket:
            raise BadRequestError(number, ReplyStatus.WRONG_TICKET, "the state names another service")
        room = self._allowance.room(reader)
        if room.left_bytes <= 0:
            self.counts.n_busy += 1
            return Reply(request_id=number, status=ReplyStatus.BUSY, reason="too much is on its way"), 0
        try:
            found = self._archive.read((request.address, request.created_ns), request.wanted, room.take)
        except SegmentError as error:
            found = [(ItemStatus.FAILED, None)] * len(request.wanted), str(error)
        if found is None:
            raise BadRequestError(number, ReplyStatus.UNKNOWN_STREAM, f"no segments of {request.address} of that time")
        items, flaw = found
        self.counts.n_requests += 1
        self.counts.n_served += room.n_taken
        self.counts.n_absent += sum(status in (ItemStatus.ABSENT, ItemStatus.DAMAGED) for status, _ in items)
        if flaw:
            self._complain(flaw)
        return Reply(request_id=number, status=ReplyStatus.OK, reason=flaw, items=items), room.taken_bytes

    def _send(self, reader: bytes, reply: Reply, n_bytes: int) -> None:
        try:
            tracker = self._socket.send_multipart([reader, *encode_reply(reply)], copy=False, track=True)
        except zmq.ZMQError as error:  # EHOSTUNREACH: it has gone; EAGAIN: it does not take what it was sent before
            self.counts.n_lost += 1
            self._complain(f"a reply cannot be sent: {error}")
            return
        self.counts.served_bytes += n_bytes
        if tracker is not None and n_bytes:
            self._allowance.add(reader, tracker, n_bytes)

    def _complain(self, what: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning("fetch service: %s; more of that is only counted for a minute", what)


def _set_limits(socket: zmq.Socket[bytes]) -> None:
    socket.linger = 0
    socket.ipv6 = True
    socket.router_mandatory = 1
    socket.sndtimeo = 0
    socket.sndhwm = QUEUED_REPLIES
    socket.rcvhwm = QUEUED_REQUESTS
    socket.maxmsgsize = MAX_REQUEST_BYTES
    socket.handshake_ivl = HANDSHAKE_MS
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = SILENCE_MS
    socket.tcp_maxrt = SILENCE_MS


@contextlib.contextmanager
def fetch_service(root: Path | None, where: FetchEndpoint | None) -> Iterator[FetchService | None]:
    """Run the service as long as the context lasts; there is none without a folder, or where it is switched off."""
    if root is None or where is None:
        yield None
        return
    service = FetchService(root, where)
    try:
        yield service
    finally:
        service.close()
