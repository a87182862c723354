"""beamstream itself: `stream broker run`, a `Producer`, and for each reader a `Consumer` with a group of its own.

The groups are required ones: nothing leaves memory that they have not acknowledged, and a producer that is faster
waits. Both ends compute XXH3-64 of each payload for themselves, which is part of what is measured: the harness reads
every byte once more. With a tier given, the producer is asked for that one, and readers find it by themselves.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from peer import RECEIVE_S, Message, Outlet, Peer, Receive, Run, Served
from program import running

ADDRESS = "benchmark/peers/run"


class Beamstream(Peer):
    """With one of its tiers, or the one that it takes by itself."""

    gives_up = "(hashes each payload on both ends, which is counted)"
    modules = ("beamstream",)
    requirements = ("beamstream",)

    def __init__(self, tier: str | None = None) -> None:
        self.name = "beamstream" if tier is None else f"beamstream-{tier}"
        self._tier = {} if tier is None else {"tier": tier}

    def find_flaw(self, run: Run) -> str | None:
        from beamstream import Producer

        if self._tier and "tier" not in inspect.signature(Producer).parameters:
            return f"this version has no tier {self._tier['tier']!r}; take a newer one"
        return None

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        broker = ("broker", "run", "--json", "--port", "0", "--memory", str(run.memory_bytes))
        with running((sys.executable, "-m", "beamstream.cli", "--log-level", "warning", *broker), _announced) as said:
            yield Served(where={"url": said["url"]}, pids=(said["pid"], said["server_pid"]))

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        from beamstream import Producer

        with Producer(
            ADDRESS, broker=where["url"], block_timeout_s=None, retry_timeout_s=None, **self._tier
        ) as producer:

            def send(messages: Iterable[Message]) -> None:
                for number, payload in messages:
                    producer.send(number, payload, shape=(run.size_bytes,), dtype="|u1")
                producer.flush()

            yield Outlet(send=send)

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        from beamstream import Consumer
        from beamstream.errors import NothingNewError

        with Consumer(ADDRESS, broker=where["url"], group=f"reader-{which}", required=True) as consumer:
            last = None

            def receive(_limit: int) -> list[Message]:
                nonlocal last
                if last is not None:
                    consumer.acknowledge(last)
                    last = None
                try:
                    last = consumer.next(RECEIVE_S)
                except NothingNewError:
                    return []
                return [(last.message_id, last.payload)]

            yield receive


def _announced(lines: list[str]) -> dict[str, Any] | None:
    """Return what a broker says once it is ready."""
    said: dict[str, Any] | None = next((json.loads(line) for line in lines if line.startswith("{")), None)
    return said
