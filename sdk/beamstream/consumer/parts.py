"""Which part of its datasets a consumer reads, and what a dataset is of which several entries tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from beamstream.dataset import header_of_part, merge
from beamstream.errors import UsageError
from beamstream.frame import Gap
from beamstream.protocol import Entry, EntryKind

PART = "part"
"""Reason of a gap that only the readers of one part have: their part of that dataset is not there."""


def check_part(where: str, n_parts: int, part: int | None) -> int | None:
    """Return the part that is to be read if the messages of the stream have it; None stands for all of them.

    Raises
    ------
    UsageError
        If they have no such part.
    """
    if part is None:
        return None
    if n_parts == 1:
        raise UsageError(f"part {part!r} of {where} cannot be read: its messages have no parts")
    if not 0 < part <= n_parts:
        raise UsageError(f"part {part!r} of {where} cannot be read: its messages have parts 1 to {n_parts}")
    return part


def only_part(entry: Entry, part: int | None) -> Entry:
    """Return an entry with the part that is wanted alone; None stands for all of them.

    A dataset that lacks it becomes a gap. Where it came late that was said before: it becomes a gap of nothing.
    """
    if part is None or entry.header is None:
        return entry
    header = header_of_part(entry.header, part)
    if header is not None:
        return replace(entry, header=header)
    gap = None if entry.late else Gap(first_id=entry.message_id, last_id=entry.message_id, reason=PART)
    return replace(entry, kind=EntryKind.GAP, header=None, gap=gap)


def merge_entries(entries: Sequence[Entry]) -> Entry:
    """Return the first entry of a message, a dataset with the parts that came after it."""
    first, *others = entries
    if first.header is None or not others:
        return first
    later = [entry.header for entry in others if entry.header is not None]
    return replace(first, header=merge(first.header, later), late=any(entry.late for entry in entries))
