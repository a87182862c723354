"""Which node of a cluster has which keys, and which key a command is about. Pure.

Only the commands that are used here are known; whoever uses another one whose first key is not its first argument has
to add it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .packing import Argument

N_SLOTS = 16384

WITHOUT_KEY = frozenset({"CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "FLUSHALL", "INFO", "PING", "SCAN", "SCRIPT", "TIME"})
"""Commands that are about a node."""

KEY_AT = {"EVAL": 3, "EVALSHA": 3, "MEMORY": 2, "OBJECT": 2, "XGROUP": 2, "XINFO": 2}
"""Where a command has its first key, if not behind its name."""

BEHIND_STREAMS = frozenset({"XREAD", "XREADGROUP"})
"""Commands that have their keys behind the word ``STREAMS``."""

OF_SEVERAL_KEYS = frozenset({"DEL", "EXISTS", "UNLINK"})
"""Commands that do to each of their arguments the same, and say to how many."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where a node of a cluster listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMap:
    """Which node has which slots.

    Attributes
    ----------
    nodes : tuple of Node
        The nodes that have slots.
    owners : bytes-like
        Of each slot the place of its node in `nodes`, or `NOBODY`.
    """

    nodes: tuple[Node, ...]
    owners: Sequence[int]

    def owner(self, slot: int) -> Node | None:
        """Return the node that has a slot; None where nobody has it."""
        place = self.owners[slot]
        return None if place < 0 else self.nodes[place]


def read_slots(answer: Sequence[Any], asked: str) -> SlotMap:
    """Read what ``CLUSTER SLOTS`` answers; a node that does not know its own address is at `asked`."""
    owners = [-1] * N_SLOTS
    places: dict[Node, int] = {}
    for first, last, (host, port, *_), *_ in answer:
        node = Node((host or b"").decode() or asked, int(port))
        place = places.setdefault(node, len(places))
        owners[first : last + 1] = [place] * (last + 1 - first)
    return SlotMap(nodes=tuple(places), owners=owners)


def first_key(command: Sequence[Argument]) -> Argument | None:
    """Return the first key of a command; None where it has none.

    Examples
    --------
    >>> first_key(("XREAD", "COUNT", 5, "STREAMS", "index", "0-0"))
    'index'
    >>> first_key(("EVALSHA", "da39a3ee", 0)) is None
    True
    """
    name = str(command[0]).upper()
    if name in WITHOUT_KEY:
        return None
    if name in BEHIND_STREAMS:
        return command[command.index("STREAMS") + 1]
    if name in ("EVAL", "EVALSHA") and not int(bytes_of(command[2])):
        return None
    return command[KEY_AT.get(name, 1)]


def bytes_of(argument: Argument) -> bytes:
    """Return an argument as the server gets it."""
    return bytes(argument) if isinstance(argument, bytes | bytearray | memoryview) else str(argument).encode()
