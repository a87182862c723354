"""The layout of a CBOR message that has been gone over, as a pattern: the next one of that layout need not be.

The images of a series differ in their integers and their pixels and in nothing else. A pattern says of each item which
it is and how long, of integers only that they are there; a message that it matches has the items of the one that it was
made from, so the same nesting and counts. It takes 2 µs where going over the items takes 20.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

LARGE_BYTES = 1024
"""Byte strings from this length on are left in the message [bytes]; smaller ones are cheaper copied."""

MAX_TOKENS = 256
"""Most items of a message for which a pattern is made; one of a detector's images has about 40."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _TAG, _SIMPLE = 0, 1, 2, 3, 6, 7
_INDEFINITE = 31
_INTEGERS = {
    _UNSIGNED: rb"(?:[\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b.{8})",
    _NEGATIVE: rb"(?:[\x20-\x37]|\x38.|\x39..|\x3a.{4}|\x3b.{8})",
}


@dataclass(frozen=True, slots=True)
class Mould:
    """What stands before each large byte string, its length last, and what stands behind the last one.

    The groups of a pattern are what stays of the message; between them are tags that are left out.
    """

    segments: tuple[re.Pattern[bytes], ...]
    tail: re.Pattern[bytes]

    @classmethod
    def of(cls, message: memoryview, kept_tags: frozenset[int]) -> Self | None:
        """Make the pattern of a message that is known to be whole; None where it is not worth it.

        Parameters
        ----------
        message : memoryview of bytes
            One whole message.
        kept_tags : frozenset of int
            The tags that stay in it.
        """
        segments: list[re.Pattern[bytes]] = []
        pattern = bytearray(b"(")
        position = n_tokens = 0
        while position < len(message):
            major, info = message[position] >> 5, message[position] & 0x1F
            width = 0 if info < 24 else 1 << (info - 24)
            n_tokens += 1
            if info == _INDEFINITE or n_tokens > MAX_TOKENS:
                return None
            head = bytes(message[position : position + 1 + width])
            value = info if not width else int.from_bytes(head[1:], "big")
            position += len(head)
            if major == _BYTES and value >= LARGE_BYTES:
                pattern += b")" + re.escape(head[:1]) + b"(.{%d})" % width
                segments.append(re.compile(bytes(pattern), re.DOTALL))
                pattern = bytearray(b"(")
                position += value
            elif major == _TAG and value not in kept_tags:
                pattern += b")" + re.escape(head) + b"("
            elif major in _INTEGERS:
                pattern += _INTEGERS[major]
            elif major == _SIMPLE:
                pattern += re.escape(head[:1]) + b".{%d}" % width
            else:
                n_bytes = value if major in (_BYTES, _TEXT) else 0
                pattern += re.escape(head) + b".{%d}" % n_bytes
                position += n_bytes
        if not segments:
            return None
        return cls(tuple(segments), re.compile(bytes(pattern) + b")", re.DOTALL))

    def apply(self, message: memoryview, marks: tuple[bytes, ...]) -> tuple[bytes, list[memoryview]] | None:
        """Return what stays of a message and its large byte strings; None where it has another layout.

        Parameters
        ----------
        message : memoryview of bytes
            Any message.
        marks : tuple of bytes
            What stands for the large byte strings, at least as many as there are.
        """
        position, kept, large = 0, [], []
        for number, segment in enumerate(self.segments):
            match = segment.match(message, position)
            if match is None:
                return None
            *groups, size = match.groups()
            begin, n_bytes = match.end(), int.from_bytes(size, "big")
            position = begin + n_bytes
            if n_bytes < LARGE_BYTES or position > len(message):
                return None
            kept += groups
            kept.append(marks[number])
            large.append(message[begin:position])
        match = self.tail.fullmatch(message, position)
        if match is None:
            return None
        return b"".join([*kept, *match.groups()]), large
