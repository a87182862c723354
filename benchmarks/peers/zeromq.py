"""Plain ZeroMQ, PUSH to PULL and PUB to SUB, over Unix sockets.

PUSH hands each message to one of those that pull, so that every reader gets everything the producer has a socket for
each of them and sends each message as many times; it waits while a reader's queue is full. PUB sends to all, and drops
what a reader's queue has no room for.

As the guide advises («ØMQ - The Guide», chapter 2): zero-copy for large messages (`copy=False` in pyzmq, on both
sides), one I/O thread per gigabyte in or out per second («I/O Threads»), and queues with a limit («High-Water Marks»).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from peer import QUEUE_BYTES, RECEIVE_S, Message, Outlet, Peer, Receive, Run, Served

DEFAULT_MARK = 1000
"""ZeroMQ's own high-water mark, which is not exceeded [messages]."""

N_IO_THREADS = 2
"""In the producer: for two gigabytes per second, and no more than there are cores on a small machine."""


class ZeroMQ(Peer):
    """Sockets of these two kinds."""

    modules = ("zmq",)
    requirements = ("pyzmq>=26.2",)

    def __init__(self, pattern: str) -> None:
        self.name = f"zeromq-{pattern}"
        self.drops = pattern == "pubsub"
        slow = (
            "drops what a slow reader has no room for"
            if self.drops
            else "sent again for each reader, waits for the slowest"
        )
        self.gives_up = f"{slow}; no replay, nothing acknowledged"

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        # Of Linux's abstract names, which are no files: nothing stays, whoever is killed.
        yield Served(where={"endpoint": f"ipc://@beamstream-peers-{secrets.token_hex(8)}-"})

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        import zmq

        with ExitStack() as stack:
            context = stack.enter_context(zmq.Context(io_threads=N_IO_THREADS))
            sockets = []
            for which in range(1 if self.drops else run.n_readers):
                socket = stack.enter_context(context.socket(zmq.PUB if self.drops else zmq.PUSH))
                socket.sndhwm = min(DEFAULT_MARK, run.fitting(run.outgoing_bytes))
                socket.linger = 0
                socket.bind(f"{where['endpoint']}{which}")
                sockets.append(socket)

            def send(messages: Iterable[Message]) -> None:
                for number, payload in messages:
                    head = number.to_bytes(8, "big")
                    for socket in sockets:
                        socket.send(head, zmq.SNDMORE)
                        socket.send(payload, copy=False)

            yield Outlet(send=send)

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        import zmq

        with zmq.Context() as context, context.socket(zmq.SUB if self.drops else zmq.PULL) as socket:
            socket.rcvhwm = min(DEFAULT_MARK, run.fitting(QUEUE_BYTES))
            if self.drops:
                socket.subscribe(b"")
            socket.connect(f"{where['endpoint']}{0 if self.drops else which}")

            def receive(_limit: int) -> list[Message]:
                if not socket.poll(int(1000 * RECEIVE_S)):
                    return []
                head, payload = socket.recv_multipart(copy=False)
                return [(int.from_bytes(head.bytes, "big"), payload.buffer)]

            yield receive
