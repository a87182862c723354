"""The queue between a consumer's threads: when it lets more be fetched."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from beamstream import Address, Frame, Header
from beamstream.consumer.delivery import Delivery

FRAME_BYTES = 100


def filled(n_frames: int, *, limit_messages: int, limit_bytes: int) -> Delivery:
    delivery = Delivery(limit_bytes, limit_messages)
    for message_id in range(1, n_frames + 1):
        header = Header(payload_bytes=FRAME_BYTES, checksum=0, timestamp_ns=0)
        delivery.put(Frame(address=Address("b", "s", "t"), message_id=message_id, header=header, payload=b""))
    return delivery


@pytest.mark.parametrize(
    ("limit_messages", "limit_bytes"), [(8, 8 * FRAME_BYTES), (8, 100 * FRAME_BYTES), (100, 8 * FRAME_BYTES)]
)
def test_a_queue_is_filled_up_again_when_it_is_half_empty(limit_messages: int, limit_bytes: int) -> None:
    delivery = filled(8, limit_messages=limit_messages, limit_bytes=limit_bytes)
    has_room = []
    for _ in range(8):
        delivery.take(timeout_s=0)
        has_room.append(delivery.wait_room(FRAME_BYTES, timeout_s=0))
    assert has_room == [False] * 3 + [True] * 5


def test_a_queue_for_one_frame_takes_no_second_one() -> None:
    assert not filled(1, limit_messages=1, limit_bytes=100 * FRAME_BYTES).wait_room(FRAME_BYTES, timeout_s=0)


def test_a_frame_of_more_than_half_the_limit_does_not_keep_out_one_that_fits_beside_it() -> None:
    delivery = filled(1, limit_messages=8, limit_bytes=FRAME_BYTES + 60)
    assert delivery.wait_room(60, timeout_s=0)
    assert not delivery.wait_room(61, timeout_s=0)


def test_an_empty_queue_takes_a_frame_larger_than_its_limit() -> None:
    assert filled(0, limit_messages=8, limit_bytes=10).wait_room(FRAME_BYTES, timeout_s=0)


def test_who_hands_over_is_told_whether_somebody_waited() -> None:
    delivery = filled(1, limit_messages=8, limit_bytes=1000)
    frame = delivery.take(0)
    assert frame is not None
    assert not delivery.put_all([frame])
    assert delivery.take(0) is frame
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(delivery.take, 10)
        while not delivery.is_awaited:
            time.sleep(0.001)
        assert delivery.put_all([frame])
        assert taken.result(10) is frame
    assert not delivery.is_awaited
