"""The socket on the detector: what it may hold, as what it holds is lost with its process."""

from __future__ import annotations

import pytest

from beamstream_producers.eiger.endpoint import HELD_BYTES, MAX_HELD, MIN_HELD, DetectorSocket


@pytest.mark.parametrize("image_bytes", [1, 2**20, 36 * 2**20, 2**40])
def test_what_waits_in_the_socket_is_bounded_in_bytes_and_not_only_in_messages(image_bytes):
    socket = DetectorSocket("ipc:///nobody")
    try:
        socket.hold(image_bytes)
        held = socket._socket.rcvhwm
        assert MIN_HELD <= held <= MAX_HELD
        assert held * image_bytes <= HELD_BYTES or held == MIN_HELD
    finally:
        socket.close()
