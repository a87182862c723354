"""What integration tests share: one real server for the whole run, empty for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from beamstream_broker.embedded import EmbeddedServer

SERVER_MEMORY_BYTES = 1024**3


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A running server; tests that fill or end one start their own."""
    binary = os.environ.get("BEAMSTREAM_TEST_SERVER")  # another server program, e.g. Redis 7
    with EmbeddedServer(memory_bytes=SERVER_MEMORY_BYTES, binary=Path(binary) if binary else None) as running:
        yield running


@pytest.fixture
def broker(server: EmbeddedServer) -> str:
    """URL of the server, with nothing in it."""
    server.check()
    client = redis.Redis.from_url(server.url)
    try:
        client.flushall()
        client.config_resetstat()
    finally:
        client.close()
    return server.url
