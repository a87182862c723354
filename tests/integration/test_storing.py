"""Payloads into a server that is full and has room again: what it took is not sent again, and little in vain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from beamstream.errors import BufferFullError, ServerUnavailableError
from beamstream.protocol.client import Server
from beamstream.protocol.storing import PayloadStore
from beamstream_broker.embedded import EmbeddedServer

PAYLOAD = bytes(1 << 20)
N_PAYLOADS = 16
PAYLOADS = [(f"p{number}", PAYLOAD) for number in range(N_PAYLOADS)]
ROOM_FOR = 6
"""Payloads that fit beside what the server needs for itself."""


@pytest.fixture
def running() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        yield server


@pytest.fixture
def server(running) -> Server:
    return Server(running.url)


def limit(server: Server, n_payloads: int) -> None:
    used = dict(line.split(":", 1) for line in server.call("INFO", "memory").decode().split() if ":" in line)
    server.call("CONFIG", "SET", "maxmemory", int(used["used_memory"]) + n_payloads * len(PAYLOAD))


def read_bytes(server: Server) -> int:
    info = server.call("INFO", "stats").decode()
    return int(info.partition("total_net_input_bytes:")[2].split()[0])


def there(server: Server) -> int:
    return int(server.call("EXISTS", *(key for key, _ in PAYLOADS)))


def test_a_full_server_is_not_sent_what_it_would_refuse_and_gets_the_rest_when_it_has_room(server):
    store = PayloadStore(server)
    limit(server, ROOM_FOR)
    answers = store.store(PAYLOADS)
    n_taken = answers.count(None)
    assert 0 < n_taken < N_PAYLOADS
    assert all(isinstance(answer, BufferFullError) for answer in answers if answer is not None)
    before = read_bytes(server)
    for _ in range(5):
        assert store.store(PAYLOADS).count(None) in (n_taken, n_taken + 1)  # there was room for nearly one more
    n_in_vain = 5
    assert read_bytes(server) - before < (n_in_vain + 1) * len(PAYLOAD)
    limit(server, -1)
    before = read_bytes(server)
    for _ in range(5):
        store.store(PAYLOADS)
    assert read_bytes(server) - before < len(PAYLOAD)
    limit(server, 1000)
    assert store.store(PAYLOADS) == [None] * N_PAYLOADS
    assert read_bytes(server) - before < (N_PAYLOADS - n_taken + 1) * len(PAYLOAD)
    assert there(server) == N_PAYLOADS
    assert store.store(PAYLOADS) == [None] * N_PAYLOADS  # told again after all was taken, it is stored again
    assert read_bytes(server) - before > (2 * N_PAYLOADS - n_taken - 1) * len(PAYLOAD)


def test_after_a_full_server_more_and_more_is_given_at_once(server):
    store = PayloadStore(server)
    limit(server, ROOM_FOR)
    store.store(PAYLOADS)
    server.call("UNLINK", *(key for key, _ in PAYLOADS))
    limit(server, ROOM_FOR)
    before = read_bytes(server)
    others = [(f"q{number}", PAYLOAD) for number in range(4 * N_PAYLOADS)]
    n_taken = store.store(others).count(None)
    assert n_taken >= ROOM_FOR - 1
    assert read_bytes(server) - before < (2 * n_taken + 2) * len(PAYLOAD)


def test_what_was_taken_is_not_relied_on_when_the_server_was_lost(running):
    server = Server(running.url)
    store = PayloadStore(server)
    limit(server, ROOM_FOR)
    assert None in store.store(PAYLOADS)
    running.restart()
    with contextlib.suppress(ServerUnavailableError):  # by the connection of before
        store.store(PAYLOADS)
    assert store.store(PAYLOADS) == [None] * N_PAYLOADS
    assert there(server) == N_PAYLOADS
