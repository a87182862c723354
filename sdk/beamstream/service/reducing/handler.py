"""How a `Reducer` becomes a service: results with what they count, acknowledgements after them, going on after a crash.

Two processes never both count: a lease keeps the second one waiting, and where that is not enough, because the first
one was stopped for a while, the chain of results does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beamstream.errors import CannotGoOnError, RetryLaterError, ServerError, UsageError
from beamstream.frame import Frame, Gap
from beamstream.parameters import Bounds, Parameter, Parameters, Tunable, Value
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service.consuming.handler import Commits, StreamEnd, StreamStart
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep

from .counted import Counted
from .lease import LEASE_S, Lease
from .result_chain import STATE, WAIT_S, ResultChain, SupersededError
from .suspects import Suspects

if TYPE_CHECKING:
    from .reducer import Reducer

log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""Default for the shortest time between two results [s]: as often as people look."""

MAX_HELD_MESSAGES = 100_000
"""Messages that wait for the result that holds them; then it is published before its time."""

MAX_HELD_BYTES = 64 << 20
"""Payload bytes that wait for it [bytes]."""

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
    upkeep : Upkeep
        How the derived stream is treated.

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
        upkeep: Upkeep = DEFAULT_UPKEEP,
    ) -> None:
        if not 0 < period_s < float("inf"):
            raise UsageError(f"period_s {period_s} is no time between two results; it is greater than 0")
        self.name = reducer.name
        self.commits = Commits(
            every_s=period_s, n_messages=MAX_HELD_MESSAGES, n_bytes=MAX_HELD_BYTES, when_idle=True, opens_first=True
        )
        self._reducer = reducer
        self._upkeep = upkeep
        self._group = ""
        self._from_start = from_start
        self._lease_s = lease_s
        self.parameters = _with_resets(reducer)
        self._resets_wanted = 0
        self._resets = 0
        self._counted = Counted()
        self._stream: StreamStart | None = None
        self._server: Server | None = None
        self._lease: Lease | None = None
        self._results: ResultChain | None = None
        self._suspects: Suspects | None = None
        self._changed = self._final = False
        self._n_results = self._n_again = 0

    # --- parameters --------------------------------------------------------------------------------------------

    def tune(self, values: Mapping[str, Value]) -> None:
        """Hand on the parameters of the reducer; begin anew where the number of resets is another one."""
        own = {name: value for name, value in values.items() if name != RESETS}
        if isinstance(self._reducer, Tunable):
            self._reducer.tune(own)
        self._resets_wanted = int(str(values[RESETS]))
        if self._results is not None:
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
        results = ResultChain(output.address, stream.broker, self._upkeep)
        self._counted = Counted(from_start=self._from_start)
        self._resets = self._resets_wanted
        self._changed = self._final = False
        self._n_results = self._n_again = 0
        if results.newest is not None:
            self._restore(results.newest)
            log.info("%s goes on from result %d of %s, which counts %d message(s)",
                     self.name, results.last_id, results.address, self._counted.n)  # fmt: skip
        self._suspects = Suspects(server, StreamKeys(stream.address), self._group)
        if results.newest is not None or self._from_start:
            self._suspects.go_on_behind(self._counted.resume_behind(time.monotonic()))
        metadata = {**output.metadata, "reduced": {"of": str(stream.address), "group": self._group}}
        results.open(metadata if stream.tuning is None else stream.tuning.describe(metadata))
        self._stream, self._results = stream, results
        self._reset_if_wanted()

    def _restore(self, newest: Frame) -> None:
        try:
            told = newest.metadata[STATE]
            self._counted = Counted.from_metadata(told["counted"], time.monotonic(), from_start=self._from_start)
            self._resets = int(told["resets"])
            self._final = bool(told["final"])
            self._reducer.restore(newest)
        except Exception as error:  # user code, and metadata of anybody
            raise CannotGoOnError(
                f"message {newest.message_id} of {newest.address} is no result that {self.name} could go on from: "
                f"{error!r}; to count anew from the start: 'stream delete {newest.address}'"
            ) from error

    # --- messages ----------------------------------------------------------------------------------------------

    def handle(self, frame: Frame) -> None:
        """Add one message, unless it is counted already.

        Raises
        ------
        CannotGoOnError
            If another process has taken over.
        """
        results = self._opened()
        self._check_lease()
        if frame.place in self._counted:
            self._n_again += 1
            return
        if results.sealed:
            raise UsageError(f"the results of {frame.address} are finished; message {frame.message_id} comes too late")
        if self._suspects is not None:
            self._suspects.check(frame)
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
        self._check_lease()  # idle, too: one that slept too long must not seem to be at work
        self._settle()
        if self._changed:
            self._publish(final=False)

    def _check_lease(self) -> None:
        if self._lease is not None and not self._lease.held:
            raise self._superseded(f"{self._lease.owner or 'another process'} has its lease")

    def _publish(self, *, final: bool) -> None:
        results, stream = self._opened(), self._stream
        result = self._reducer.result()
        metadata = result.metadata
        if stream is not None and stream.tuning is not None:
            metadata = stream.tuning.stamp(metadata, str(results.address))
        state = {"counted": self._counted.as_metadata(time.monotonic()), "resets": self._resets, "final": final}
        results.publish(result, {**metadata, "n_counted": self._counted.n}, state)
        self._changed, self._final = False, final
        self._settle()

    def _settle(self) -> None:
        """Wait until the result that was sent is in the stream."""
        try:
            self._n_results += self._opened().settle()
        except SupersededError as error:
            raise self._superseded(str(error)) from error

    def _superseded(self, why: str) -> CannotGoOnError:
        self._let_go()
        return CannotGoOnError(
            f"another process reduces for group {self._group} now ({why}); this one ends, nothing is counted twice"
        )

    def _opened(self) -> ResultChain:
        if self._results is None:
            raise RuntimeError("a message before its stream was opened")
        return self._results

    # --- closing -----------------------------------------------------------------------------------------------

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """Publish the last result and finish the derived stream; with `end` None leave it open.

        Raises
        ------
        RetryLaterError, ServerError
            If the server is lost; to be called again.
        """
        results = self._results
        if results is None:
            self._let_go()
            return None
        self._settle()
        if end is not None and not results.sealed:
            if self._changed or not self._final:
                self._publish(final=True)
            results.finish(end)
        results.close()
        report = {"n_counted": self._counted.n, "n_results": results.last_id, "stream": str(results.address)}
        self._let_go()
        return report

    def _let_go(self) -> None:
        if self._results is not None:
            self._results.abandon()
            self._results = None
        if self._lease is not None:
            self._lease.give_up()
            self._lease = None
        if self._server is not None:
            self._server.close()
            self._server = None

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
