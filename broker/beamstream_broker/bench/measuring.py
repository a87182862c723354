"""How one case is measured: a stream, a producer, groups of readers, and the figures of what they tell.

Throughput: the producer sends as fast as the slowest group follows, never further ahead of it than a window. Latency:
the same again at half of that pace. What is not complete is an error, no figure.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamstream.address import Address, SourceAddress
from beamstream.producer.producer import MAX_MESSAGE_ID

from .crew import Crew, Member
from .errors import IncompleteRunError, TooLittleMemoryError
from .findings import Cpu, Latency, Result, Tier, frame_text, summarise
from .plan import Case
from .target import Target

WINDOW_BYTES = 256 << 20
"""How far the producer may be ahead of the slowest group [bytes]: as much as its own queue holds by default."""

WINDOW_SHARE = 0.25
"""The same as a share of the server's memory."""

WINDOW_MESSAGES = 8192
"""The same in messages, which counts for small ones: about a tenth of a second."""

LEAST_WINDOW = 2
"""The same in messages for the largest ones: one on each side."""

INDEX_BYTES = 512
"""What a message takes in the server beside its payload, at most [bytes]."""

PACE_SHARE = 0.5
"""Pace at which latency is measured, as a share of the throughput: what one would plan with."""

WARM_UP_SHARE = 0.1
"""Share of the messages whose delay is not counted: connections are made, scripts loaded, memory touched with them."""

DISK_BYTES = 2 << 30
"""Most that is written to disk for one case [bytes]."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the processes told of one run."""

    sent: dict[str, Any]
    reads: list[dict[str, Any]]
    server_s: float
    broker_s: float | None

    @property
    def last_ns(self) -> int:
        return max(int(one["last_ns"]) for one in self.reads)


class Bench:
    """Measures cases on one broker.

    Parameters
    ----------
    target : Target
        The broker.
    crew : Crew
        The processes.
    source : SourceAddress
        Where the streams are made; nobody else may write there.
    seconds : float
        How long messages are sent for one figure [s].
    """

    def __init__(self, target: Target, crew: Crew, source: SourceAddress, seconds: float) -> None:
        self._target = target
        self._crew = crew
        self._source = source
        self._seconds = seconds
        self._n_streams = 0
        self._warm: set[Tier] = set()
        self._clock_offset_ns = time.time_ns() - time.monotonic_ns()

    def measure(self, case: Case, rate_hz: float | None) -> Iterator[Result]:
        """Yield the figures of a case.

        Raises
        ------
        IncompleteRunError
            If not every message was delivered to every group.
        WorkerFailedError
            If a process failed.
        """
        if case.tier == "disk":
            yield from self._measure_disk(case)
            return
        if case.tier not in self._warm:
            self._run_live(case, case.n_groups[0], 0.0)  # the first touch of memory costs several times what others do
            self._warm.add(case.tier)
        yield self._measure_live(case, case.n_groups[0], rate_hz)

    @property
    def window_bytes(self) -> int:
        """How far the producer is ahead of the slowest group at most, of large messages [bytes]."""
        return min(WINDOW_BYTES, int(self._target.room_bytes * WINDOW_SHARE))

    # --- readers that follow -----------------------------------------------------------------------------------

    def _measure_live(self, case: Case, n_groups: int, rate_hz: float | None) -> Result:
        flat_out = self._run_live(case, n_groups, 0.0)
        sent = flat_out.sent
        duration_s = (flat_out.last_ns - sent["began_ns"]) / 1e9
        is_half = rate_hz is None
        pace_hz = PACE_SHARE * sent["n_sent"] / duration_s if rate_hz is None else rate_hz
        return self._result(
            case, "live", n_groups, flat_out, duration_s, self._delays(case, n_groups, pace_hz, is_half)
        )

    def _delays(self, case: Case, n_groups: int, rate_hz: float, is_half: bool) -> Latency:
        paced = self._run_live(case, n_groups, rate_hz)
        told = [np.frombuffer(base64.b64decode(one["delays_ns"]), np.int64) for one in paced.reads]
        behind_s = paced.sent["behind_s"]
        return summarise(np.concatenate(told), rate_hz=rate_hz, is_half=is_half, behind_s=behind_s)

    def _run_live(self, case: Case, n_groups: int, rate_hz: float) -> _Outcome:
        """Send for some time, with readers that follow."""
        size = case.message_bytes
        most, window = self._most_messages(size), self._window_messages(size)
        after_id = None if not rate_hz else int(WARM_UP_SHARE * min(most, max(1, self._seconds * rate_hz)))
        groups = _slots(n_groups, case.n_members)
        tier = case.tier if case.tier in ("memory", "shared") else None
        with self._stream() as stream:
            self._crew.producer.do("open", stream=stream, broker=self._url, keep="memory", tier=tier, size=size)
            readers = self._join(stream, groups)
            began = self._cpu()
            self._start_reading(readers, after_id)
            sent = self._crew.producer.do(
                "send",
                seconds=self._seconds,
                rate_hz=rate_hz,
                most_messages=most,
                window_messages=window,
                groups=groups,
                clock_offset_ns=self._clock_offset_ns,
            )
            reads = [reader.hear() for reader in readers]
            outcome = _Outcome(sent, reads, *self._cpu_since(began))
        self._check(f"{frame_text(size)}, {case.tier}", sent, reads, groups)
        return outcome

    def check_room(self, size: int) -> int:
        """Return how many messages of a size the server has room for.

        Raises
        ------
        TooLittleMemoryError
            If these are too few.
        """
        n_fitting = self._target.room_bytes // (size + INDEX_BYTES)
        if n_fitting < LEAST_WINDOW * 2:
            needed_bytes = LEAST_WINDOW * 2 * size * self._target.memory_bytes // max(1, self._target.room_bytes)
            raise TooLittleMemoryError(self._target.memory_bytes, needed_bytes, size)
        return n_fitting

    def _most_messages(self, size: int) -> int:
        """Return how many messages may be sent in one go: somebody's memory is never filled."""
        return MAX_MESSAGE_ID if self._target.is_ours else self.check_room(size)

    def _window_messages(self, size: int) -> int:
        return max(LEAST_WINDOW, min(WINDOW_MESSAGES, self.window_bytes // size))

    # --- readers that lag --------------------------------------------------------------------------------------

    def _measure_disk(self, case: Case) -> Iterator[Result]:
        """Write a stream to disk, and read it from there with each number of groups."""
        size = case.message_bytes
        with self._stream() as stream:
            self._crew.producer.do("open", stream=stream, broker=self._url, keep="all", tier=None, size=size)
            began = self._cpu()
            sent = self._crew.producer.do(
                "send",
                seconds=self._seconds,
                rate_hz=0.0,
                most_messages=max(1, DISK_BYTES // size),
                window_messages=0,
                groups=[],
                clock_offset_ns=self._clock_offset_ns,
            )
            written = _Outcome(sent, [], *self._cpu_since(began))
            self._check(f"{frame_text(size)}, disk", sent, [], [])
            yield self._result(case, "written", 0, written, (sent["done_ns"] - sent["began_ns"]) / 1e9, None)
            for n_groups in case.n_groups:
                self._target.leave_to_disk(Address.parse(stream))
                yield self._read_back(case, stream, n_groups, sent)

    def _read_back(self, case: Case, stream: str, n_groups: int, sent: dict[str, Any]) -> Result:
        groups = _slots(n_groups, case.n_members)
        readers = self._join(stream, groups, prefix=f"of{n_groups}-")
        began = self._cpu()
        self._start_reading(readers, None)
        reads = [reader.hear() for reader in readers]
        outcome = _Outcome({**sent, "cpu_s": 0.0, "n_held_back": 0}, reads, *self._cpu_since(began))
        self._check(f"{frame_text(case.message_bytes)}, from disk", sent, reads, groups)
        duration_s = (outcome.last_ns - min(one["began_ns"] for one in reads)) / 1e9
        return self._result(case, "read", n_groups, outcome, duration_s, None)

    # --- both --------------------------------------------------------------------------------------------------

    @property
    def _url(self) -> str:
        return self._target.server.url

    @contextlib.contextmanager
    def _stream(self) -> Iterator[str]:
        """Give the address of a new stream; it is deleted at the end, not where processes may still be writing it."""
        self._n_streams += 1
        address = self._source.stream(f"run_{self._n_streams:03d}")
        yield str(address)
        self._target.delete(address)

    def _join(self, stream: str, groups: Sequence[Sequence[int]], prefix: str = "") -> list[Member]:
        """Have as many readers join as there are places in the groups, all at the same time."""
        readers = self._crew.readers[: sum(map(len, groups))]
        for number, group in enumerate(groups, start=1):
            for slot in group:
                readers[slot].tell("join", stream=stream, broker=self._url, group=f"{prefix}group{number}")
        for reader in readers:
            reader.hear()
        return readers

    def _start_reading(self, readers: Sequence[Member], after_id: int | None) -> None:
        self._crew.board.clear()
        for slot, reader in enumerate(readers):
            reader.tell("read", slot=slot, clock_offset_ns=self._clock_offset_ns, after_id=after_id)

    def _cpu(self) -> tuple[float, float | None]:
        return self._target.server_cpu_s(), self._target.broker_cpu_s()

    def _cpu_since(self, began: tuple[float, float | None]) -> tuple[float, float | None]:
        server_s, broker_s = self._cpu()
        return server_s - began[0], None if broker_s is None or began[1] is None else broker_s - began[1]

    def _check(
        self, what: str, sent: dict[str, Any], reads: Sequence[dict[str, Any]], groups: Sequence[Sequence[int]]
    ) -> None:
        """Raise unless every message reached every group."""
        delivered = [sum(reads[slot]["n_read"] for slot in group) for group in groups]
        if sent["n_failed"] or any(n != sent["n_sent"] for n in delivered):
            raise IncompleteRunError(what, sent["n_sent"], delivered, sent["n_failed"], sent["failure"])

    def _result(
        self, case: Case, part: Any, n_groups: int, outcome: _Outcome, duration_s: float, latency: Latency | None
    ) -> Result:
        n = outcome.sent["n_sent"]
        return Result(
            tier=case.tier,
            part=part,
            message_bytes=case.message_bytes,
            n_groups=n_groups,
            n_members=case.n_members if n_groups else 0,
            n_messages=n,
            n_bytes=n * case.message_bytes,
            duration_s=duration_s,
            n_held_back=outcome.sent["n_held_back"],
            cpu=Cpu(
                producer_s=outcome.sent["cpu_s"],
                server_s=outcome.server_s,
                readers_s=sum(one["cpu_s"] for one in outcome.reads),
                broker_s=outcome.broker_s,
            ),
            latency=latency,
        )


def _slots(n_groups: int, n_members: int) -> list[list[int]]:
    """Return which readers make up each group, by their places on the board."""
    return [list(range(first, first + n_members)) for first in range(0, n_groups * n_members, n_members)]
