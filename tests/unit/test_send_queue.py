"""The producer's queue: its limit in bytes holds, and nothing in it is forgotten."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from beamstream.producer import queue as queue_module
from beamstream.producer.queue import CROWDED, ENTRY_OVERHEAD_BYTES, GATHER_BYTES, TURN, Outgoing, SendQueue


def outgoing(message_id: int, payload_bytes: int) -> Outgoing:
    return Outgoing(message_id, 0, b"", bytes(payload_bytes), payload_bytes, Future())


def test_a_full_queue_takes_nothing_until_something_is_done() -> None:
    queue = SendQueue(2 * (100 + ENTRY_OVERHEAD_BYTES))
    assert queue.put(outgoing(1, 100), 0)
    assert queue.put(outgoing(2, 100), 0)
    assert not queue.put(outgoing(3, 100), 0)
    batch = queue.take(10, 1000, 0)
    assert [message.message_id for message in batch] == [1, 2]
    assert not queue.put(outgoing(3, 100), 0), "bytes that are being sent are still held"
    queue.done(batch)
    assert queue.put(outgoing(3, 100), 0)


def test_a_message_over_the_limit_passes_an_empty_queue() -> None:
    queue = SendQueue(10)
    assert queue.put(outgoing(1, 1000), 0)
    assert not queue.put(outgoing(2, 1), 0)


def test_a_batch_keeps_its_limits_but_always_has_something() -> None:
    queue = SendQueue(10**6)
    for message_id in range(1, 6):
        queue.put(outgoing(message_id, 100), 0)
    assert len(queue.take(2, 10**6, 0)) == 2
    assert len(queue.take(10, 150, 0)) == 1
    assert len(queue.take(10, 1, 0)) == 1


def test_waiting_senders_are_woken_when_the_queue_closes() -> None:
    queue = SendQueue(1)
    queue.put(outgoing(1, 1), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.put, outgoing(2, 1), None)
        queue.close()
        assert waiting.result(timeout=10) is False


def test_idle_means_that_every_fate_is_known() -> None:
    queue = SendQueue(100)
    assert queue.wait_idle(0)
    queue.put(outgoing(1, 1), 0)
    batch = queue.take(1, 1, 0)
    assert not queue.wait_idle(0)
    queue.done(batch)
    assert queue.wait_idle(0)
    assert queue.queued_bytes == 0


HOURS_S = 1e5
"""A time to gather in that no test outlives."""


def gathering_queue(limit_bytes: int = 10**6) -> SendQueue:
    """Return a queue from which something was taken just now."""
    queue = SendQueue(limit_bytes, HOURS_S)
    queue.put(outgoing(1, 1), 0)
    queue.done(queue.take(9, 10**6, 0))
    return queue


def ids(batch: list[Outgoing]) -> list[int]:
    return [message.message_id for message in batch]


def test_the_first_message_after_a_pause_is_not_kept_waiting() -> None:
    queue = SendQueue(10**6, HOURS_S)
    queue.put(outgoing(1, 1), 0)
    assert ids(queue.take(9, 10**6, HOURS_S)) == [1]


def test_what_comes_soon_after_a_batch_is_gathered_until_somebody_waits_for_it() -> None:
    queue = gathering_queue()
    with ThreadPoolExecutor(1) as pool:
        queue.put(outgoing(2, 1), 0)
        taken = pool.submit(queue.take, 9, 10**6, HOURS_S)
        queue.put(outgoing(3, 1), 0)
        assert not taken.done()
        assert not queue.wait_idle(0)
        assert ids(taken.result(timeout=10)) == [2, 3]


def test_a_full_batch_is_not_kept_waiting() -> None:
    queue = gathering_queue()
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(queue.take, 3, 10**6, HOURS_S)
        for message_id in (2, 3, 4, 5):
            queue.put(outgoing(message_id, 1), 0)
        assert ids(taken.result(timeout=10)) == [2, 3, 4]
    assert queue.n_unfinished == 4


def test_a_sender_without_room_has_what_is_gathered_sent() -> None:
    queue = gathering_queue(2 * (100 + ENTRY_OVERHEAD_BYTES))
    queue.put(outgoing(2, 100), 0)
    queue.put(outgoing(3, 100), 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.put, outgoing(4, 100), HOURS_S)
        batch = queue.take(9, 10**6, HOURS_S)
        assert ids(batch) == [2, 3]
        queue.done(batch)
        assert waiting.result(timeout=10)


def test_gathering_ends_with_the_queue() -> None:
    queue = gathering_queue()
    with ThreadPoolExecutor(1) as pool:
        queue.put(outgoing(2, 1), 0)
        taken = pool.submit(queue.take, 9, 10**6, HOURS_S)
        queue.close()
        assert ids(taken.result(timeout=10)) == [2]


@pytest.fixture
def loaded_queue(monkeypatch: pytest.MonkeyPatch) -> SendQueue:
    """Return a queue without a time to gather in, from which two messages were taken at once just now."""
    monkeypatch.setattr("beamstream.producer.queue.GATHER_LOAD_S", HOURS_S)
    queue = SendQueue(10**8)
    queue.put(outgoing(1, 1), 0)
    queue.put(outgoing(2, 1), 0)
    queue.done(queue.take(9, 10**8, 0))
    return queue


def test_who_waits_for_each_message_before_the_next_is_never_kept_waiting(loaded_queue: SendQueue) -> None:
    with ThreadPoolExecutor(1) as pool:
        for message_id in range(3, 9):
            taken = pool.submit(loaded_queue.take, 9, 10**8, HOURS_S)
            loaded_queue.put(outgoing(message_id, 1), 0)
            if message_id == 3:
                loaded_queue.hurry()
            batch = taken.result(timeout=10)
            assert ids(batch) == [message_id]
            loaded_queue.done(batch)


def test_under_load_messages_are_gathered_until_somebody_waits_for_one(loaded_queue: SendQueue) -> None:
    with ThreadPoolExecutor(1) as pool:
        loaded_queue.put(outgoing(3, 1), 0)
        taken = pool.submit(loaded_queue.take, 9, 10**8, HOURS_S)
        loaded_queue.put(outgoing(4, 1), 0)
        assert not taken.done()
        loaded_queue.hurry()
        assert ids(taken.result(timeout=10)) == [3, 4]


def test_bytes_that_are_worth_a_call_are_not_kept_waiting(loaded_queue: SendQueue) -> None:
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(loaded_queue.take, 9, 10**8, HOURS_S)
        loaded_queue.put(outgoing(3, 1), 0)
        loaded_queue.put(outgoing(4, GATHER_BYTES), 0)
        assert ids(taken.result(timeout=10)) == [3, 4]


def test_nobody_who_takes_misses_what_several_put() -> None:
    queue = SendQueue(20 * ENTRY_OVERHEAD_BYTES)
    with ThreadPoolExecutor(4) as pool:
        putting = [pool.submit(lambda: [queue.put(outgoing(1, 1), 30) for _ in range(300)]) for _ in range(4)]
        n_taken = 0
        while n_taken < 1200:
            batch = queue.take(7, 10**6, 30)
            assert batch
            n_taken += len(batch)
            queue.done(batch)
        assert all(all(one.result(10)) for one in putting)
    assert (queue.queued_bytes, queue.n_unfinished) == (0, 0)


def test_who_never_stops_to_put_gives_way_to_the_thread_that_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    given_way: list[int] = []
    queue = SendQueue(10**9)
    monkeypatch.setattr(queue_module, "give_way", lambda: given_way.append(queue.n_unfinished))
    for message_id in range(1, CROWDED + 3 * TURN):
        queue.put(outgoing(message_id, 1), 0)
    assert given_way == [CROWDED, CROWDED + TURN, CROWDED + 2 * TURN]
    queue.take(CROWDED, 10**6, 0)
    queue.put(outgoing(CROWDED + 3 * TURN, 1), 0)
    assert len(given_way) == 3, "few are left"
