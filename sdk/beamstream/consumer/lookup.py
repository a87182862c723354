"""Single messages: by id, and the newest one; needs no group and no background thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from beamstream.dataset import make_frame, stored_payloads
from beamstream.errors import (
    MessageNotFoundError,
    NothingNewError,
    PayloadGoneError,
    StreamFinishedError,
    StreamNotFoundError,
)
from beamstream.frame import Frame, Payload
from beamstream.payloads import PayloadSource
from beamstream.protocol import Entry, EntryKind, StreamKeys, decode_entry, fields_of, read_entry
from beamstream.protocol.client import Server
from beamstream.state import read_state

from .parts import merge_entries, only_part

NEWEST_POLL_S = 0.02
"""How often the newest message is looked for [s]: a monitor shows 50 Hz at most."""

NEVER = "it never came"

Payloads = Sequence[Payload | None]
PatientCall = Callable[[Callable[[], Payloads]], Payloads]
"""Calls something until it succeeds, or the time for retries is over."""


class Lookup:
    """Finds single messages of one stream.

    Parameters
    ----------
    patiently : callable
        How payloads are fetched that cannot be had now.
    part : int, optional
        The part of datasets that is wanted.
    """

    def __init__(
        self, server: Server, keys: StreamKeys, tier: PayloadSource, patiently: PatientCall, part: int | None = None
    ) -> None:
        self._server = server
        self._keys = keys
        self._tier = tier
        self._patiently = patiently
        self._part = part

    def by_id(self, message_id: int) -> Frame:
        """Return the message of this id, in its place or late, a dataset with all that came; see `Consumer.read`."""
        late = self._server.call("HGET", self._keys.late, message_id)
        entry_ids = [f"{message_id}-0", *(late.decode().split() if late else ())]
        found = [self._entry(entry_id) for entry_id in entry_ids]
        entries = [entry for entry in found if entry is not None and entry.kind is EntryKind.MESSAGE]
        if not entries:
            raise self._absence(message_id)
        entry = only_part(merge_entries(entries), self._part)
        if entry.kind is not EntryKind.MESSAGE:
            raise MessageNotFoundError(str(self._keys.address), message_id, f"its part {self._part} has not come")
        frame = self._frame(entry)
        if frame is None:
            raise PayloadGoneError(str(self._keys.address), message_id)
        return frame

    def _entry(self, entry_id: str) -> Entry | None:
        found = self._server.call("XRANGE", self._keys.index, entry_id, entry_id)
        return decode_entry(found[0][0], fields_of(found[0][1])) if found else None

    def _absence(self, message_id: int) -> MessageNotFoundError | StreamNotFoundError:
        state = read_state(self._server, self._keys)
        if state is None:
            return StreamNotFoundError(str(self._keys.address))
        if message_id < 1:
            reason = "ids begin at 1"
        elif message_id <= state.expired_id:
            reason = "it is older than the stream is kept"
        elif message_id < state.next_id:
            reason = "it was declined: its producer had nothing to send" if self._is_declined(message_id) else NEVER
        elif state.finished:
            reason = f"the stream ended with {state.last_id}"
        else:
            reason = "it has not come yet"
        return MessageNotFoundError(str(self._keys.address), message_id, reason)

    def _is_declined(self, message_id: int) -> bool:
        """Whether an id that has gone by was declined: the next entry is the gap that it is in."""
        found = self._server.call("XRANGE", self._keys.index, f"{message_id}-0", "+", "COUNT", 1)
        gap = read_entry(found[0][0], fields_of(found[0][1])).gap if found else None
        return gap is not None and gap.is_declined and gap.first_id <= message_id

    def wait_newest(self, group: str | None, seen: str, timeout_s: float | None) -> Frame:
        """Wait for a message newer than what was seen; see `Consumer.newest`."""
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            state = read_state(self._server, self._keys)
            if state is None:
                raise StreamNotFoundError(str(self._keys.address))
            frame = self.newest(group, seen)
            if frame is not None:
                return frame
            if state.finished:
                raise StreamFinishedError(str(self._keys.address), state.last_id, state.next_stream)
            if ends_at is not None and time.monotonic() >= ends_at:
                raise NothingNewError(str(self._keys.address), timeout_s or 0.0)
            time.sleep(NEWEST_POLL_S)

    def newest(self, group: str | None, seen: str) -> Frame | None:
        """Return the newest message if it is newer than what the group (or, without one, the caller) has seen."""
        raw: Sequence[bytes] = self._server.script(
            "newest", [self._keys.index, self._keys.newest, self._keys.state], [group or "", seen]
        )
        if not raw:
            return None
        # A payload that was dropped between the two calls is simply no longer the newest.
        return self._frame(only_part(decode_entry(raw[0], fields_of(raw[1])), self._part))  # type: ignore[arg-type]

    def _frame(self, entry: Entry) -> Frame | None:
        header = entry.header
        if header is None:
            return None
        payloads: Payloads = [entry.inline]
        if entry.inline is None:
            payloads = self._patiently(lambda: self._tier.fetch(stored_payloads(entry.message_id, header)))
        there = [payload for payload in payloads if payload is not None]
        if len(there) < len(payloads):
            return None
        return make_frame(self._keys.address, entry.message_id, header, there, late=entry.late, entry_id=entry.entry_id)
