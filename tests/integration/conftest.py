"""What integration tests share: one real server for the whole run, empty for every test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from beamstream_broker.embedded import EmbeddedServer
from beamstream_producers.eiger.transitions import IGNORED_BECAUSE

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


@pytest.fixture(scope="session")
def account() -> Callable[[str], Counter[str]]:
    """Read a connector's last line of counts, and check that every message that it received is one of them."""

    def read(log: str) -> Counter[str]:
        line = next(line for line in reversed(log.splitlines()) if "received " in line)
        pairs = [field.rpartition(" ") for field in line.partition("eiger")[2].split("  ") if field.strip()]
        counts = Counter({name.strip(): int(number) for name, _, number in pairs if number.isdecimal()})
        ignored = sum(counts[reason.replace("_", " ")] for reason in IGNORED_BECAUSE)
        used = counts["series"] + counts["images"] + counts["ends"]
        assert counts["received"] == used + ignored + counts["rejected"], line
        assert counts["rejected"] == sum(number for name, number in counts.items() if name.startswith("rejected "))
        assert counts["frames"] == counts["sent"], "everything that was delivered is in the stream"
        return counts

    return read
