"""The results of a reducer as a chain: each is the next message of the derived stream, and has the state up to it.

Whoever publishes the next one has the right to go on. A process that comes too late, because it was stopped for a
while, finds the place taken: `SupersededError`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from beamstream.address import Address
from beamstream.consumer import Consumer
from beamstream.errors import (
    BeamstreamError,
    CannotGoOnError,
    IdConflictError,
    RetryLaterError,
    SendError,
    ServerError,
    StreamNotFoundError,
)
from beamstream.frame import Frame
from beamstream.producer import Producer
from beamstream.service.consuming.handler import StreamEnd
from beamstream.service.processing.processor import Result
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep

WAIT_S = 1.0
"""How long a lost or full server is waited for before the loop is asked to come again [s]: it has signals to see to."""

CLOSE_TIMEOUT_S = 30.0
"""How long an interrupted service tries to publish its last result [s]; its successor makes it again."""

STATE = "reducer"
"""The metadata of a result has what it counts under this name."""


class SupersededError(CannotGoOnError):
    """Another process has gone on from the same result."""


class ResultChain:
    """The derived stream of a reducer.

    Parameters
    ----------
    address : Address
        Where the results go.
    broker : str
        URL of the broker.
    upkeep : Upkeep
        What is kept of it, for how long, where it lies, and how much is held here.

    Attributes
    ----------
    newest : Frame or None
        The newest result that was there when this was made; None where there was none.
    sealed : bool
        Whether the stream had ended by then.
    """

    def __init__(self, address: Address, broker: str, upkeep: Upkeep = DEFAULT_UPKEEP) -> None:
        self.address = address
        self._broker = broker
        self._upkeep = upkeep
        self._session = uuid.uuid4().hex
        self._producer: Producer | None = None
        self._pending: Future[str] | None = None
        self.sealed = False
        self.newest = self._read_newest()
        self._next_id = 1 if self.newest is None else self.newest.message_id + 1

    @property
    def last_id(self) -> int:
        """The id of the newest result."""
        return self._next_id - 1

    def _read_newest(self) -> Frame | None:
        try:
            with Consumer(self.address, broker=self._broker, retry_timeout_s=WAIT_S) as results:
                state = results.state
                self.sealed = state.finished
                last_id = state.last_id if state.finished else state.next_id - 1
                return results.read(last_id) if last_id > 0 else None
        except StreamNotFoundError:
            return None
        except ServerError:
            raise
        except BeamstreamError as error:
            raise CannotGoOnError(
                f"the newest result of {self.address} cannot be read, and what it counts is not known: {error}; "
                f"to count anew from the start: 'stream delete {self.address}'"
            ) from error

    def open(self, metadata: Mapping[str, Any]) -> None:
        """Open the derived stream."""
        self._producer = Producer(
            self.address,
            broker=self._broker,
            metadata=metadata,
            block_timeout_s=WAIT_S,
            retry_timeout_s=None,
            keep=self._upkeep.keep,
            retain_s=self._upkeep.retain_s,
            queue_bytes=self._upkeep.queue_bytes,
            tier=self._upkeep.tier,
        )

    def publish(self, result: Result, metadata: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Send a result; `settle` says whether it is there.

        Raises
        ------
        CannotGoOnError
            If it has no array.
        """
        if result.array is None:
            raise CannotGoOnError(f"a result for {self.address} has no array; a reducer's has its whole state")
        metadata = {**metadata, STATE: {**state, "session": self._session}}
        self._pending = self._opened().send_array(self._next_id, result.array, codec=result.codec, metadata=metadata)

    def settle(self) -> bool:
        """Wait until the result that was sent is in the stream; False where there was none.

        Raises
        ------
        RetryLaterError
            If the server is lost or full.
        SupersededError
            If another process was quicker.
        CannotGoOnError
            If the stream does not take it.
        """
        if self._pending is None:
            return False
        producer = self._opened()
        if not producer.flush(WAIT_S):
            raise RetryLaterError(f"{producer.queued_bytes} bytes for {self.address} cannot be sent")
        try:
            is_duplicate = self._pending.result() == "duplicate"
        except IdConflictError as error:
            raise SupersededError(str(error)) from error
        except SendError as error:
            raise CannotGoOnError(f"result {self._next_id} was not taken: {error}") from error
        if is_duplicate and not self._is_ours(self._next_id):
            raise SupersededError(f"result {self._next_id} of {self.address} is there already")
        self._pending = None
        self._next_id += 1
        return True

    def _is_ours(self, message_id: int) -> bool:
        """Whether a result was sent by this process: twice, because an answer was lost."""
        with Consumer(self.address, broker=self._broker, retry_timeout_s=WAIT_S) as results:
            state = results.read(message_id).metadata.get(STATE, {})
        return bool(state.get("session") == self._session)

    def finish(self, end: StreamEnd) -> None:
        """End the derived stream behind the newest result."""
        self._opened().finish(self.last_id, reason=end.reason, retry_timeout_s=WAIT_S)

    def close(self) -> None:
        """Send what is under way, and let the stream go."""
        if self._producer is not None:
            self._producer.close(CLOSE_TIMEOUT_S)

    def abandon(self) -> None:
        """Let the stream go at once."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer.close(0)

    def _opened(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("a result before its stream was opened")
        return self._producer
