"""Buffers to a socket: all of them, in order, with the kernel's timeout; on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from beamstream.protocol.sending import (
    LOCAL_SEND_BYTES,
    MAX_PIECES,
    is_of_this_host,
    limit_waiting,
    send_pieces,
    wait_in_kernel,
)

TIMEOUT_S = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(TIMEOUT_S)
        wait_in_kernel(ours, TIMEOUT_S)
        yield ours, theirs


def receive(theirs: socket.socket, n_bytes: int, into: list[bytes]) -> None:
    while n_bytes:
        into.append(theirs.recv(min(n_bytes, 1 << 16)))
        n_bytes -= len(into[-1])


@pytest.mark.parametrize(
    "pieces",
    [
        [b"a"],
        [b"", b"header", memoryview(bytes(range(256)) * 20_000), b"", b"tail"],
        [b"%d;" % number for number in range(3 * MAX_PIECES + 1)],
        [bytes([number]) * 300_000 for number in range(40)],
        [],
    ],
    ids=["one", "large between small", "more than one call takes", "more than the socket holds", "none"],
)
def test_all_of_it_arrives_in_order(pair, pieces):
    ours, theirs = pair
    wanted = b"".join(pieces)
    got: list[bytes] = []
    reader = threading.Thread(target=receive, args=(theirs, len(wanted), got))
    reader.start()
    send_pieces(ours, iter(pieces))
    reader.join(TIMEOUT_S)
    assert b"".join(got) == wanted


def test_who_takes_nothing_is_given_up_after_the_timeout(pair):
    ours, _ = pair
    wait_in_kernel(ours, 0.05)
    with pytest.raises(TimeoutError):
        send_pieces(ours, [bytes(8 << 20)])


def test_a_connection_that_is_lost_is_an_error(pair):
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ConnectionError):
        send_pieces(ours, [bytes(8 << 20)])


def test_how_much_may_wait_is_set_for_servers_on_this_host_only(pair):
    ours, _ = pair
    limit_waiting(ours)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= LOCAL_SEND_BYTES
    with socket.socket() as unconnected:
        found_by_kernel = unconnected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        limit_waiting(unconnected)
        assert unconnected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == found_by_kernel


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_loopback_is_of_this_host(family, host):
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listening, socket.create_connection(listening.getsockname()[:2]) as ours:
        assert is_of_this_host(ours)
