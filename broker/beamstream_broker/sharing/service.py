"""The socket through which processes of this host get segments: a thread for each, so that nobody waits for others.

Its name is abstract, so that nothing is left of it in a file system; it can only be reached on this host. What a client
says wrong ends its connection, and is counted. A producer whose connection ends has left what was lent to it.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from beamstream.address import Address
from beamstream.errors import AddressError, SharedMemoryProtocolError
from beamstream.shared.messages import (
    DONE,
    LEND,
    LENT,
    MAX_PACKET_BYTES,
    NEVER,
    SHOW,
    SHOWN,
    TICKET_BYTES,
    UNKNOWN,
    WAIT,
    decode,
    encode,
    format_endpoint,
)

from .budget import Budget
from .pool import NoSegmentError, State

log = logging.getLogger(__name__)

MAX_CLIENTS = 512
"""Most processes, and producers in them, at a time; each takes a thread. Others go through the server."""

WAIT_S = 0.2
"""How long a producer waits for a segment in one request [s]; its own retries follow."""

TICKET_TIMEOUT_S = 5.0
"""How long a new client may take to show its ticket [s]."""

_REQUESTS = {LEND: (str, str, int), DONE: (int, int), SHOW: (int,)}


@dataclass(slots=True)
class SharingCounts:
    """Clients that were turned away, and what was no request."""

    n_turned_away: int = 0
    n_garbage: int = 0


class SharingService:
    """Gives segments to whoever shows the ticket; runs from the moment it exists until `close`.

    Parameters
    ----------
    budget : Budget
        How much memory there is, and the segments in it.

    Attributes
    ----------
    endpoint : str
        How it is reached, with the ticket: what the broker announces.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.pool = budget.pool
        self.counts = SharingCounts()
        self._ticket = os.urandom(TICKET_BYTES)
        name = f"beamstream-{secrets.token_hex(16)}"
        self.endpoint = format_endpoint(name, self._ticket)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind("\0" + name)
        self._socket.listen(64)
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="shared memory", daemon=True)
        self._thread.start()

    @property
    def n_clients(self) -> int:
        """Connections that there are now."""
        return len(self._clients)

    def events(self) -> dict[str, int]:
        """Return what was counted, under the names that metrics have."""
        counts = self.pool.counts
        return {
            "shared_made": counts.n_made,
            "shared_lent": counts.n_lent,
            "shared_reused": counts.n_reused,
            "shared_given_up": counts.n_given_up,
            "shared_waits": counts.n_waits,
            "shared_refused": counts.n_refused,
            "shared_pinned": counts.n_pinned,
            "shared_garbage": self.counts.n_garbage,
            "shared_turned_away": self.counts.n_turned_away,
        }

    def levels(self) -> dict[str, float]:
        """Return what the segments take, and how many clients there are, under the names that metrics have."""
        return {
            "shared_bytes": float(self.pool.size_bytes),
            "shared_taken_bytes": float(self.pool.bytes_of(State.LENT, State.FULL, State.LEFT)),
            "shared_limit_bytes": float(self.pool.limit_bytes),
            "shared_clients": float(self.n_clients),
        }

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                if self._stop.is_set():
                    return
                log.exception("a client of shared memory could not be taken")
                self._stop.wait(WAIT_S)  # e.g. too many files are open
                continue
            with self._lock:
                if self._stop.is_set() or len(self._clients) >= MAX_CLIENTS:
                    self.counts.n_turned_away += 1
                    client.close()
                    continue
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="shared memory client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        lent: set[int] = set()
        try:
            client.settimeout(TICKET_TIMEOUT_S)
            if not hmac.compare_digest(client.recv(MAX_PACKET_BYTES), self._ticket):
                raise SharedMemoryProtocolError("a wrong ticket")
            client.settimeout(None)
            self._answer_all(client, lent)
        except (SharedMemoryProtocolError, AddressError) as error:
            self.counts.n_garbage += 1
            log.warning("a client of shared memory is cut off: %s", error)
        except OSError as error:
            log.debug("a client of shared memory is gone: %s", error)
        except Exception:  # the others go on, whatever one of them does
            log.exception("a client of shared memory could not be served")
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()
            for number in lent:
                self.pool.leave(number)

    def _answer_all(self, client: socket.socket, lent: set[int]) -> None:
        mapped: set[int] = set()
        while packet := client.recv(MAX_PACKET_BYTES):
            kind, *fields = decode(packet, _REQUESTS)
            if kind == LEND:
                self._lend(client, fields[0], fields[1], fields[2], lent, mapped)
            elif kind == DONE:
                if fields[0] not in lent:
                    raise SharedMemoryProtocolError(f"segment {fields[0]:x} was not lent to it")
                lent.discard(fields[0])
                self.pool.take_back(fields[0], fields[1])
            else:
                self._show(client, fields[0])

    def _lend(
        self, client: socket.socket, address: str, life: str, payload_bytes: int, lent: set[int], mapped: set[int]
    ) -> None:
        try:
            segment, lock = self.pool.lend(Address.parse(address), life, payload_bytes, mapped, WAIT_S)
        except NoSegmentError as error:
            client.send(encode(WAIT if error.ever else NEVER, str(error)))
            return
        lent.add(segment.number)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock)
            descriptors = [lock]
            if segment.number not in mapped:
                descriptors.append(self.pool.map_descriptor(segment))
                stack.callback(os.close, descriptors[1])
                mapped.add(segment.number)
            socket.send_fds(client, [encode(LENT, segment.number, segment.epoch)], descriptors)

    def _show(self, client: socket.socket, number: int) -> None:
        descriptor = self.pool.show(number)
        if descriptor is None:
            client.send(encode(UNKNOWN, number))
            return
        try:
            socket.send_fds(client, [encode(SHOWN, number)], [descriptor])
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Cut all clients off, and give all segments up."""
        with self._lock:
            self._stop.set()
            clients = list(self._clients)
        for one in (self._socket, *clients):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.pool.close()


@contextlib.contextmanager
def sharing_service(budget: Budget | None) -> Iterator[SharingService | None]:
    """Run the service as long as the context lasts; there is none without memory for it."""
    if budget is None:
        yield None
        return
    service = SharingService(budget)
    try:
        yield service
    finally:
        service.close()
