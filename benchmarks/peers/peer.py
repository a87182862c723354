"""What a peer has to offer to be measured: a server if it needs one, a way to send, a way to read.

A peer is one module with one class. The command and the processes of a run talk to nothing else. `serve` runs in the
command's process, `sending` and `reading` each in a process of its own, with the interpreter that has the peer's
packages: so a module imports its peer's packages, and those of this project, inside of these functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

QUEUE_BYTES = 64 << 20
"""What a reader's queue may hold, where a peer leaves that open [bytes]: what our own consumer fetches ahead."""

RECEIVE_S = 0.25
"""How long a reader waits for a message before it looks whether all are sent [s]."""

Message = tuple[int, Any]
"""A number, from 1, and the bytes that belong to it: anything with the buffer protocol."""

Receive = Callable[[int], Sequence[Message]]
"""Returns what came next, at most so many messages, or nothing after `RECEIVE_S`. What the call before returned has
been read by then, and is acknowledged where the peer has such a thing. The number is that of the messages that are
still to come: nobody is to wait for a batch to fill up at the end of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all peers are told about a run.

    Attributes
    ----------
    size_bytes : int
        Size of a payload [bytes].
    n_readers : int
        How many readers there are, each of which is to get all messages.
    memory_bytes : int
        What a server may hold in memory [bytes].
    """

    size_bytes: int
    n_readers: int
    memory_bytes: int

    @property
    def outgoing_bytes(self) -> int:
        """What a queue in the producer may hold for each reader, where there is no server [bytes]."""
        return self.memory_bytes // 4

    def fitting(self, memory_bytes: int) -> int:
        """Return how many payloads fit into so much memory, at least two [messages]."""
        return max(2, memory_bytes // self.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that runs.

    Attributes
    ----------
    where : dict
        What the producer and the readers need to find it.
    pids : tuple of int
        Processes whose CPU time counts.
    versions : dict
        Version of each program.
    """

    where: dict[str, Any] = field(default_factory=dict)
    pids: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """The producer's end.

    Attributes
    ----------
    send : callable
        Takes messages and sends them all; whatever may be lost on this side is on its way when it returns.
    where : dict
        What the readers need beside what the server said.
    """

    send: Callable[[Iterable[Message]], None]
    where: dict[str, Any] = field(default_factory=dict)


class Peer:
    """One of those that are compared.

    Attributes
    ----------
    name : str
        What it is called in the table and with `--peer`.
    gives_up : str
        What whoever takes it does without, in a few words.
    modules : tuple of str
        What has to be there to be imported.
    requirements : tuple of str
        What is to be installed for that.
    drops : bool
        Whether messages are lost where a reader is slower than the producer. Such a peer is measured twice: as fast as
        the producer goes, and at the highest rate tried at which nothing is lost.
    """

    name: str
    gives_up: str
    modules: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    drops = False

    def find_flaw(self, run: Run) -> str | None:
        """Return why it cannot be measured here, beside its packages, and what to do about that; None if it can."""
        return None

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        """Run a server for as long as the block lasts; by default there is none."""
        yield Served()

    def sending(self, where: Mapping[str, Any], run: Run) -> AbstractContextManager[Outlet]:
        """Open the producer's end for as long as the block lasts."""
        raise NotImplementedError

    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> AbstractContextManager[Receive]:
        """Open the end of the reader of this number, from 0, for as long as the block lasts."""
        raise NotImplementedError
