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
from beamstream_broker.errors import FetchEndpointError
from beamstream_broker.sharing import Pool

from .allowance import Allowance, Room
from .endpoint import FetchEndpoint
from .handshakes import Handshakes
from .holdings import Holdings

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
    n_shared, n_copied : int
        Payloads in the answers that came from shared memory; those of them that were copied for it.
    n_busy, n_refused, n_garbage, n_lost : int
        Requests that were put off; that were refused; connections that spoke no ZeroMQ; replies that nobody took.
    """

    n_requests: int = 0
    n_served: int = 0
    served_bytes: int = 0
    n_absent: int = 0
    n_shared: int = 0
    n_copied: int = 0
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
            "fetch_shared": self.n_shared,
            "fetch_copied": self.n_copied,
            "fetch_busy": self.n_busy,
            "fetch_refused": self.n_refused,
            "fetch_garbage": self.n_garbage,
            "fetch_lost": self.n_lost,
        }


class FetchService:
    """Gives what a broker has to whoever shows the ticket; runs from the moment it exists until `close`.

    Parameters
    ----------
    root : Path or None
        Where the broker spills to; None where it keeps nothing on disk.
    where : FetchEndpoint
        What it listens on.
    pool : Pool, optional
        The broker's segments of shared memory.

    Attributes
    ----------
    address : str
        Where others reach it, e.g. ``tcp://dcu-17:5557``.
    endpoint : str
        The same with the ticket: what the broker's presence and streams' states say.

    Raises
    ------
    FetchEndpointError
        If it cannot be listened on.
    """

    def __init__(self, root: Path | None, where: FetchEndpoint, pool: Pool | None = None) -> None:
        self.counts = FetchCounts()
        self._holdings = Holdings(None if root is None else root.absolute(), pool)
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
        self._holdings.close()
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
            reply, room = self._answer(reader, decode_request(parts[0]))
        except BadRequestError as flaw:
            self.counts.n_refused += 1
            self._complain(f"a request is refused: {flaw.reason}")
            reply, room = Reply(request_id=flaw.request_id, status=flaw.status, reason=flaw.reason), None
        except Exception:  # the service goes on, whatever one request finds
            log.exception("a request could not be answered")
            self.counts.n_lost += 1
            return
        self._send(reader, reply, room)

    def _answer(self, reader: bytes, request: Request) -> tuple[Reply, Room | None]:
        number = request.request_id
        if request.ticket != self._ticket:
            raise BadRequestError(number, ReplyStatus.WRONG_TICKET, "the state names another service")
        room = self._allowance.room(reader, self._holdings.shared_bytes)
        if room.left_bytes <= 0:
            self.counts.n_busy += 1
            return Reply(request_id=number, status=ReplyStatus.BUSY, reason="too much is on its way"), None
        found = self._holdings.read((request.address, request.created_ns), request.wanted, room)
        if found is None:
            raise BadRequestError(number, ReplyStatus.UNKNOWN_STREAM, f"no segments of {request.address} of that time")
        items, flaw = found
        self.counts.n_requests += 1
        self.counts.n_served += room.n_taken
        self.counts.n_shared, self.counts.n_copied = self._holdings.n_shared, self._holdings.n_copied
        self.counts.n_absent += sum(status in (ItemStatus.ABSENT, ItemStatus.DAMAGED) for status, _ in items)
        if flaw:
            self._complain(flaw)
        return Reply(request_id=number, status=ReplyStatus.OK, reason=flaw, items=items), room

    def _send(self, reader: bytes, reply: Reply, room: Room | None) -> None:
        *parts, last = encode_reply(reply)
        # What is on its way is known by the last part, which ZeroMQ lets go after the others: if it has not copied it.
        tracked = zmq.Frame(last, track=True, copy=False)
        try:
            tracker = self._socket.send_multipart([reader, *parts, tracked], copy=False, track=True)
        except zmq.ZMQError as error:  # EHOSTUNREACH: it has gone; EAGAIN: it does not take what it was sent before
            self.counts.n_lost += 1
            self._complain(f"a reply cannot be sent: {error}")
            return
        if room is not None and tracker is not None and room.n_taken:
            self.counts.served_bytes += room.taken_bytes
            self._allowance.add(reader, tracker, room)

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
def fetch_service(
    root: Path | None, where: FetchEndpoint | None, pool: Pool | None = None
) -> Iterator[FetchService | None]:
    """Run the service as long as the context lasts; there is none where nothing is kept, or it is switched off."""
    if where is None or (root is None and pool is None):
        yield None
        return
    service = FetchService(root, where, pool)
    try:
        yield service
    finally:
        service.close()
