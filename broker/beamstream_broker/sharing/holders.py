"""Who holds views of segments: the processes whose locks the kernel lists in ``/proc/locks``.

A lock belongs to the process that took it: where that has ended and a child that was forked from it still has it, the
kernel names the parent. Processes of other containers are not listed at all.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_NAMED = 3
"""How many holders are named in a message."""

_LOCK = re.compile(r"\d+: FLOCK +\w+ +\w+ +(?P<pid>\d+) (?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) ")

FileId = tuple[int, int, int]
"""What the kernel knows a file by: major and minor number of its device, and its inode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds views.

    Attributes
    ----------
    pid : int
        Its process id.
    name : str
        What the kernel calls it; empty where it has ended.
    n_segments : int
        How many segments it has views of.
    n_bytes : int
        How large these are [bytes]: so much cannot be used again.
    """

    pid: int
    name: str
    n_segments: int
    n_bytes: int

    def __str__(self) -> str:
        """Say it, with the sizes in MiB."""
        who = f"process {self.pid} ({self.name})" if self.name else f"a child of process {self.pid}, which has ended,"
        what = "a segment" if self.n_segments == 1 else f"{self.n_segments} segments"
        return f"{who} holds views of {what}, {self.n_bytes >> 20} MiB"


def parse_locks(text: str) -> Iterator[tuple[int, FileId]]:
    """Yield process and file of each lock on a whole file (``flock``) that is held; who waits for one is left out.

    References
    ----------
    proc_locks(5).
    """
    for line in text.splitlines():
        match = _LOCK.match(line)
        if match is not None:
            yield int(match["pid"]), (int(match["major"], 16), int(match["minor"], 16), int(match["inode"]))


def file_id(descriptor: int) -> FileId:
    """Return what the kernel knows an open file by."""
    status = os.fstat(descriptor)
    return os.major(status.st_dev), os.minor(status.st_dev), status.st_ino


def find_holders(sizes: Mapping[FileId, int]) -> list[Holder]:
    """Return the other processes that hold locks on some files, given with their sizes [bytes]; the largest first."""
    try:
        held = {one for one in parse_locks(Path("/proc/locks").read_text("ascii", "replace")) if one[1] in sizes}
    except OSError:
        return []  # nobody can be named, which is nothing to fail for
    n_segments = Counter(pid for pid, _ in held if pid != os.getpid())
    n_bytes: Counter[int] = Counter()
    for pid, file in held:
        n_bytes[pid] += sizes[file]
    found = [
        Holder(pid=pid, name=_name(pid), n_segments=n, n_bytes=n_bytes[pid]) for pid, n in sorted(n_segments.items())
    ]
    return sorted(found, key=lambda one: one.n_bytes, reverse=True)


def describe(holders: Sequence[Holder]) -> str:
    """Say who holds how much, the first few by name; so much that somebody can end them."""
    if not holders:
        return "processes that cannot be seen from here, e.g. in containers, hold them"
    named = "; ".join(map(str, holders[:MOST_NAMED]))
    return named if len(holders) <= MOST_NAMED else f"{named}; and {len(holders) - MOST_NAMED} more"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
