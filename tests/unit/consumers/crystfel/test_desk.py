"""Who has which frame: the rules, without sockets or clocks."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from beamstream_consumers.crystfel.desk import MAX_WORKERS, Desk


def test_asking_again_is_being_done() -> None:
    desk: Desk[str] = Desk(10.0)
    assert desk.ask(b"a", 0.0) is None
    desk.give(b"a", "frame", 1.0)
    assert (desk.n_out, desk.n_waiting) == (1, 0)
    assert desk.ask(b"a", 2.0) == "frame"
    assert (desk.n_out, desk.n_waiting) == (0, 1)


def test_who_has_waited_longest_is_next() -> None:
    desk: Desk[str] = Desk(10.0)
    for worker in (b"a", b"b"):
        desk.ask(worker, 0.0)
    desk.give(b"a", "1", 1.0)
    desk.ask(b"a", 2.0)
    assert desk.next_worker() == b"b"
    assert desk.tired(3.0, 2.5) == [b"b"]


def test_a_worker_that_waits_cannot_ask_again_and_there_are_so_many_at_most() -> None:
    desk: Desk[str] = Desk(10.0)
    for number in range(MAX_WORKERS):
        desk.ask(number.to_bytes(4, "big"), 0.0)
    assert not desk.may_ask(bytes(4))
    assert not desk.may_ask(b"one more")
    desk.give(bytes(4), "frame", 0.0)
    assert desk.may_ask(bytes(4))


def test_a_worker_that_is_silent_for_too_long_is_overdue() -> None:
    desk: Desk[str] = Desk(10.0)
    desk.ask(b"a", 0.0)
    desk.give(b"a", "frame", 5.0)
    assert desk.overdue(14.9) == []
    assert desk.overdue(15.0) == [b"a"]
    assert desk.lose(b"a") == "frame"


def test_a_connection_number_that_is_used_again_ends_the_first_worker_that_had_it() -> None:
    desk: Desk[str] = Desk(10.0)
    desk.ask(b"old", 0.0, connection=7)
    desk.give(b"old", "frame", 1.0)
    desk.ask(b"new", 2.0, connection=7)
    assert desk.lose_connection(7) == (b"old", "frame")
    assert desk.waiting() == [b"new"]
    assert desk.lose_connection(7) == (b"new", None)
    assert desk.lose_connection(7) is None


class DeskMachine(RuleBasedStateMachine):
    """No frame is lost and none doubled, whatever workers do."""

    workers = st.sampled_from([b"a", b"b", b"c"])

    def __init__(self) -> None:
        super().__init__()
        self.desk: Desk[int] = Desk(5.0)
        self.now_s = 0.0
        self.n_given = 0
        self.out: set[int] = set()

    @rule(worker=workers, connection=st.none() | st.integers(1, 2))
    def ask(self, worker: bytes, connection: int | None) -> None:
        if self.desk.may_ask(worker):
            self.come_back(self.desk.ask(worker, self.now_s, connection))

    @rule()
    def give(self) -> None:
        worker = self.desk.next_worker()
        if worker is not None:
            self.n_given += 1
            self.out.add(self.n_given)
            self.desk.give(worker, self.n_given, self.now_s)

    @rule(seconds=st.integers(0, 4))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        for worker in self.desk.overdue(self.now_s):
            self.come_back(self.desk.lose(worker))

    @rule(connection=st.integers(1, 2))
    def end(self, connection: int) -> None:
        gone = self.desk.lose_connection(connection)
        if gone is not None:
            self.come_back(gone[1])

    def come_back(self, frame: int | None) -> None:
        if frame is not None:
            self.out.remove(frame)

    @invariant()
    def every_frame_that_is_out_is_with_one_worker(self) -> None:
        assert self.desk.n_out == len(self.out)
        assert self.desk.n_workers <= 3


TestDesk = DeskMachine.TestCase
TestDesk.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
