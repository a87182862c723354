"""Bare redis-py, everybody's first try: the payload in XADD, read with XREADGROUP, acknowledged, trimmed.

The server is the one that our broker embeds, on the same kind of socket and with the same settings, its allocator's
among them. As their documentation advises for speed: hiredis parses the answers (README of hiredis-py), several entries
go in one pipeline («Redis pipelining»), come with one XREADGROUP COUNT and are acknowledged with one XACK, and the
stream is trimmed with MAXLEN ~ («Redis streaming with redis-py»), at a length that takes half of the server's memory.
The same page warns of it: trimming asks no group, and what a slow reader has not read by then is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from peer import RECEIVE_S, Message, Outlet, Peer, Receive, Run, Served

KEY = "frames"

BATCH_BYTES = 8 << 20
"""What goes or comes with one call [bytes]."""

MAX_BATCH = 64
"""The same [entries]."""


class RedisStreams(Peer):
    """One stream, one group for each reader."""

    name = "redis-streams"
    gives_up = "what is trimmed unread is lost; no checksums, no gaps stated, no spilling"
    modules = ("redis", "hiredis", "beamstream_broker")
    requirements = ("redis>=5.3", "hiredis>=3.0")
    drops = True

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        from beamstream_broker.embedded import EmbeddedServer

        with EmbeddedServer(memory_bytes=run.memory_bytes) as server:
            versions = {} if server.binary is None else {server.binary.path.name: server.binary.version}
            yield Served(where={"url": server.url}, pids=(server.pid,), versions=versions)

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        import redis

        length = run.fitting(run.memory_bytes // 2)

        def send(messages: Iterable[Message]) -> None:
            waiting = iter(messages)
            while batch := list(islice(waiting, _batch(run))):
                pipeline = client.pipeline(transaction=False)
                for number, payload in batch:
                    pipeline.xadd(KEY, {"number": number, "payload": payload}, maxlen=length, approximate=True)
                pipeline.execute()

        with redis.Redis.from_url(where["url"]) as client:
            yield Outlet(send=send)

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        import redis

        group, read = f"reader-{which}", []

        def receive(limit: int) -> list[Message]:
            pipeline = client.pipeline(transaction=False)
            if read:
                pipeline.xack(KEY, group, *read)
            pipeline.xreadgroup(group, "reader", {KEY: ">"}, count=min(limit, _batch(run)), block=int(1000 * RECEIVE_S))
            answer = pipeline.execute()[-1]
            entries = answer[0][1] if answer else []
            read[:] = [entry_id for entry_id, _ in entries]
            return [(int(fields[b"number"]), fields[b"payload"]) for _, fields in entries]

        with redis.Redis.from_url(where["url"], protocol=2) as client:
            client.xgroup_create(KEY, group, id="0", mkstream=True)
            yield receive


def _batch(run: Run) -> int:
    """Return how many entries go or come with one call."""
    return min(MAX_BATCH, max(1, BATCH_BYTES // run.size_bytes))
