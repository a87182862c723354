"""A cluster of servers as one: every command goes to the node that has its key.

Keys of one stream share a hash tag and so a node, which is where its index, its groups and the scripts are; its
payloads have none and are spread over all nodes. What goes to several nodes at once is sent and received by as many
threads, so that the nodes work side by side. When a slot has moved, the map is read again and the command repeated;
when a node is lost, or while a slot moves, repeating is the caller's business as with one server that does not answer.

Commands about a node are answered by one for all: ``INFO`` by the one whose memory is fullest, because that is the one
that refuses first, ``SCAN`` by one after the other, everything else by the first.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis.crc import key_slot

from beamstream.errors import ServerUnavailableError

from .connections import Connections, MovedError
from .packing import Argument
from .slots import OF_SEVERAL_KEYS, Node, SlotMap, bytes_of, first_key, read_slots

MAX_MOVES = 5
"""How often one command is sent after a slot that moves before the cluster is taken for one that is being mended."""

MAX_THREADS = 16
"""Most nodes that one reader or producer is busy with at a time."""

T = TypeVar("T")


class Cluster:
    """The nodes of a cluster; safe to share between threads. Methods are those of `Connections`.

    Parameters
    ----------
    seed : Connections
        The node whose URL was given; it is asked who else there is.
    url, shown_url : str
        That URL, with which user and password come, and what error messages call it.
    """

    def __init__(self, seed: Connections, url: str, shown_url: str) -> None:
        self._seed = seed
        self._url = url
        self._shown_url = shown_url
        self._nodes: dict[Node, Connections] = {}
        self._lock = threading.Lock()
        self._map: SlotMap | None = None
        self._threads: ThreadPoolExecutor | None = None

    # --- the map ---------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that have slots."""
        return self._slots().nodes

    def _slots(self) -> SlotMap:
        with self._lock:
            if self._map is None:
                self._map = self._read_map()
            return self._map

    def _read_map(self) -> SlotMap:
        """Ask the first node that answers, those that were known last."""
        failure: ServerUnavailableError | None = None
        for asked, connections in [(self._host, self._seed), *((node.host, one) for node, one in self._nodes.items())]:
            try:
                answer = connections.cluster_slots()
            except ServerUnavailableError as error:
                failure = error
                continue
            if answer:
                return read_slots(answer, asked)
        raise failure or ServerUnavailableError(self._shown_url, "no node of the cluster has any slots")

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or "127.0.0.1"

    def _at(self, node: Node) -> Connections:
        with self._lock:
            if node not in self._nodes:
                parts = urlsplit(self._url)
                login, at, _ = parts.netloc.rpartition("@")
                scheme = "redis" if parts.scheme == "unix" else parts.scheme
                path = "" if parts.scheme == "unix" else parts.path
                url = urlunsplit((scheme, f"{login}{at}{node}", path, parts.query, ""))
                self._nodes[node] = Connections(url, f"{scheme}://{node}")
            return self._nodes[node]

    def _owner(self, command: Sequence[Argument]) -> Connections:
        key = first_key(command)
        slots = self._slots()
        if key is None:
            return self._at(slots.nodes[0])
        return self._at(self._owner_of(slots, key))

    def _owner_of(self, slots: SlotMap, key: Argument) -> Node:
        slot = key_slot(bytes_of(key))
        node = slots.owner(slot)
        if node is None:
            self._look_again()
            raise ServerUnavailableError(self._shown_url, f"no node of the cluster has slot {slot}")
        return node

    def _look_again(self) -> None:
        with self._lock:
            self._map = None

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except ServerUnavailableError:
            self._look_again()
            raise

    # --- commands --------------------------------------------------------------------------------------------------

    def call(self, *arguments: Argument) -> Any:
        """Run one command where its key is."""
        name = str(arguments[0]).upper()
        if name in OF_SEVERAL_KEYS and len(arguments) > 2:
            return sum(self._done_to_each(name, arguments[1:]))
        if name == "INFO":
            return self._info(arguments)
        if name == "SCAN":
            return self._scan(arguments)
        return self._follow(arguments, lambda node: node.call(*arguments))

    def begin(self, *arguments: Argument) -> Callable[[], Any]:
        """Run one command, and return what gives its answer: nobody does anything else meanwhile here."""
        answer = self.call(*arguments)
        return lambda: answer

    def begin_script(self, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Callable[[], Any]:
        """Run a script at once, as `begin`."""
        answer = self.script(source, keys, arguments)
        return lambda: answer

    def script(self, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script where its keys are."""
        return self._follow(("EVALSHA", "", len(keys), *keys), lambda node: node.script(source, keys, arguments))

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run several commands, those of each node in their order; errors come back as in `Connections.pipeline`."""
        answers = self._spread(
            [self._owner(command) for command in commands],
            lambda node, places: node.pipeline([commands[place] for place in places]),
        )
        return [
            self._answer(commands[place]) if isinstance(answer, MovedError) else answer
            for place, answer in enumerate(answers)
        ]

    def strings(self, keys: Sequence[str]) -> Sequence[bytes | memoryview | None]:
        """Get the strings under some keys, from all nodes at once; see `Connections.strings`."""
        slots = self._slots()
        answers = self._spread(
            [self._at(self._owner_of(slots, key)) for key in keys],
            lambda node, places: node.each_string([keys[place] for place in places]),
        )
        return [
            self.call("GET", key) if isinstance(answer, MovedError) else answer
            for key, answer in zip(keys, answers, strict=True)
        ]

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            nodes, self._nodes = list(self._nodes.values()), {}
            threads, self._threads = self._threads, None
        for connections in (self._seed, *nodes):
            connections.close()
        if threads is not None:
            threads.shutdown(wait=False)

    def _follow(self, command: Sequence[Argument], run: Callable[[Connections], T]) -> T:
        """Run a command at the node that has its key, and where that has gone."""
        for attempt in range(1, MAX_MOVES + 1):
            try:
                with self._watched():
                    return run(self._owner(command))
            except MovedError as error:
                self._look_again()
                if attempt == MAX_MOVES:
                    raise ServerUnavailableError(self._shown_url, error.reason) from error
        raise AssertionError

    def _answer(self, command: Sequence[Argument]) -> Any:
        return self._follow(command, lambda node: _raised(node.pipeline([command])[0]))

    def _spread(
        self, owners: Sequence[Connections], run: Callable[[Connections, Sequence[int]], Sequence[T]]
    ) -> list[T]:
        """Run something for each node with the places that fall to it; returns the answers in their places."""
        places: defaultdict[Connections, list[int]] = defaultdict(list)
        for place, owner in enumerate(owners):
            places[owner].append(place)
        work = [partial(run, node, of_node) for node, of_node in places.items()]
        with self._watched():
            begun = [self._pool().submit(one) for one in work[1:]]
            try:
                found = [one() for one in work[:1]]
            finally:
                wait(begun)  # whatever became of the first, no thread is left at work with what the caller takes back
            found += [one.result() for one in begun]
        ordered: list[Any] = [None] * len(owners)
        for of_node, answers in zip(places.values(), found, strict=True):
            for place, answer in zip(of_node, answers, strict=True):
                ordered[place] = answer
        return ordered

    def _pool(self) -> ThreadPoolExecutor:
        """Return threads for what is asked of other nodes at the same time."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="cluster")
            return self._threads

    def _done_to_each(self, name: str, keys: Sequence[Argument]) -> Iterator[int]:
        for answer in self.pipeline([(name, key) for key in keys]):
            yield int(_raised(answer))

    def _info(self, arguments: Sequence[Argument]) -> bytes:
        with self._watched():
            answers: list[bytes] = [self._at(node).call(*arguments) for node in self.nodes]
        return max(answers, key=fullness)

    def _scan(self, arguments: Sequence[Argument]) -> list[Any]:
        """Scan the nodes one after the other; the place of the node stands in the cursor."""
        said, _, cursor = bytes_of(arguments[1]).decode().rpartition(":")
        nodes, place = self.nodes, int(said or 0)
        if place >= len(nodes):
            return [b"0", []]
        with self._watched():
            there, keys = self._at(nodes[place]).call("SCAN", cursor, *arguments[2:])
        if there != b"0":
            return [b"%d:%s" % (place, there), keys]
        return [b"0" if place + 1 == len(nodes) else b"%d:0" % (place + 1), keys]


def fullness(info: bytes) -> float:
    """Return which part of a node's memory is used, as its ``INFO memory`` says; 0 where it says nothing.

    Examples
    --------
    >>> fullness(b"used_memory:50\\r\\nmaxmemory:200\\r\\n")
    0.25
    """
    fields = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    limit_bytes = int(fields.get(b"maxmemory", 0))
    return int(fields.get(b"used_memory", 0)) / limit_bytes if limit_bytes else 0.0


def _raised(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
