"""karabo-bridge, the European XFEL's: its own `ServerInThread` and `Client`.

The client asks for each train and gets it: REQ and REP, the default of both («Karabo Bridge protocol» in its
documentation). PUSH and PULL, which both classes offer too, save the asking and are measured as well. A server gives
each train to one client, so that every reader gets everything there is a server for each of them. Message format 2.2,
the default, is the one whose arrays travel apart, «allowing arrays to be serialised more efficiently».
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from peer import RECEIVE_S, Message, Outlet, Peer, Receive, Run

SOURCE = "DETECTOR"
READER_SOCKETS = {"REP": "REQ", "PUSH": "PULL"}


class KaraboBridge(Peer):
    """A server in the producer for each reader."""

    gives_up = "sent again for each reader, waits for the slowest; no replay, nothing acknowledged"
    modules = ("karabo_bridge", "numpy")
    requirements = ("karabo-bridge>=0.7",)

    def __init__(self, socket: str) -> None:
        self.name = "karabo-bridge" if socket == "REP" else f"karabo-bridge-{socket.lower()}"
        self._socket = socket

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        import numpy as np
        from karabo_bridge import ServerInThread

        with ExitStack() as stack:
            servers = [
                stack.enter_context(ServerInThread("tcp://127.0.0.1:*", sock=self._socket))
                for _ in range(run.n_readers)
            ]

            def send(messages: Iterable[Message]) -> None:
                for number, payload in messages:
                    train = {SOURCE: {"image.data": np.frombuffer(payload, np.uint8)}}
                    about = {SOURCE: {"source": SOURCE, "timestamp.tid": number}}
                    for server in servers:
                        server.feed(train, about)

            yield Outlet(send=send, where={"endpoints": [server.endpoint for server in servers]})

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        from karabo_bridge import Client

        sock = READER_SOCKETS[self._socket]
        with Client(where["endpoints"][which], sock=sock, timeout=RECEIVE_S) as client:

            def receive(_limit: int) -> list[Message]:
                try:
                    data, about = client.next()
                except TimeoutError:
                    return []
                return [(about[SOURCE]["timestamp.tid"], data[SOURCE]["image.data"])]

            yield receive
