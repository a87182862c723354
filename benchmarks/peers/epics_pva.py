"""PvaPy, EPICS pvAccess in Python: a `PvaServer` in the producer, monitors in the readers, NTNDArrays as payloads.

As its documentation does where it measures itself («Streaming Framework Throughput Tests», and
`pvapy-ad-sim-server`): the arrays are made before and published with `updateUnchecked`, where only the pointer to the
pixels moves; readers have a monitor that fills a `PvObjectQueue`, from which objects are taken without a copy; and the
server keeps a queue for each reader, of a quarter of what servers hold elsewhere («typically set to less than 1 second
worth of» frames). What does not fit into that queue is replaced by what is newer, in silence. The documentation's own
figures are the highest rates at which no frame was missed, which is the second line here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from peer import QUEUE_BYTES, RECEIVE_S, Message, Outlet, Peer, Receive, Run, Served

CHANNEL = "benchmark:image"

CONNECT_TIMEOUT_S = 10.0
"""How long a reader may take to find the server [s]."""


class EpicsPva(Peer):
    """One channel that all monitor."""

    name = "pvapy"
    gives_up = "drops what a slow reader has no room for; no replay, nothing acknowledged"
    modules = ("pvaccess", "numpy")
    requirements = ("pvapy>=5.4", "numpy")
    drops = True

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        from beamstream.testing.ports import free_port

        yield Served(where={"server_port": free_port(socket.SOCK_STREAM), "search_port": free_port(socket.SOCK_DGRAM)})

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        _use_loopback(where)
        import numpy as np
        import pvaccess

        frames: dict[int, Any] = {}  # by payload: there are few different ones, and they stay

        def send(messages: Iterable[Message]) -> None:
            for number, payload in messages:
                frame = frames.get(id(payload))
                if frame is None:
                    frame = frames[id(payload)] = pvaccess.NtNdArray()
                    frame["value"] = {"ubyteValue": np.frombuffer(payload, np.uint8)}
                frame["uniqueId"] = number
                server.updateUnchecked(CHANNEL, frame)

        server = pvaccess.PvaServer()
        server.addRecord(CHANNEL, pvaccess.NtNdArray(), None)
        server.start()
        try:
            yield Outlet(send=send)
        finally:
            server.stop()

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        _use_loopback(where)
        import pvaccess

        updates = pvaccess.PvObjectQueue(run.fitting(QUEUE_BYTES))
        channel = pvaccess.Channel(CHANNEL, pvaccess.PVA)
        channel.qMonitor(updates, f"record[queueSize={run.fitting(run.outgoing_bytes)}]field(uniqueId,value)")
        _wait_for_first(updates)

        def receive(_limit: int) -> list[Message]:
            try:
                frame = updates.get(RECEIVE_S)
            except pvaccess.QueueEmpty:
                return []
            return [(frame["uniqueId"], frame["value"][0]["ubyteValue"])]

        try:
            yield receive
        finally:
            channel.stopMonitor()


def _wait_for_first(updates: Any) -> None:
    """Wait for what a monitor begins with, the record as it is: nothing yet."""
    import pvaccess

    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            updates.get(deadline_s - time.monotonic())
        except pvaccess.QueueEmpty:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the channel was not found within {CONNECT_TIMEOUT_S:g} s") from None
        else:
            return


def _use_loopback(where: Mapping[str, Any]) -> None:
    """Keep to this machine and to ports of our own; EPICS reads this when it is imported."""
    server, search = str(where["server_port"]), str(where["search_port"])
    os.environ.update(
        EPICS_PVA_ADDR_LIST="127.0.0.1",
        EPICS_PVA_AUTO_ADDR_LIST="NO",
        EPICS_PVA_NAME_SERVERS=f"127.0.0.1:{server}",
        EPICS_PVA_SERVER_PORT=server,
        EPICS_PVA_BROADCAST_PORT=search,
        EPICS_PVAS_INTF_ADDR_LIST="127.0.0.1",
        EPICS_PVAS_SERVER_PORT=server,
        EPICS_PVAS_BROADCAST_PORT=search,
    )
