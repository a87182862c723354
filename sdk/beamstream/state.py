"""What a stream's state hash says, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import EntryError
from .protocol import StreamKeys, decode_metadata, fields_of
from .protocol.client import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """Where a stream stands.

    Attributes
    ----------
    next_id : int
        The id that the sequence waits for; everything below is settled.
    n_received, n_duplicate, n_retried, n_conflict, n_late, n_missing, n_refused, n_dropped : int
        Messages taken, sent twice, sent again after a lost connection, refused because another payload was there, come
        late, never come, beyond the end, left memory unread.
    n_declined : int
        Ids without a message because there was nothing to send: settled, and no loss.
    total_bytes, memory_bytes : int
        Payload bytes ever taken, and those now in memory [bytes].
    n_held : int
        Messages waiting behind an open gap.
    released_id : int
        Payloads of ids below this have left memory.
    n_parts, min_parts : int
        How many parts a message has, and with how many it is let through when the patience is over; 1 where messages
        are no datasets.
    n_incomplete : int
        Datasets in the index of which parts are missing.
    n_additions : int
        Parts that came after their dataset had been appended; entries of their own, and no messages.
    finished : bool
        The end is written; nothing new comes but what is late.
    last_id : int
        The last id, once it was named.
    keep : str
        What is kept of it: ``memory``, ``overflow`` or ``all``.
    spilled_position, n_spilled : int
        Up to which position of the index everything is on disk, and how many messages that are.
    expired_id, n_expired, expired_bytes : int
        Up to this id all messages became older than the stream is kept, and have left it; how many, how much [bytes].
    retain_s : float or None
        How long the stream is kept [s]; None where it does not say.
    n_detector_dropped : int or None
        Images of it that the detector says it dropped before it sent them; None where nobody asked it.
    """

    created_ns: int
    next_id: int
    n_received: int
    n_duplicate: int
    n_retried: int
    n_conflict: int
    n_late: int
    n_missing: int
    n_refused: int
    n_dropped: int
    n_held: int
    total_bytes: int
    memory_bytes: int
    released_id: int
    finished: bool
    last_id: int
    n_expected: int | None
    reason: str
    next_stream: str | None
    keep: str
    spilled_position: int
    n_spilled: int
    n_parts: int = 1
    min_parts: int = 1
    n_declined: int = 0
    n_incomplete: int = 0
    n_additions: int = 0
    expired_id: int = 0
    n_expired: int = 0
    expired_bytes: int = 0
    retain_s: float | None = None
    n_detector_dropped: int | None = None

    @property
    def is_on_disk(self) -> bool:
        """Whether everything that there is of a finished stream is on disk, its end included."""
        return self.spilled_position > self.last_id and self.n_spilled >= self.n_entries

    @property
    def n_entries(self) -> int:
        """What there is for readers: messages, and parts that came after their dataset."""
        return self.n_received + self.n_additions

    @property
    def word(self) -> str:
        """``open``, or how the stream ended."""
        return self.reason if self.finished else "open"


def read_state(server: Server, keys: StreamKeys) -> StreamState | None:
    """Read a stream's state; None where there is no such stream."""
    flat = server.call("HGETALL", keys.state)
    if not flat:
        return None
    return decode_state(fields_of(flat), str(keys.address))


def read_metadata(server: Server, keys: StreamKeys) -> dict[str, Any] | None:
    """Read a stream's metadata; None where nobody has said any.

    Raises
    ------
    EntryError
        If they cannot be read.
    """
    packed = server.call("GET", keys.meta)
    return decode_metadata(packed) if packed else None


def decode_state(fields: Mapping[bytes, bytes], where: str) -> StreamState:
    """Read the fields of a state hash.

    Raises
    ------
    EntryError
        If they are none.
    """

    def number(name: str, default: int = 0) -> int:
        return int(fields.get(name.encode(), default))

    try:
        expected = fields.get(b"expected")
        detector_dropped = fields.get(b"detector_dropped")
        return StreamState(
            created_ns=number("created_ns"),
            next_id=number("next", 1),
            n_received=number("n_received"),
            n_duplicate=number("n_duplicate"),
            n_retried=number("n_retried"),
            n_conflict=number("n_conflict"),
            n_late=number("n_late"),
            n_missing=number("n_missing"),
            n_refused=number("n_refused"),
            n_dropped=number("n_dropped"),
            n_held=number("n_held"),
            total_bytes=number("bytes"),
            memory_bytes=number("memory_bytes"),
            released_id=number("released"),
            finished=bool(number("sealed")),
            last_id=number("last"),
            n_expected=None if expected is None else int(expected),
            reason=fields.get(b"reason", b"").decode("utf-8", "replace"),
            next_stream=fields.get(b"next_stream", b"").decode("utf-8", "replace") or None,
            keep=fields.get(b"keep", b"overflow").decode("utf-8", "replace"),
            spilled_position=int(fields.get(b"spilled_entry", b"0").partition(b"-")[0]),
            n_spilled=number("spilled_n"),
            n_parts=number("n_parts", 1),
            min_parts=number("min_parts", 1),
            n_declined=number("n_declined"),
            n_incomplete=number("n_incomplete"),
            n_additions=number("n_additions"),
            expired_id=number("expired"),
            n_expired=number("n_expired"),
            expired_bytes=number("expired_bytes"),
            retain_s=number("retain_ms") / 1000 or None,
            n_detector_dropped=None if detector_dropped is None else int(detector_dropped),
        )
    except ValueError as error:
        raise EntryError(f"state of {where}", str(error)) from error
