"""The socket on the detector: how much waits in it may be lowered while a detector waits for room, and never raised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from beamstream_producers.eiger.endpoint import HELD_BYTES, HELD_MESSAGES, MIN_HELD, DetectorSocket

N_MESSAGES = 400
TIMEOUT_S = 30.0


@pytest.fixture
def full() -> Iterator[DetectorSocket]:
    """A socket whose detector has more to send than there is room for."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
        detector.linger = 0
        detector.sndhwm = 0
        port = detector.bind_to_random_port("tcp://127.0.0.1")
        socket = DetectorSocket(f"tcp://127.0.0.1:{port}")
        for number in range(N_MESSAGES):
            detector.send(number.to_bytes(4, "big") + bytes(200_000))
        yield socket
        socket.close()


def test_all_messages_come_in_order_whatever_images_are_said_to_be(full):
    numbers = []
    for n_taken in range(N_MESSAGES):
        (part,) = full.receive(TIMEOUT_S)
        numbers.append(int.from_bytes(part[:4], "big"))
        if n_taken % 40 == 0:
            full.hold(1 if n_taken % 80 else HELD_BYTES // 10)  # small ones raise nothing, large ones lower it
    assert numbers == list(range(N_MESSAGES))


def test_large_images_lower_what_may_wait_to_a_few_and_small_ones_do_not_raise_it(full):
    assert full._socket.rcvhwm == HELD_MESSAGES
    full.hold(1)
    assert full._socket.rcvhwm == HELD_MESSAGES
    full.hold(HELD_BYTES // 50)
    assert full._socket.rcvhwm == 50
    full.hold(HELD_BYTES)
    assert full._socket.rcvhwm == MIN_HELD
    full.hold(1)
    assert full._socket.rcvhwm == MIN_HELD
