"""Strings from a socket: whole, in order, and nothing behind them is taken; on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from beamstream.protocol.buffers import ReceiveBuffers
from beamstream.protocol.receiving import LARGE_BYTES, receive_strings
from beamstream.protocol.sending import wait_in_kernel

TIMEOUT_S = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wait_in_kernel(ours, TIMEOUT_S)
        yield ours, theirs


def packed(strings: list[bytes | None]) -> bytes:
    one_by_one = (b"$-1\r\n" if one is None else b"$%d\r\n%s\r\n" % (len(one), one) for one in strings)
    return b"*%d\r\n" % len(strings) + b"".join(one_by_one)


@pytest.mark.parametrize(
    "strings",
    [
        [],
        [b"a"],
        [b"", None, b"\r\n$3\r\n", None, b""],
        [bytes(range(256)) * 20_000, None, b"x" * 3_000_000],
    ],
    ids=["none", "one", "empty, missing, like lines", "more than the socket holds"],
)
def test_strings_come_whole_and_what_follows_stays(pair, strings):
    ours, theirs = pair
    sending = threading.Thread(target=theirs.sendall, args=(packed(strings) + b"+next\r\n",))
    sending.start()
    assert receive_strings(ours, ReceiveBuffers()) == strings
    sending.join()
    assert ours.recv(100) == b"+next\r\n"


def test_large_strings_can_only_be_read_and_their_memory_is_used_again(pair):
    ours, theirs = pair
    buffers = ReceiveBuffers()
    for number in range(20):
        strings = [bytes([number + n]) * LARGE_BYTES for n in range(3)]
        sending = threading.Thread(target=theirs.sendall, args=(packed(strings),))
        sending.start()
        received = receive_strings(ours, buffers)
        sending.join()
        assert received == strings
        assert all(memoryview(one).readonly for one in received)
    assert buffers.known_bytes < 7 * (LARGE_BYTES + 8192)


def test_an_answer_in_single_bytes_is_put_together(pair):
    ours, theirs = pair

    def dribble() -> None:
        for byte in packed([b"frame", None, b"12"]):
            theirs.sendall(bytes([byte]))

    sending = threading.Thread(target=dribble)
    sending.start()
    assert receive_strings(ours, ReceiveBuffers()) == [b"frame", None, b"12"]
    sending.join()


def test_another_answer_is_left_to_whoever_understands_it(pair):
    ours, theirs = pair
    theirs.sendall(b"-LOADING\r\n")
    assert receive_strings(ours, ReceiveBuffers()) is None
    assert ours.recv(100) == b"-LOADING\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"*1\r\n:5\r\n", "':5"),
        (b"*1\r\n$5\r\n12345678", "longer than the 5 bytes"),
        (b"*1\r\n$x\r\n", "'\\$x"),
        (b"*1\r\n$%d\r\n" % (1 << 30), "1073741824"),
        (b"*" + b"1" * 200, "111"),
        (b"*1\r\n$5\r\n123", "closed"),
        (b"*2\r\n$1\r\na\r\n", "closed"),
    ],
    ids=["a number", "too long", "no number", "more than there can be", "an endless line", "cut off", "one missing"],
)
def test_what_is_no_array_of_strings_is_an_error(pair, answer, said):
    ours, theirs = pair
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError, match=said):
        receive_strings(ours, ReceiveBuffers())


def test_a_server_that_does_not_go_on_is_not_waited_for_for_ever(pair):
    ours, theirs = pair
    wait_in_kernel(ours, 0.05)
    theirs.sendall(b"*1\r\n$5\r\n123")
    with pytest.raises(TimeoutError):
        receive_strings(ours, ReceiveBuffers())
