"""Batches of a consumer: contiguous arrays of real streams, online, in groups and from files."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import BatchTooLargeError, NothingNewError, UsageError
from beamstream.groups import list_dead_letters, list_groups
from beamstream.protocol.client import Server
from beamstream.service import run_handler
from beamstream_consumers.write.handler import WriteHandler

STREAM = Address("bt", "det", "run")
SHAPE = (6, 5)


def image(message_id: int, dtype: str = "<u2") -> np.ndarray:
    return np.full(SHAPE, message_id, dtype)


def fill(broker: str, ids: range, *, dtype: str = "<u2", codec: str = "bslz4", finish: bool = True) -> None:
    with Producer(STREAM, broker=broker) as producer:
        for message_id in ids:
            producer.send_array(message_id, image(message_id, dtype), codec=codec, metadata={"n": message_id})
        if finish:
            producer.finish()


def test_batches_are_contiguous_and_hold_all_frames_in_order(broker):
    fill(broker, range(1, 24))
    with Consumer(STREAM, broker=broker) as frames:
        batches = list(frames.batches(10))
    assert [len(batch) for batch in batches] == [10, 10, 3]
    assert [one for batch in batches for one in batch.message_ids] == list(range(1, 24))
    for batch in batches:
        assert batch.array.shape == (len(batch), *SHAPE)
        assert batch.array.dtype == np.uint16
        assert batch.array.flags.c_contiguous
        np.testing.assert_array_equal(batch.array[:, 0, 0], batch.message_ids)  # kept though the loop went on
        assert [frame.metadata["n"] for frame in batch.frames] == list(batch.message_ids)


def test_a_batch_goes_to_other_libraries_without_a_copy(broker):
    fill(broker, range(1, 5))
    with Consumer(STREAM, broker=broker) as frames:
        (batch,) = frames.batches(8)
    other = np.from_dlpack(batch)
    assert other.shape == (4, *SHAPE)
    assert np.shares_memory(other, batch.array)


def test_frames_in_another_byte_order_come_in_the_machines(broker):
    with Producer(STREAM, broker=broker) as producer:
        for message_id in range(1, 5):
            producer.send_array(message_id, image(300 + message_id, ">u2"), codec="none")
        producer.finish()
    with Consumer(STREAM, broker=broker) as frames:
        (batch,) = frames.batches(4)
    assert batch.array.dtype.isnative
    np.testing.assert_array_equal(batch.array[:, 0, 0], [301, 302, 303, 304])
    np.from_dlpack(batch)


def test_frames_are_acknowledged_when_the_loop_comes_back_but_for_those_given_back(broker):
    fill(broker, range(1, 9))
    server = Server(broker)
    with Consumer(STREAM, broker=broker, group="ml", max_attempts=1) as frames:
        batches = frames.batches(4)
        first = next(batches)
        frames.flush()
        (group,) = list_groups(server, STREAM)
        assert group.n_pending == 8
        frames.negative_acknowledge(first.frames[1], why="no use")
        frames.negative_acknowledge(first.frames[2], why="no use")
        next(batches)
        frames.flush()
        (group,) = list_groups(server, STREAM)
        assert group.n_pending == 4
        batches.close()  # as a loop does that is left by an exception
    (group,) = list_groups(server, STREAM)
    assert group.n_pending == 4, "the second batch is given back"
    assert [letter.message_id for letter in list_dead_letters(server, STREAM, "ml")] == [2, 3]


def test_damaged_frames_and_other_shapes_do_not_stop_the_good_ones(broker):
    with Producer(STREAM, broker=broker) as producer:
        producer.send(1, b"no image")
        producer.send(2, b"\0" * 12 + b"damaged", shape=SHAPE, dtype="<u2", codec="bslz4")
        for message_id in range(3, 9):
            producer.send_array(message_id, image(message_id))
        producer.send_array(9, np.zeros((2, 3), "<u2"))
        producer.send_array(10, image(10, "<u4"))
        producer.send(11, b"\0" * 12 + b"damaged", shape=SHAPE, dtype="<u2", codec="bslz4")
        producer.send_array(12, image(12))
        producer.finish()
    with Consumer(STREAM, broker=broker, group="ml", max_attempts=1) as frames:
        batches = list(frames.batches(4))
        assert frames.counts.n_rejected == 5
    assert [batch.message_ids for batch in batches] == [(3, 4, 5, 6), (7, 8, 12)]
    assert [set(batch.rejected) for batch in batches] == [{1, 2}, {9, 10, 11}]
    assert "(2, 3)" in batches[1].rejected[9]
    np.testing.assert_array_equal(batches[1].array[:, 0, 0], [7, 8, 12])
    assert [letter.message_id for letter in list_dead_letters(Server(broker), STREAM, "ml")] == [1, 2, 9, 10, 11]


def test_a_batch_that_does_not_fill_is_given_in_time(broker):
    fill(broker, range(1, 4), finish=False)
    with Consumer(STREAM, broker=broker, timeout_s=0.2) as frames:
        batches = frames.batches(100, timeout_s=0.1)
        assert next(batches).message_ids == (1, 2, 3)
        with pytest.raises(NothingNewError):
            next(batches)


def test_too_large_a_batch_is_refused_with_its_numbers_and_no_frame_is_lost(broker):
    fill(broker, range(1, 4))
    with (
        Consumer(STREAM, broker=broker, group="ml") as frames,
        pytest.raises(BatchTooLargeError, match=r"10 frames of 60 bytes has 600 bytes, the limit is 500; .* at most 8"),
    ):
        next(frames.batches(10, limit_bytes=500))
    with Consumer(STREAM, broker=broker, group="ml") as frames:
        assert [one for batch in frames.batches(8, limit_bytes=500) for one in batch.message_ids] == [1, 2, 3]
        for wrong in ({"n": 0}, {"n": 1, "timeout_s": -1.0}):
            with pytest.raises(UsageError):
                next(frames.batches(**wrong))


def test_a_group_shares_batches(broker):
    fill(broker, range(1, 101))
    found: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with Consumer(STREAM, broker=broker, group="ml", prefetch_messages=4) as frames:
            for batch in frames.batches(8):
                with lock:
                    found.extend(batch.message_ids)

    members = [threading.Thread(target=work) for _ in range(2)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert sorted(found) == list(range(1, 101))


def test_files_give_the_same_batches(broker, tmp_path):
    fill(broker, range(1, 8))
    assert run_handler(WriteHandler(tmp_path), str(STREAM), broker=broker) == 0
    (path,) = tmp_path.glob("**/*.nxs")
    with Consumer(path) as frames:
        batches = list(frames.batches(4))
    assert [batch.message_ids for batch in batches] == [(1, 2, 3, 4), (5, 6, 7)]
    np.testing.assert_array_equal(batches[1].array[:, 0, 0], [5, 6, 7])


def test_modules_of_a_detector_make_a_batch_of_stacks(broker):
    with (
        Producer(STREAM, broker=broker, n_parts=2, part=1) as left,
        Producer(STREAM, broker=broker, n_parts=2, part=2) as right,
    ):
        for message_id in range(1, 4):
            left.send_array(message_id, image(message_id))
            right.send_array(message_id, image(10 * message_id))
        left.flush()
        right.flush()
        left.finish(3)
    with Consumer(STREAM, broker=broker) as frames:
        (batch,) = frames.batches(5)
    assert batch.array.shape == (3, 2, *SHAPE)
    np.testing.assert_array_equal(batch.array[:, 1, 0, 0], [10, 20, 30])
