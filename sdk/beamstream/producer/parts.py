"""The parts of a stream's messages, as a producer sees them: which one it sends, and how large one may be. Pure."""

from __future__ import annotations

from beamstream.dataset import MAX_PARTS
from beamstream.errors import EntryError, UsageError
from beamstream.location import LOCATION_BYTES
from beamstream.protocol.entry import MAX_HEADER_BYTES

MAX_PAYLOAD_BYTES = 512 << 20
"""Largest payload [bytes]: the longest string that a server takes unless told otherwise."""

HEADER_BYTES, PART_OVERHEAD_BYTES = 64, 8
"""What the header of a dataset has beside its parts' headers, and beside each of them [bytes]."""


class Parts:
    """How many parts a message has, and which one a producer sends.

    Parameters
    ----------
    n_parts : int
        How many parts each message has; 1: none, messages are what they were without.
    min_parts : int or None
        How many are enough when the patience is over; None: all.
    part : int or None
        Which one is sent where nothing else is said.

    Raises
    ------
    UsageError
        If these numbers do not fit together.
    """

    def __init__(self, n_parts: int, min_parts: int | None, part: int | None) -> None:
        if not 0 < n_parts <= MAX_PARTS:
            raise UsageError(f"n_parts {n_parts!r} is not between 1 and {MAX_PARTS}")
        self.n_parts = n_parts
        self.min_parts = n_parts if min_parts is None else min_parts
        if not 0 < self.min_parts <= n_parts:
            raise UsageError(f"min_parts {min_parts!r} is not between 1 and n_parts, {n_parts}")
        self._part = part
        if part is not None:
            self.number(part)

    @property
    def max_payload_bytes(self) -> int:
        """Largest payload that all parts may have, so that the message fits into one record of a segment [bytes]."""
        return MAX_PAYLOAD_BYTES // self.n_parts

    def number(self, part: int | None) -> int:
        """Return the number of the part that is meant; 0 where messages have no parts.

        Raises
        ------
        UsageError
            If there is no such part, or none was named.
        """
        part = self._part if part is None else part
        if self.n_parts == 1:
            if part is not None:
                raise UsageError(f"part {part!r} was named, but the messages of this stream have no parts (n_parts=1)")
            return 0
        if part is None:
            raise UsageError(f"messages of this stream have {self.n_parts} parts; say which one this is (part=1 …)")
        if not 0 < part <= self.n_parts:
            raise UsageError(f"part {part!r} is not between 1 and n_parts, {self.n_parts}")
        return part

    def check_header(self, header: bytes) -> None:
        """Refuse a header that leaves too little room for those of the other parts; raises `EntryError`."""
        limit = (MAX_HEADER_BYTES - HEADER_BYTES) // self.n_parts - PART_OVERHEAD_BYTES - LOCATION_BYTES
        if self.n_parts > 1 and len(header) > limit:
            raise EntryError(
                "metadata of a part", f"{len(header)} bytes packed, the limit with {self.n_parts} parts is {limit}"
            )
