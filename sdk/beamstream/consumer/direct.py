"""What can be read of a stream without being given it: where it stands, metadata, messages by id, the newest one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from beamstream.address import Address
from beamstream.errors import MessageNotFoundError, PayloadGoneError, StreamNotFoundError
from beamstream.frame import Frame
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.retry import with_retries
from beamstream.state import StreamState, read_metadata, read_state
from beamstream.tiers import TieredPayloads

from .delivery import ConsumerCounts
from .lookup import Lookup
from .sign import Sign

log = logging.getLogger(__name__)

T = TypeVar("T")


class DirectReads:
    """The part of a `Consumer` that holds nothing and changes no group; whoever derives from it sets what it needs."""

    address: Address
    counts: ConsumerCounts
    _server: Server
    _keys: StreamKeys
    _tier: TieredPayloads
    _sign: Sign
    part: int | None
    _closed: threading.Event
    _retry_timeout_s: float | None
    _seen_newest: str

    @property
    def state(self) -> StreamState:
        """Where the stream stands now.

        Raises
        ------
        StreamNotFoundError
            If it was deleted.
        """
        state = read_state(self._server, self._keys)
        if state is None:
            raise StreamNotFoundError(str(self.address))
        return state

    @property
    def n_expected(self) -> int | None:
        """How many messages the producer promised; None where it promised nothing."""
        return self.state.n_expected

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The stream metadata, read afresh; empty where there is none."""
        return read_metadata(self._server, self._keys) or {}

    def read(self, message_id: int) -> Frame:
        """Return one message by its id; needs no group and changes none.

        Raises
        ------
        MessageNotFoundError
            If it never came, or has not come yet.
        PayloadGoneError
            If its payload has left memory, and is on no disk.
        FetchUnavailableError
            If it is on the disk of a host that did not answer within the consumer's `retry_timeout_s`.
        ChecksumError
            If its payload is damaged.
        """
        return self._lookup().by_id(message_id)

    def read_range(self, first_id: int, last_id: int) -> Iterator[Frame]:
        """Yield the messages of a range of ids, both included, in order of id; missing ones are passed over."""
        lookup = self._lookup()
        for message_id in range(first_id, last_id + 1):
            try:
                yield lookup.by_id(message_id)
            except (MessageNotFoundError, PayloadGoneError) as error:
                log.debug("%s", error)

    def newest(self, timeout_s: float | None = None, *, group: str | None = None) -> Frame:
        """Return the newest message that this consumer has not had yet; of those who name a group, only one gets it.

        Nothing is held for such a group and nothing has to be acknowledged: made for monitors. It has nothing to do
        with the consumer's own group.

        Raises
        ------
        NothingNewError
            If nothing newer came within `timeout_s` [s] (None: wait for ever).
        StreamFinishedError
            If the stream has ended, and its newest message was given.
        """
        frame = self._lookup().wait_newest(group, self._seen_newest, timeout_s)
        self._seen_newest = frame.entry_id
        self.counts.add_delivered(frame.header)
        return frame

    def _lookup(self) -> Lookup:
        self._with_retries(self._sign.tick)
        return Lookup(self._server, self._keys, self._tier, self._with_retries, self.part)

    def _with_retries(self, attempt: Callable[[], T]) -> T:
        return with_retries(lambda _: attempt(), timeout_s=self._retry_timeout_s, stop=self._closed, counts=self.counts)
