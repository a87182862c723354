"""The state of a stream, drawn up again from its entries; pure.

What the entries say is taken from them; what they cannot know (when the stream was made, how often a message was sent
twice) comes from the last state that was recorded beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from beamstream.protocol import Entry, EntryKind

from .records import StreamEnding

COUNTED = frozenset(
    {b"next", b"bytes", b"memory_bytes", b"n_held", b"held_bytes", b"n_received", b"n_late", b"n_missing", b"released"}
    | {b"n_additions", b"n_incomplete", b"n_declined", b"newest_entry"}
    | {b"sealed", b"released_entry", b"spilled_entry", b"spilled_n", b"spill_host", b"spill_folder", b"spill_fetch"}
    | {b"restored_ns"}
)
"""Fields of the state hash that the entries tell, or that are true of one server only; the others are taken over."""


@dataclass(slots=True)
class EntryTally:
    """What the entries of a stream add up to, given in the order of the index.

    Attributes
    ----------
    next_id : int
        The id behind the last settled one.
    n_received, n_late, n_missing, n_declined : int
        Messages; what came late; ids in gaps that did not come later; ids that were declined.
    n_additions : int
        Parts that came after their dataset, and are no messages of their own.
    lacking : dict of int to int
        Of datasets that are not complete, how many parts are missing.
    total_bytes : int
        Payload bytes up to the last entry [bytes].
    last_entry, newest_entry : str
        Id of the last entry, and of the last one that is a message; empty where there is none.
    ended : bool
        Whether there is an end.
    """

    next_id: int = 1
    n_received: int = 0
    n_late: int = 0
    n_missing: int = 0
    n_declined: int = 0
    total_bytes: int = 0
    last_entry: str = "0-0"
    newest_entry: str = ""
    ended: bool = False
    n_additions: int = 0
    lacking: dict[int, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Count one entry more."""
        self.last_entry = entry.entry_id
        self.total_bytes = max(self.total_bytes, entry.total_bytes)
        if entry.kind is EntryKind.END:
            self.ended = True
        elif entry.gap is not None:
            if entry.gap.is_declined:
                self.n_declined += entry.gap.n_messages
            else:
                self.n_missing += entry.gap.n_messages
            self.next_id = max(self.next_id, entry.message_id + 1)
        elif entry.kind is EntryKind.MESSAGE:
            self._add_message(entry)

    def _add_message(self, entry: Entry) -> None:
        is_addition = entry.header is not None and entry.header.is_addition
        self.newest_entry = entry.entry_id
        self.n_received += not is_addition
        self.n_additions += is_addition
        self.n_late += entry.late
        self.n_missing -= entry.late and not is_addition
        if not entry.late:
            self.next_id = max(self.next_id, entry.message_id + 1)
        if entry.header is not None and entry.header.parts:
            n_parts, n_there = entry.header.n_parts, len(entry.header.parts)
            lacking = self.lacking.pop(entry.message_id, n_parts) - n_there
            if lacking > 0:
                self.lacking[entry.message_id] = lacking


def restored_state(
    recorded: Mapping[bytes, bytes], tally: EntryTally, ending: StreamEnding | None
) -> dict[bytes, bytes]:
    """Return the fields of a state hash, all payloads being on disk and none in memory.

    Parameters
    ----------
    recorded : mapping of bytes to bytes
        The state hash as it was last recorded; may be empty, may be older than the entries.
    tally : EntryTally
        What the entries add up to.
    ending : StreamEnding or None
        How the stream ended.
    """
    fields = {key: value for key, value in recorded.items() if key not in COUNTED}
    numbers = {
        b"next": tally.next_id,
        b"bytes": tally.total_bytes,
        b"memory_bytes": 0,
        b"n_held": 0,
        b"held_bytes": 0,
        b"n_received": tally.n_received,
        b"n_late": tally.n_late,
        b"n_missing": tally.n_missing,
        b"n_declined": tally.n_declined,
        b"n_additions": tally.n_additions,
        b"n_incomplete": len(tally.lacking),
        b"released": tally.next_id,
        b"sealed": int(tally.ended),
    }
    fields |= {key: b"%d" % number for key, number in numbers.items()}
    fields[b"released_entry"] = tally.last_entry.encode()
    if tally.newest_entry:
        fields[b"newest_entry"] = tally.newest_entry.encode()
    fields.setdefault(b"version", b"1")
    if ending is not None and tally.ended:
        fields[b"last"] = b"%d" % ending.last_id
        fields[b"reason"] = ending.reason.encode()
        fields[b"next_stream"] = (ending.next_stream or "").encode()
        if ending.n_expected is not None:
            fields[b"expected"] = b"%d" % ending.n_expected
    return fields
