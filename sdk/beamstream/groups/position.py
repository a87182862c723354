"""Where a group can be set to: the start, the newest, a message id, a point in time.

Times are those in the messages' headers. They are taken to grow with the ids, as a detector's do; late messages, which
stand behind younger ones, are not asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from beamstream.errors import UsageError
from beamstream.protocol import Entry, EntryKind, StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server
from beamstream.state import read_state

START = "0-0"
"""Behind this entry id stands everything."""

NEWEST = "$"
"""Stands for the newest entry, whichever that is when the server gets to it."""

MAX_NUMBER = 2**64 - 1
"""Highest second part of an entry id."""

PAGE = 64
"""Entries looked at with one call for one that is a message."""

_AGO = re.compile(r"-([0-9]+(?:\.[0-9]+)?)(ms|s|min|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place in a stream: a message id, a time, or one of the ends.

    Attributes
    ----------
    message_id : int or None
        Go on with this message.
    time_ns : int or None
        Go on with the first message that is not older [ns since 1970].
    newest : bool
        Go on with what comes; without any of these: from the start.
    entry_id : str or None
        Go on behind this entry.
    """

    message_id: int | None = None
    time_ns: int | None = None
    newest: bool = False
    entry_id: str | None = None


def parse_target(text: str, now_ns: int) -> Target:
    """Read ``start``, ``newest``, a message id, a time (ISO 8601; local unless it says otherwise), or ``-10min``.

    Raises
    ------
    UsageError
        If it is none of these.

    Examples
    --------
    >>> parse_target("-1.5s", now_ns=10_000_000_000).time_ns
    8500000000
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return Target(time_ns=max(0, now_ns - round(float(ago[1]) * _UNIT_S[ago[2]] * 1e9)))
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return Target(message_id=int(text))
    if text in ("start", "newest"):
        return Target(newest=text == "newest")
    try:
        since_1970 = datetime.fromisoformat(text).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no place in a stream: write start, newest, a message id from 1, a time such as "
            "2026-05-17T14:30:00, or how long ago: -90s, -10min, -2h, -1d"
        ) from error
    return Target(time_ns=(since_1970.days * 86400 + since_1970.seconds) * 10**9 + since_1970.microseconds * 1000)


def before_message(message_id: int) -> str:
    """Return the entry id behind which a message, and what came late after it, stands."""
    return f"{message_id - 1}-{MAX_NUMBER}"


def find_target(server: Server, keys: StreamKeys, target: Target) -> str:
    """Return the entry id behind which a target lies; `NEWEST` where nothing that is there yet does."""
    if target.newest:
        return NEWEST
    if target.entry_id is not None:
        return target.entry_id
    if target.message_id is not None:
        return before_message(target.message_id)
    return START if target.time_ns is None else _find_time(server, keys, target.time_ns)


def _find_time(server: Server, keys: StreamKeys, time_ns: int) -> str:
    state = read_state(server, keys)
    first, end = 1, state.next_id if state else 1
    while first < end:
        middle = (first + end) // 2
        entry = message_from(server, keys, f"{middle}-0", late=False)
        if entry is None or entry.header is None or entry.header.timestamp_ns >= time_ns:
            end = middle
        else:
            first = entry.message_id + 1
    return NEWEST if state is None or first >= state.next_id else before_message(first)


def message_from(server: Server, keys: StreamKeys, first: str, *, late: bool) -> Entry | None:
    """Return the first message from an entry id on (``(`` before it: behind it), or none; late ones count or do not."""
    n_wanted = 1  # mostly it is the first one, and others may carry their payload
    while page := server.call("XRANGE", keys.index, first, "+", "COUNT", n_wanted):
        n_wanted = PAGE
        for entry_id, flat in page:
            entry = read_entry(entry_id, fields_of(flat))
            if entry.kind is EntryKind.MESSAGE and (late or not entry.late):
                return entry
        first = "(" + page[-1][0].decode()
    return None
