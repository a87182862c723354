"""The pool of segments against a simple model, with real pages and real locks."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from beamstream.address import Address
from beamstream.location import Location
from beamstream.shared.messages import ELSEWHERE, NEVER, WAIT
from beamstream.shared.segment import GONE, HEAD_BYTES, epoch_of
from beamstream_broker.sharing import pool as pool_module
from beamstream_broker.sharing.pool import NoSegmentError, Pool, Segment, State

MIB = 1 << 20
UNIT = 1 << 16
"""Smallest segments of the model [bytes]; those of a broker are larger."""

ADDRESS = Address("bt", "det", "run")


@dataclass(eq=False)
class Loan:
    """A segment that is lent: what its writer has, and what it put there."""

    segment: Segment
    lock: int
    epoch: int
    end: int = HEAD_BYTES
    written: list[tuple[Location, int, int]] = field(default_factory=list)


class Sharing(RuleBasedStateMachine):
    """Producers that are lent segments and fill them, readers that hold views, a broker that collects."""

    loans = Bundle("loans")
    views = Bundle("views")

    @initialize(n_units=st.integers(1, 12))
    def open(self, n_units: int) -> None:
        self.sizes: list[int] = []
        self.pool = Pool(n_units * UNIT, self.sizes.append)
        self.lent: list[Loan] = []
        self.full: list[Loan] = []
        self.held: list[tuple[memoryview, int]] = []

    @rule(target=loans, payload_bytes=st.sampled_from([1, 5000, UNIT // 2, UNIT, 3 * UNIT]))
    def lend(self, payload_bytes: int) -> object:
        try:
            segment, lock = self.pool.lend(ADDRESS, "life", payload_bytes, (), 0)
        except NoSegmentError as error:
            self.check_refusal(error.answer, payload_bytes)
            return multiple()
        loan = Loan(segment, lock, segment.epoch)
        assert segment not in [one.segment for one in self.lent], "nobody else has it"
        assert segment.size_bytes >= HEAD_BYTES + payload_bytes
        assert epoch_of(segment.pages) == segment.epoch
        self.lent.append(loan)
        self.put(loan, segment.number * 1000 + segment.epoch, min(payload_bytes, 64))
        return loan

    def check_refusal(self, answer: str, payload_bytes: int) -> None:
        is_free = self.pool.bytes_of(State.FREE) > 0
        lent_bytes = self.pool.bytes_of(State.LENT, State.LEFT)
        assert answer != WAIT or not is_free, "nothing of its own is in the way"
        assert answer != NEVER or 2 * max(UNIT, 4 * (2 * HEAD_BYTES + payload_bytes)) > self.pool.limit_bytes
        assert answer != ELSEWHERE or is_free or lent_bytes

    @rule(loan=loans, seed=st.integers(0, 999), n_bytes=st.integers(1, 3000))
    def write(self, loan: Loan, seed: int, n_bytes: int) -> None:
        if loan in self.lent and loan.end + n_bytes <= loan.segment.size_bytes:
            self.put(loan, seed, n_bytes)

    def put(self, loan: Loan, seed: int, n_bytes: int) -> None:
        payload = random.Random(seed).randbytes(n_bytes)
        loan.segment.pages[loan.end : loan.end + n_bytes] = np.frombuffer(payload, np.uint8)
        where = Location(loan.segment.number, loan.epoch, loan.end)
        loan.written.append((where, n_bytes, xxhash.xxh3_64_intdigest(payload)))
        loan.end += n_bytes

    @rule(loan=consumes(loans), says_so=st.booleans(), number=st.sampled_from([0, -1, -1]))
    def give_back(self, loan: Loan, says_so: bool, number: int) -> None:
        if loan not in self.lent:
            return
        os.close(loan.lock)
        if says_so:
            self.pool.take_back(loan.segment.number, 0)
        else:
            self.pool.leave(loan.segment.number)
        self.lent.remove(loan)
        self.full.append(loan)
        self.free(number)

    @rule(number=st.integers(0, 20))
    def free(self, number: int) -> None:
        taken = self.pool.taken()
        assert {one.number for one in taken} == {one.segment.number for one in self.full}
        self.pool.free(taken[: number % (len(taken) + 1)])
        self.full = [one for one in self.full if one.segment.state is not State.FREE]
        self.pool.resize(self.pool.limit_bytes)  # as each look of the broker does

    @rule(target=views, number=st.integers(0, 50))
    def read(self, number: int) -> object:
        written = [one for loan in (*self.lent, *self.full) for one in loan.written]
        if not written:
            return multiple()
        where, n_bytes, checksum = written[number % len(written)]
        (view,) = self.pool.read([(where, n_bytes)])
        assert view is not None, "what is still wanted is there"
        held = view, checksum
        self.held.append(held)
        return held

    @rule(view=consumes(views))
    def let_go(self, view: tuple[memoryview, int]) -> None:
        self.held = [one for one in self.held if one is not view]
        view[0].release()  # whoever remembers it

    @rule(number=st.integers(1, 50), epoch=st.integers(0, 3))
    def read_what_may_be_gone(self, number: int, epoch: int) -> None:
        known = {(loan.segment.number, loan.epoch) for loan in (*self.lent, *self.full)}
        where = Location(self.pool._first + number, epoch, HEAD_BYTES)
        (view,) = self.pool.read([(where, 10)])
        if where[:2] in known:
            assert view is not None

    @rule(n_units=st.integers(0, 12))
    def resize(self, n_units: int) -> None:
        self.pool.resize(n_units * UNIT)

    @invariant()
    def a_view_never_changes_under_its_reader(self) -> None:
        for view, checksum in self.held:
            assert xxhash.xxh3_64_intdigest(view) == checksum

    @invariant()
    def what_is_written_is_what_was_written(self) -> None:
        for loan in (*self.lent, *self.full):
            assert epoch_of(loan.segment.pages) == loan.epoch

    @invariant()
    def it_takes_no_more_than_it_may_but_for_what_is_still_wanted(self) -> None:
        taken_bytes = self.pool.bytes_of(State.LENT, State.FULL, State.LEFT)
        assert self.pool.size_bytes == taken_bytes + self.pool.bytes_of(State.FREE)
        if not self.held:
            assert self.pool.size_bytes <= max(self.pool.limit_bytes, taken_bytes)

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.pool.close()
        self.a_view_never_changes_under_its_reader()
        for loan in self.lent:
            os.close(loan.lock)


def test_whatever_is_lent_and_held_no_view_changes_and_no_two_have_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "SMALLEST_BYTES", UNIT)
    run_state_machine_as_test(
        Sharing,
        settings=settings(
            max_examples=80, stateful_step_count=40, derandomize=True, suppress_health_check=list(HealthCheck)
        ),
    )


def fill(pool: Pool, payload_bytes: int = 10) -> list[Segment]:
    """Lend and take back segments until there are no more."""
    segments = []
    while True:
        try:
            segment, lock = pool.lend(ADDRESS, "life", payload_bytes, (), 0)
        except NoSegmentError:
            return segments
        os.close(lock)
        pool.take_back(segment.number, 0)
        segments.append(segment)


def test_where_readers_hold_what_is_free_the_producer_is_sent_elsewhere_and_told_who() -> None:
    pool = Pool(8 * MIB)
    segments = fill(pool)
    with pytest.raises(NoSegmentError) as found:
        pool.lend(ADDRESS, "life", 10, (), 0)
    assert found.value.answer == WAIT
    views = pool.read([(Location(one.number, one.epoch, HEAD_BYTES), 10) for one in segments])
    pool.free(segments)
    with pytest.raises(NoSegmentError, match="readers hold views") as found:
        pool.lend(ADDRESS, "life", 10, (), 0)
    assert found.value.answer == ELSEWHERE
    assert "readers hold views" in pool.pinned
    assert pool.counts.n_pinned >= len(segments)
    del views
    _, lock = pool.lend(ADDRESS, "life", 10, (), 0)
    os.close(lock)
    pool.close()


def test_what_is_given_up_gives_its_memory_back_whoever_has_it_mapped() -> None:
    pool = Pool(8 * MIB)
    segments = fill(pool)
    descriptors = [pool.show(one.number) for one in segments]
    pool.free(segments)
    pool.resize(0)
    assert pool.size_bytes == 0
    assert [epoch_of(one.pages) for one in segments] == [GONE] * len(segments)
    for descriptor in descriptors:
        assert descriptor is not None
        assert os.fstat(descriptor).st_blocks * 512 <= HEAD_BYTES
        os.close(descriptor)
    pool.close()


def test_a_pool_that_was_closed_leaves_no_descriptor(n_open: Callable[[], int]) -> None:
    before = n_open()
    pool = Pool(8 * MIB)
    segments = fill(pool)
    views = pool.read([(Location(one.number, one.epoch, HEAD_BYTES), 10) for one in segments[:3]])
    pool.free(segments)
    pool.resize(4 * MIB)
    shown = [pool.show(one.number) for one in segments]
    pool.close()
    for descriptor in shown:
        if descriptor is not None:
            os.close(descriptor)
    assert sum(descriptor is not None for descriptor in shown) == 4
    segments.clear()
    assert n_open() > before, "views are held"
    del views
    assert n_open() == before


def test_there_are_never_more_segments_than_a_process_can_have_open() -> None:
    pool = Pool(1 << 40)
    assert pool._size_for(HEAD_BYTES + 1) * 128 >= pool.limit_bytes
    pool.close()


def test_a_segment_that_cannot_be_made_is_no_failure_and_takes_nothing() -> None:
    pool = Pool(1 << 62)
    with pytest.raises(NoSegmentError, match="no memory") as found:
        pool.lend(ADDRESS, "life", 1 << 57, (), 0)  # more than any machine has
    assert found.value.answer == ELSEWHERE
    assert pool.size_bytes == 0
    pool.close()


def test_who_waits_gets_what_is_freed() -> None:
    pool = Pool(8 * MIB)
    segments = fill(pool)
    got: list[tuple[Segment, int]] = []
    waiting = threading.Thread(target=lambda: got.append(pool.lend(ADDRESS, "life", 10, (), 60.0)))
    waiting.start()
    pool.free(segments[:1])
    waiting.join(30)
    assert [segment for segment, _ in got] == segments[:1]
    os.close(got[0][1])
    pool.close()


def test_whoever_waits_when_the_pool_closes_is_told_so() -> None:
    pool = Pool(8 * MIB)
    fill(pool)
    told: list[Exception] = []

    def wait() -> None:
        try:
            pool.lend(ADDRESS, "life", 10, (), 60.0)
        except NoSegmentError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not pool._changed._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    pool.close()
    waiting.join(30)
    assert [str(error) for error in told] == ["the broker ends"]
