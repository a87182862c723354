"""`Producer`: sends the messages of one stream.

`send` returns at once; a background thread stores payloads and publishes batches. The queue between them is bounded in
bytes; when it is full, `send` waits, and raises after a bounded time. Payload bytes are not copied: they belong to the
producer until the message's future is done.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import xxhash

from beamstream.address import Address, locate_stream
from beamstream.errors import (
    BeamstreamError,
    MessageTooLargeError,
    ProducerClosedError,
    QueueFullError,
    SendError,
    StreamNotFoundError,
    UsageError,
)
from beamstream.frame import DECLINED, STATED, Payload
from beamstream.keep import Keep, check_keep
from beamstream.payloads import INLINE_BYTES
from beamstream.protocol import StreamKeys, pack_header
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state

from .ending import Ending
from .future import SendFuture
from .opening import Opening
from .parts import Parts
from .queue import Outgoing, SendQueue
from .sender import ProducerCounts, Sender
from .storing import DEFAULT_TIER, Storing, Tier, check_tier

if TYPE_CHECKING:
    import numpy.typing as npt

log = logging.getLogger(__name__)

Sent = str
"""What a future tells: ``sent``, ``late`` (its gap had been passed over) or ``duplicate`` (it was already there)."""

QUEUE_BYTES = 256 << 20
"""Default limit of the queue [bytes]: a third of a second of 40 Gb/s."""

MIN_RETAIN_S = 0.001
"""Shortest time that messages can be kept [s]: times in the stream's state are whole milliseconds."""


def check_retain(retain_s: float | None) -> float | None:
    """Return how long a stream is kept if that is a time, else raise `UsageError`."""
    if retain_s is not None and not MIN_RETAIN_S <= retain_s < math.inf:
        raise UsageError(f"retain_s {retain_s!r} is no time to keep messages for; it is at least {MIN_RETAIN_S} s")
    return retain_s


MAX_MESSAGE_ID = 2**53 - 1
"""Largest message id: the scripts count in doubles, which are exact up to here."""


def check_id(message_id: int) -> int:
    """Return a message id if it is one, else raise `UsageError`."""
    if not 0 < message_id <= MAX_MESSAGE_ID:
        raise UsageError(f"message id {message_id!r} is not between 1 and {MAX_MESSAGE_ID}")
    return message_id


PATIENCE_S = 5.0
"""Default time that a gap may stay open before it is recorded and passed over [s]."""


class Producer:
    """Sends messages to one stream.

    Parameters
    ----------
    where : str or Address
        ``beamtime/source/stream``, with the broker's URL in front of it if wanted.
    broker : str, optional
        The broker's URL; default: `STREAM_BROKER`, else the local one.
    metadata : mapping, optional
        Stream metadata, see `set_metadata`.
    n_expected : int, optional
        How many messages the stream is to have; the receipt compares.
    patience_s : float
        How long a gap in the ids may stay open before it is recorded and passed over [s]; belongs to the stream, the
        first producer decides.
    queue_bytes : int
        Limit of the queue [bytes].
    block_timeout_s : float or None
        How long `send` may wait for room in the queue [s]; None: for ever.
    retry_timeout_s : float or None
        How long a lost or full server is tried again before messages fail [s]; None: for ever.
    inline_bytes : int
        Payloads up to this size travel inside the index entry [bytes].
    gather_s : float
        For how long after one call to the server messages are gathered for the next [s]; what is waited for, by
        `flush`, a future's `result` or for room in the queue, goes at once. For small messages of which none is urgent:
        a call costs more than they. Without it they are gathered only while they come quickly, for 1 ms at most.
    session : str, optional
        Somebody's unique name; a stream that another session has made is refused then, in place of being continued.
    remake : bool
        Make the stream again on a server that was started anew without it, and go on; otherwise messages fail.
    keep : "memory", "overflow" or "all", optional
        What is kept of the stream, see `beamstream.keep`; the first producer decides, ``overflow`` where it says
        nothing. With ``all`` a message counts as sent when it is on disk; until then the producer holds it.
    tier : "auto", "memory" or "shared"
        Where payloads lie that have no room in the index: in shared memory where the broker of this host has it, else
        on the server (``auto``); always on the server; in shared memory or not at all.
    n_parts : int
        How many parts each message has: of how many modules a dataset consists. All producers of a stream say the same.
    min_parts : int, optional
        With how many parts a dataset is let through when its patience is over; default: all. One with fewer is passed
        over, and what came of it follows late.
    part : int, optional
        Which part of each message this producer sends, from 1; `send` may name another one.
    retain_s : float, optional
        How long messages are kept before they leave the stream, read or not [s]: for streams without an end. What a
        group had not acknowledged by then is counted for it. None: for ever, or as the stream or the broker says.
    on_failure : callable, optional
        Called with (message id, error) for each message that failed, from the sending thread.

    Raises
    ------
    AddressError, UsageError
        If `where` or `broker` cannot be meant.
    StreamExistsError
        If another session has made the stream.
    NotKeptError
        If all is to be kept and no broker writes to disk, or the stream keeps something else.
    PartsMismatchError
        If the stream's messages have another number of parts.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used.

    Examples
    --------
    >>> with Producer("11012345/eiger/test") as producer:     # doctest: +SKIP
    ...     for number, image in enumerate(images, start=1):
    ...         producer.send_array(number, image)
    ...     producer.finish()
    """

    def __init__(
        self,
        where: str | Address,
        *,
        broker: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        n_expected: int | None = None,
        patience_s: float = PATIENCE_S,
        queue_bytes: int = QUEUE_BYTES,
        block_timeout_s: float | None = 30.0,
        retry_timeout_s: float | None = 60.0,
        inline_bytes: int = INLINE_BYTES,
        gather_s: float = 0.0,
        session: str | None = None,
        remake: bool = False,
        keep: Keep | None = None,
        tier: Tier = DEFAULT_TIER,
        n_parts: int = 1,
        min_parts: int | None = None,
        part: int | None = None,
        retain_s: float | None = None,
        on_failure: Callable[[int, BeamstreamError], None] | None = None,
    ) -> None:
        self.address, url = locate_stream(where, broker)
        self._parts = Parts(n_parts, min_parts, part)
        self._block_timeout_s = block_timeout_s
        self._retry_timeout_s = retry_timeout_s
        self._highest_id = 0
        self._keys = StreamKeys(self.address)
        self._server = Server(url)
        self._opening = Opening(
            self._server,
            self.address,
            patience_s=patience_s,
            n_expected=n_expected,
            session=session,
            remake=remake,
            keep=None if keep is None else check_keep(keep),
            n_parts=n_parts,
            min_parts=self._parts.min_parts,
            retain_s=check_retain(retain_s),
        )
        self._opening.open()
        if metadata is not None:
            self.set_metadata(metadata)
        self._queue = SendQueue(queue_bytes, gather_s)
        self._sender = Sender(
            self.address,
            self._server,
            Storing(self._server, self._keys, check_tier(tier), keeps_all=self._opening.keep == "all"),
            self._queue,
            inline_bytes=inline_bytes,
            retry_timeout_s=retry_timeout_s,
            on_failure=on_failure,
            opening=self._opening,
        )

    @property
    def counts(self) -> ProducerCounts:
        """What was sent, retried and refused so far."""
        return self._sender.counts

    @property
    def queued_bytes(self) -> int:
        """Bytes that this producer still holds."""
        return self._queue.queued_bytes

    def state(self) -> StreamState:
        """Return where the stream stands on the broker, by whomever it was written.

        Raises
        ------
        StreamNotFoundError
            If it was deleted.
        ServerUnavailableError, ServerRefusedError
            If the broker cannot be used.
        """
        state = read_state(self._server, self._keys)
        if state is None:
            raise StreamNotFoundError(str(self.address))
        return state

    def set_metadata(self, tree: Mapping[str, Any]) -> None:
        """Keep the stream's metadata, replacing what was there.

        Parameters
        ----------
        tree : mapping
            Nested mappings with string keys; leaves are plain values and NumPy arrays
            (see `beamstream.protocol.metadata`).

        Raises
        ------
        EntryError
            If a leaf cannot travel.
        """
        self._opening.set_metadata(tree)

    def send(
        self,
        message_id: int,
        payload: Payload,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: str | None = None,
        codec: str = "none",
        timestamp_ns: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        part: int | None = None,
    ) -> Future[Sent]:
        """Queue one message, or one part of it.

        Parameters
        ----------
        message_id : int
            From 1, consecutive; any order of sending.
        payload : bytes-like
            Sent as it is; not copied, and not to be changed until the future is done.
        shape, dtype, codec, timestamp_ns, metadata
            See `beamstream.Header`; the time defaults to now.
        part : int, optional
            Which part of the message this is, from 1; default: the producer's.

        Returns
        -------
        Future of str
            Done when the message is in the stream (``sent``, ``late`` or ``duplicate``), on disk where the stream keeps
            all, or with the error that kept it out. A message cannot be called back: `cancel` returns False.

        Raises
        ------
        SendError
            If the producer is closed, the payload too large, or the queue stayed full for `block_timeout_s`.
        EntryError
            If the metadata cannot travel.
        UsageError
            If the message id is none, or there is no such part.
        """
        check_id(message_id)
        part_number = self._parts.number(part)
        payload_bytes = memoryview(payload).nbytes
        if payload_bytes > self._parts.max_payload_bytes:
            raise MessageTooLargeError(str(self.address), payload_bytes, self._parts.max_payload_bytes)
        checksum = None if self._sender.looks_later(payload_bytes) else xxhash.xxh3_64_intdigest(payload)
        if timestamp_ns is None:
            timestamp_ns = time.time_ns()
        header = pack_header(payload_bytes, checksum or 0, timestamp_ns, codec, shape, dtype, metadata)
        self._parts.check_header(header)
        return self._put(Outgoing(message_id, checksum, header, payload, payload_bytes, self._future(), part_number))

    def _future(self) -> SendFuture:
        return SendFuture(self._queue.hurry)

    def _put(self, message: Outgoing) -> Future[Sent]:
        if not self._queue.put(message, self._block_timeout_s):
            raise self._refusal()
        if message.message_id > self._highest_id:
            self._highest_id = message.message_id
        return message.future

    def _refusal(self) -> SendError:
        if self._queue.closed:
            return ProducerClosedError(str(self.address))
        return QueueFullError(
            str(self.address), self._queue.queued_bytes, self._queue.limit_bytes, self._block_timeout_s or 0.0
        )

    def send_array(
        self,
        message_id: int,
        array: npt.NDArray[Any],
        *,
        codec: str = "bslz4",
        timestamp_ns: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        part: int | None = None,
    ) -> Future[Sent]:
        """Compress an array and queue it; see `send`."""
        # Whoever sends what a detector has compressed needs neither.
        import numpy as np

        from beamstream import codecs

        array = np.ascontiguousarray(array)
        return self.send(
            message_id,
            codecs.encode(array, codec),
            shape=array.shape,
            dtype=array.dtype.str,
            codec=codec,
            timestamp_ns=timestamp_ns,
            metadata=metadata,
            part=part,
        )

    def decline(self, message_id: int) -> Future[Sent]:
        """Say that there will be no message under an id: there is nothing to send, and nothing is missing.

        In its place among the messages, as `send`; readers are told at once, by a gap of the reason ``declined``.

        Parameters
        ----------
        message_id : int
            From 1.

        Returns
        -------
        Future of str
            Done when the stream knows it (``sent``; ``duplicate`` where it did, or had passed the id over), or with the
            error: `IdConflictError` where a message is there.

        Raises
        ------
        SendError
            If the producer is closed, or the queue stayed full for `block_timeout_s`.
        UsageError
            If the message id is none.
        """
        return self._put(Outgoing(check_id(message_id), 0, b"", DECLINED.encode(), 0, self._future()))

    def pass_over(self, message_id: int) -> Future[Sent]:
        """Say that a message is missing, so that nobody waits for it: a gap of the reason ``stated``.

        It counts as missing. Where a message is there it stays, and one that comes after all is taken, late; otherwise
        as `decline`.
        """
        return self._put(Outgoing(check_id(message_id), 0, b"", STATED.encode(), 0, self._future()))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every message's fate is known; False where that took longer than `timeout_s` [s]."""
        return self._queue.wait_idle(timeout_s)

    def finish(
        self,
        last_id: int | None = None,
        *,
        next_stream: str | None = None,
        reason: str = "complete",
        retry_timeout_s: float | None = None,
    ) -> int:
        """Send what is queued, and end the stream.

        Waits until the ids up to the last one are there or given up (at most the stream's patience).

        Parameters
        ----------
        last_id : int, optional
            The stream's last message id; default: the highest one sent here.
        next_stream : str, optional
            Name of the stream that goes on.
        reason : str
            ``complete``, ``incomplete`` or ``aborted``.
        retry_timeout_s : float, optional
            How long a lost server is tried again here [s]; default: as long as for sending.

        Returns
        -------
        int
            The last id that the stream ended with.

        Raises
        ------
        ServerUnavailableError
            If the server stayed lost; calling again is safe.
        StreamNotFoundError
            If the stream was deleted.
        NotOnDiskError
            If the stream keeps all, and its end did not get to disk in time; calling again is safe.
        """
        timeout_s = self._retry_timeout_s if retry_timeout_s is None else retry_timeout_s
        self.flush()
        last = self._highest_id if last_id is None else last_id
        ending = Ending(self._server, self.address, self._opening, self._sender.counts, self._sender.abandoned)
        return ending.end(last, reason, next_stream, timeout_s)

    def abandon(self) -> None:
        """Stop waiting for a lost or full server: what cannot be sent at once fails and is counted. Any thread may."""
        self._sender.abandon()

    def close(self, timeout_s: float | None = None) -> None:
        """Send what is queued, end the background thread; after `timeout_s` [s] what is left fails and is counted."""
        if not self._queue.closed:
            if not self.flush(timeout_s):
                log.warning("%d message(s) of %s could not be sent in time", self._queue.n_unfinished, self.address)
                self._sender.abandon()
            self._queue.close()
            self._sender.join()
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
