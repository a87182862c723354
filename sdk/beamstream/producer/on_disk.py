"""Messages that are in a stream and not known to be on disk: for streams that keep all, they are not yet sent.

The broker writes down in the stream's state up to which entry, and how many messages, everything is safe. A
message is safe when that is behind its own id and behind the number of messages that there were when it was taken; the
first covers one that waits for a gap to close, the second one that came late.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from beamstream.address import Address
from beamstream.errors import NotOnDiskError, ServerError, StreamNotFoundError
from beamstream.presence import why_nothing_is_kept
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .queue import Outgoing

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.01
"""How often the state is looked at while something waits [s]: small against the time that a disk takes."""

REPORT_EVERY_S = 10.0
"""How often the log says what is waited for [s]."""


Told = list[tuple[Outgoing, str]]
"""Messages, and what their futures are told."""


@dataclass(frozen=True, slots=True)
class Safe:
    """How far the disk goes.

    Attributes
    ----------
    life : bytes
        What names this life of the stream: another one after it was made anew or put back from its segments.
    position : int
        Every entry up to this position is there.
    n_messages : int
        So many messages are there.
    """

    life: bytes
    position: int
    n_messages: int


@dataclass(frozen=True, slots=True)
class _Batch:
    told: Told
    highest_id: int
    n_received: int

    def is_safe(self, safe: Safe) -> bool:
        return safe.position >= self.highest_id and safe.n_messages >= self.n_received


class OnDisk:
    """The batches of one producer that wait for the disk.

    Parameters
    ----------
    server : Server
        Where the stream is.
    address : Address
        The stream.
    timeout_s : float or None
        How long nothing may become safe before messages fail [s]; None: for ever.

    Raises
    ------
    StreamNotFoundError
        If the stream is not there.
    """

    def __init__(self, server: Server, address: Address, timeout_s: float | None) -> None:
        self._server = server
        self._address = address
        self._timeout_s = timeout_s
        self._batches: list[_Batch] = []
        self._life = read_safe(server, address).life
        self._looked_at = 0.0
        self._moved_at = self._reported_at = time.monotonic()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._batches)

    def add(self, told: Told, n_received: int) -> None:
        """Take messages that are in the stream, which held so many then."""
        if not self._batches:
            self._moved_at = self._reported_at = time.monotonic()
        self._batches.append(_Batch(told, max(message.message_id for message, _ in told), n_received))

    def look(self) -> tuple[Told, list[Outgoing]]:
        """Return what is safe now, and what has to be published again; nothing where it was looked just now.

        Raises
        ------
        StreamNotFoundError
            If the stream is not there.
        ServerError
            If the server cannot be asked.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return [], []
        self._looked_at = now
        safe = read_safe(self._server, self._address)
        if safe.life != self._life:
            self._life = safe.life
            again = [message for message, _ in self.take_all()]
            log.warning("%s was put back from disk; %d message(s) are sent again", self._address, len(again))
            return [], again
        done = [batch for batch in self._batches if batch.is_safe(safe)]
        if done:
            self._batches = [batch for batch in self._batches if not batch.is_safe(safe)]
            self._moved_at = self._reported_at = now
        return [one for batch in done for one in batch.told], []

    def give_up(self, *, at_once: bool) -> list[tuple[Outgoing, NotOnDiskError]]:
        """Return what has waited for too long, or all of it, with the error; says now and then what is waited for."""
        now = time.monotonic()
        waited_s = now - self._moved_at
        overdue = self._timeout_s is not None and waited_s >= self._timeout_s
        if at_once or overdue:
            why = self._why()
            return [
                (message, NotOnDiskError(str(self._address), message.message_id, waited_s, why))
                for message, _ in self.take_all()
            ]
        if now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            n_messages = sum(len(batch.told) for batch in self._batches)
            log.warning("%s: %d message(s) wait for the disk: %s", self._address, n_messages, self._why())
        return []

    def take_all(self) -> Told:
        """Return everything that waits, and wait for nothing more."""
        batches, self._batches = self._batches, []
        return [one for batch in batches for one in batch.told]

    def _why(self) -> str:
        try:
            return why_nothing_is_kept(self._server) or "the broker is at it"
        except ServerError as error:
            return str(error)


def read_safe(server: Server, address: Address) -> Safe:
    """Return how far the disk goes.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream.
    """
    created, restored, entry, n_messages = server.call(
        "HMGET", StreamKeys(address).state, "created_ns", "restored_ns", "spilled_entry", "spilled_n"
    )
    if created is None:
        raise StreamNotFoundError(str(address))
    position = int((entry or b"0").partition(b"-")[0])
    return Safe(b"%s %s" % (created, restored or b""), position, int(n_messages or 0))
