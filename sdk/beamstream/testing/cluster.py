"""A cluster of servers on this machine, to try things on: nodes of one program, each with its share of the slots.

Not for production: no replicas, nothing is kept, and what is killed hard leaves its nodes behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamstream.errors import ServerRefusedError, ServerUnavailableError
from beamstream.protocol.connections import Connections
from beamstream.protocol.slots import N_SLOTS

from .ports import free_port
from .waiting import wait_until

START_TIMEOUT_S = 30.0
"""How long the nodes may take until all know one another [s]; they take one or two."""

END_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node: its process id, its port, the port on which nodes talk to one another, and a connection to it alone."""

    pid: int
    port: int
    bus_port: int
    connections: Connections

    @property
    def url(self) -> str:
        """What producers and consumers are told; that of any node is as good."""
        return f"redis://127.0.0.1:{self.port}"

    def call(self, *command: str | int) -> Any:
        """Run a command on this node, wherever its key is."""
        return self.connections.call(*command)


@contextlib.contextmanager
def running_cluster(
    program: Path, n_nodes: int, *, memory_bytes: int = 256 << 20, environment: Mapping[str, str] | None = None
) -> Iterator[list[ClusterNode]]:
    """Run a cluster for as long as the block lasts.

    Parameters
    ----------
    program : Path
        The server: valkey-server or redis-server.
    n_nodes : int
        Of how many nodes, each with the same share of the slots.
    memory_bytes : int
        What each may hold [bytes].
    environment : mapping of str to str, optional
        What the nodes have in their environment beside ours.

    Raises
    ------
    ServerUnavailableError
        If they do not come up.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beamstream-cluster-")))
        nodes = []
        for number in range(n_nodes):
            own = folder / str(number)
            own.mkdir()
            nodes.append(stack.enter_context(_running_node(program, own, memory_bytes, environment or {})))
        for number, node in enumerate(nodes):
            first, last = number * N_SLOTS // n_nodes, (number + 1) * N_SLOTS // n_nodes - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        _wait_until(lambda: all(_knows(node, n_nodes) for node in nodes), nodes[0].url, folder)
        yield nodes


@contextlib.contextmanager
def _running_node(
    program: Path, folder: Path, memory_bytes: int, environment: Mapping[str, str]
) -> Iterator[ClusterNode]:
    port, bus_port = free_port(), free_port()
    options = {
        "port": port,
        "cluster-port": bus_port,
        "cluster-enabled": "yes",
        "bind": "127.0.0.1",
        "dir": folder,
        "maxmemory": memory_bytes,
        "save": "",
    }
    command = [str(program), *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment}) as process,
    ):
        url = f"redis://127.0.0.1:{port}"
        connections = Connections(url, url)
        try:
            _wait_until(lambda: _answers(connections), url, folder)
            yield ClusterNode(process.pid, port, bus_port, connections)
        finally:
            connections.close()
            process.kill()
            process.wait(END_TIMEOUT_S)


def move_slot(nodes: Sequence[ClusterNode], slot: int, to: ClusterNode) -> None:
    """Give a slot with its keys to another node, as an operator's tool does."""
    of_slot = next(node for node in nodes if any(first <= slot <= last for first, last in _own_slots(node)))
    if of_slot is to:
        return
    ids = {node: node.call("CLUSTER", "MYID").decode() for node in (of_slot, to)}
    to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[of_slot])
    of_slot.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
    ends_at = time.monotonic() + END_TIMEOUT_S
    while keys := of_slot.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
        names = [key.decode() for key in keys]
        try:
            of_slot.call("MIGRATE", "127.0.0.1", to.port, "", 0, int(END_TIMEOUT_S * 1000), "KEYS", *names)
        except ServerRefusedError as error:
            if "MOVED" not in error.reason or time.monotonic() > ends_at:
                raise
            # News of an earlier move came late, and has told the other node that it is not to import.
            to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[of_slot])
    for node in (to, of_slot, *nodes):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[to])


def _own_slots(node: ClusterNode) -> list[tuple[int, int]]:
    return [(first, last) for first, last, (_, port, *_), *_ in node.call("CLUSTER", "SLOTS") if port == node.port]


def _knows(node: ClusterNode, n_nodes: int) -> bool:
    text = node.call("CLUSTER", "INFO").decode()
    is_whole = "cluster_state:ok" in text and f"cluster_known_nodes:{n_nodes}\r" in text
    return is_whole and len(node.call("CLUSTER", "SLOTS")) == n_nodes


def _answers(connections: Connections) -> bool:
    try:
        connections.call("PING")
    except ServerUnavailableError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], url: str, folder: Path) -> None:
    try:
        wait_until(condition, "the cluster", START_TIMEOUT_S)
    except AssertionError as error:
        logs = [path.read_text("utf-8", "replace")[-1000:] for path in folder.rglob("log")]
        raise ServerUnavailableError(url, "the nodes of the cluster do not come up: " + "\n".join(logs)) from error
