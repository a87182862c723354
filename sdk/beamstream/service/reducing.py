"""How a `Reducer` becomes a service: results with what they count, acknowledgements after them, going on after a crash.

The results are a chain: each is the next message of the derived stream, and has the state up to it. Whoever publishes
the next one has the right to go on; a process that comes too late, because it was stopped for a while, finds the place
taken and ends. So two processes never both count, whatever a lease says.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from beamstream.consumer import Consumer
from beamstream.errors import (
    BeamstreamError,
    CannotGoOnError,
    IdConflictError,
    RetryLaterError,
    SendError,
    ServerError,
    StreamNotFoundError,
    UsageError,
)
from beamstream.frame import Frame, Gap
from beamstream.groups import Target, seek_group
from beamstream.parameters import Bounds, Parameter, Parameters, Tunable, Value
from beamstream.producer import Producer
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .counted import START, Counted
from .handler import Commits, StreamEnd, StreamStart
from .lease import LEASE_S, Lease
from .processor import Output, Result

if TYPE_CHECKING:
    from .reducer import Reducer

log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""Default for the shortest time between two results [s]: as often as people look."""

MAX_HELD_MESSAGES = 100_000
"""Messages that wait for the result that holds them; then it is published before its time."""

MAX_HELD_BYTES = 64 << 20
"""Payload bytes that wait for it [bytes]."""

WAIT_S = 1.0
"""How long a lost or full server is waited for before the loop is asked to come again [s]: it has signals to see to."""

CLOSE_TIMEOUT_S = 30.0
"""How long an interrupted service tries to publish its last result [s]; its successor makes it again."""

PAGE = 1000
"""Pending entries looked at with one call."""

STATE = "reducer"
"""The metadata of a result has what it counts under this name."""

RESETS = "resets"
"""The parameter that every reducer has: another number begins anew."""


class ReducerHandler:
    """The handler around one reducer.

    Parameters
    ----------
    reducer : Reducer
        What is done.
    from_start : bool
        Whether a new group begins at the start of the stream.
    period_s : float
        Shortest time between two results [s].
    lease_s : float
        After which silence another process takes over [s].

    Raises
    ------
    UsageError
        If the period is none.
    """

    def __init__(
        self,
        reducer: Reducer,
        *,
        from_start: bool = True,
        period_s: float = PERIOD_S,
        lease_s: float = LEASE_S,
    ) -> None:
        if not 0 < period_s < float("inf"):
            raise UsageError(f"period_s {period_s} is no time between two results; it is greater than 0")
        self.name = reducer.name
        self.commits = Commits(
            every_s=period_s, n_messages=MAX_HELD_MESSAGES, n_bytes=MAX_HELD_BYTES, when_idle=True, opens_first=True
        )
        self._reducer = reducer
        self._group = ""
        self._from_start = from_start
        self._lease_s = lease_s
        self.parameters = _with_resets(reducer)
        self._resets_wanted = 0
        self._resets = 0
        self._session = uuid.uuid4().hex
        self._counted = Counted()
        self._stream: StreamStart | None = None
        self._output: Output | None = None
        self._server: Server | None = None
        self._lease: Lease | None = None
        self._producer: Producer | None = None
        self._pending: Future[str] | None = None
        self._next_id = 1
        self._changed = self._final = self._sealed = False
        self._n_results = self._n_again = 0

    # --- parameters --------------------------------------------------------------------------------------------

    def tune(self, values: Mapping[str, Value]) -> None:
        """Hand on the parameters of the reducer; begin anew where the number of resets is another one."""
        own = {name: value for name, value in values.items() if name != RESETS}
        if isinstance(self._reducer, Tunable):
            self._reducer.tune(own)
        self._resets_wanted = int(str(values[RESETS]))
        if self._producer is not None:
            self._reset_if_wanted()

    def _reset_if_wanted(self) -> None:
        if self._resets != self._resets_wanted:
            log.info("%s begins anew: resets=%d", self.name, self._resets_wanted)
            self._reducer.reset()
            self._resets = self._resets_wanted
            self._changed = True

    # --- opening -----------------------------------------------------------------------------------------------

    def open(self, stream: StreamStart) -> None:
        """Wait for the lease, and go on from the newest result.

        Raises
        ------
        RetryLaterError
            If another process of the group is at work: this one is its spare.
        CannotGoOnError
            If the newest result cannot be read.
        DatasetStreamError, UsageError
            If the messages are datasets, or come from files.
        """
        stream.refuse_datasets(self.name)
        if not stream.group:
            raise UsageError(
                f"{stream.address} is read from files; {self.name} adds up streams of a broker: 'stream produce replay'"
            )
        self._group = stream.group
        if self._server is None:
            self._server = Server(stream.broker)
        if self._lease is None:
            self._lease = Lease(self._server, StreamKeys(stream.address).lease(self._group), self._lease_s)
        if not self._lease.take(WAIT_S):
            raise RetryLaterError(
                f"{self._lease.owner} reduces {stream.address} for group {self._group}; waiting as its spare"
            )
        try:
            self._begin(stream, self._server)
        except ServerError:
            raise  # the loop comes again
        except BaseException:
            self._let_go()
            raise

    def _begin(self, stream: StreamStart, server: Server) -> None:
        output = self._reducer.open(stream)
        self._stream, self._output = stream, output
        self._counted = Counted(from_start=self._from_start)
        self._next_id, self._resets = 1, self._resets_wanted
        self._changed = self._final = self._sealed = False
        self._n_results = self._n_again = 0
        newest = self._read_newest(output, stream.broker)
        if newest is not None:
            self._restore(newest)
            log.info("%s goes on from result %d of %s, which counts %d message(s)",
                     self.name, newest.message_id, output.address, self._counted.n)  # fmt: skip
        if newest is not None or self._from_start:
            self._set_group(server, stream)
        self._reset_if_wanted()
        metadata = {**output.metadata, "reduced": {"of": str(stream.address), "group": self._group}}
        self._producer = Producer(
            output.address,
            broker=stream.broker,
            metadata=metadata if stream.tuning is None else stream.tuning.describe(metadata),
            block_timeout_s=WAIT_S,
            retry_timeout_s=None,
        )

    def _read_newest(self, output: Output, broker: str) -> Frame | None:
        """Return the newest result; None where there is none."""
        try:
            with Consumer(output.address, broker=broker, retry_timeout_s=WAIT_S) as results:
                state = results.state
                self._sealed = state.finished
                last_id = state.last_id if state.finished else state.next_id - 1
                return results.read(last_id) if last_id > 0 else None
        except StreamNotFoundError:
            return None
        except ServerError:
            raise
        except BeamstreamError as error:
            raise CannotGoOnError(
                f"the newest result of {output.address} cannot be read, and what it counts is not known: {error}; "
                f"to count anew from the start: 'stream delete {output.address}'"
            ) from error

    def _restore(self, newest: Frame) -> None:
        now_s = time.monotonic()
        try:
            told = newest.metadata[STATE]
            self._counted = Counted.from_metadata(told["counted"], now_s, from_start=self._from_start)
            self._resets = int(told["resets"])
            self._final = bool(told["final"])
            self._reducer.restore(newest)
        except Exception as error:  # user code, and metadata of anybody
            raise CannotGoOnError(
                f"message {newest.message_id} of {newest.address} is no result that {self.name} could go on from: "
                f"{error!r}; to count anew from the start: 'stream delete {newest.address}'"
            ) from error
        self._next_id = newest.message_id + 1

    def _set_group(self, server: Server, stream: StreamStart) -> None:
        """Let the group go on behind what is counted, whatever it was given, acknowledged, or lost with its server."""
        position = self._counted.resume_behind(time.monotonic())
        keys = StreamKeys(stream.address)
        while position != START:
            page = server.call("XPENDING", keys.index, self._group, "-", position, PAGE)
            if not page:
                break
            server.call("XACK", keys.index, self._group, *(entry_id for entry_id, *_ in page))
        seek_group(server, stream.address, self._group, Target(entry_id=position), force=True)

    # --- messages ----------------------------------------------------------------------------------------------

    def handle(self, frame: Frame) -> None:
        """Add one message, unless it is counted already.

        Raises
        ------
        CannotGoOnError
            If another process has taken over.
        """
        if self._lease is not None and not self._lease.held:
            raise self._superseded(f"{self._lease.owner or 'another process'} has its lease")
        if frame.place in self._counted:
            self._n_again += 1
            return
        if self._sealed:
            raise UsageError(f"the results of {frame.address} are finished; message {frame.message_id} comes too late")
        self._reducer.add(frame)
        self._counted.add(frame.place, frame.entry_id, time.monotonic())
        self._changed = True

    def gap(self, gap: Gap) -> None:
        """Do nothing: what never came is not counted."""

    def commit(self) -> None:
        """Publish what was added since the last result.

        Raises
        ------
        RetryLaterError
            If the server is lost or full.
        CannotGoOnError
            If another process has taken over, or the result cannot be sent.
        """
        self._settle(WAIT_S)
        if self._changed:
            self._publish(final=False)
            self._settle(WAIT_S)

    def _publish(self, *, final: bool) -> None:
        producer, stream = self._producer, self._stream
        if producer is None or stream is None:
            raise RuntimeError("a result before its stream was opened")
        result = self._reducer.result()
        array, metadata = _parts_of(result, self.name)
        if stream.tuning is not None:
            metadata = stream.tuning.stamp(metadata, str(producer.address))
        state = {
            "counted": self._counted.as_metadata(time.monotonic()),
            "resets": self._resets,
            "final": final,
            "session": self._session,
        }
        metadata = {**metadata, "n_counted": self._counted.n, STATE: state}
        self._pending = producer.send_array(self._next_id, array, codec=result.codec, metadata=metadata)
        self._changed, self._final = False, final

    def _settle(self, timeout_s: float) -> None:
        """Wait until the result that was sent is in the stream."""
        if self._pending is None or self._producer is None:
            return
        if not self._producer.flush(timeout_s):
            raise RetryLaterError(f"{self._producer.queued_bytes} bytes for {self._producer.address} cannot be sent")
        pending = self._pending
        try:
            is_duplicate = pending.result() == "duplicate"
        except IdConflictError as error:
            raise self._superseded(str(error)) from error
        except SendError as error:
            raise CannotGoOnError(f"result {self._next_id} of {self.name} was not taken: {error}") from error
        if is_duplicate and not self._is_ours(self._next_id):
            raise self._superseded(f"result {self._next_id} is there already")
        self._pending = None
        self._next_id += 1
        self._n_results += 1

    def _is_ours(self, message_id: int) -> bool:
        """Whether a result was sent by this process: sent twice, because an answer was lost."""
        assert self._output is not None  # noqa: S101 (nothing was sent before it was known)
        assert self._stream is not None  # noqa: S101
        with Consumer(self._output.address, broker=self._stream.broker, retry_timeout_s=WAIT_S) as results:
            state = results.read(message_id).metadata.get(STATE, {})
        return bool(state.get("session") == self._session)

    def _superseded(self, why: str) -> CannotGoOnError:
        self._let_go()
        return CannotGoOnError(
            f"another process reduces for group {self._group} now ({why}); this one ends, nothing is counted twice"
        )

    # --- closing -----------------------------------------------------------------------------------------------

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Publish the last result and finish the derived stream; with `end` None leave it open.

        Raises
        ------
        RetryLaterError, ServerError
            If the server is lost; to be called again.
        """
        producer = self._producer
        if producer is None:
            self._let_go()
            return None
        self._settle(WAIT_S)
        if end is not None and not self._sealed:
            if self._changed or not self._final:
                self._publish(final=True)
                self._settle(WAIT_S)
            producer.finish(self._next_id - 1, reason=end.reason, retry_timeout_s=WAIT_S)
        producer.close(CLOSE_TIMEOUT_S)
        report = {"n_counted": self._counted.n, "n_results": self._next_id - 1, "stream": str(producer.address)}
        self._let_go()
        return report

    def _let_go(self) -> None:
        if self._producer is not None:
            self._producer.abandon()
            self._producer.close(0)
            self._producer = None
        if self._lease is not None:
            self._lease.give_up()
            self._lease = None
        if self._server is not None:
            self._server.close()
            self._server = None
        self._pending = None

    def status(self) -> Mapping[str, int | float | str]:
        """Return what was counted, and what the reducer says."""
        own = {"counted": self._counted.n, "results": self._n_results, "counted_before": self._n_again}
        lost = {"given_up": self._counted.n_given_up} if self._counted.n_given_up else {}
        return {**own, **lost, **self._reducer.status()}


def _with_resets(reducer: Reducer) -> Parameters:
    """Return the parameters of a reducer with the one that all have."""
    own = reducer.parameters if isinstance(reducer, Tunable) else Parameters(())
    if RESETS in own:
        raise UsageError(f"{reducer.name}: the parameter {RESETS} belongs to the loop; name yours differently")
    help_text = "How often it was begun anew: another number than before begins anew."
    resets = Parameter(name=RESETS, kind="int", default=0, bounds=Bounds(minimum=0, help=help_text))
    return Parameters([*own.values(), resets], own.initial)


def _parts_of(result: Result, name: str) -> tuple[Any, Mapping[str, Any]]:
    if result.array is None:
        raise CannotGoOnError(f"{name}: the result of a reducer has an array, with its whole state")
    return result.array, result.metadata
