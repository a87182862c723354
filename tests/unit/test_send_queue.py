"""The producer's queue: its limit in bytes holds, and nothing in it is forgotten."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from beamstream.producer.queue import ENTRY_OVERHEAD_BYTES, Outgoing, SendQueue


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
