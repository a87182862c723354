"""One writer per file: between processes HDF5's own lock sees to it, within one process this list.

HDF5 gives a process that opens a file twice the same file twice, lock or no lock; two members of a group in one
process would write over each other's list of what is there.
"""

from __future__ import annotations

import threading
from pathlib import Path

from .errors import OutputError

_lock = threading.Lock()
_claimed: set[Path] = set()


def claim(path: Path) -> None:
    """Make `path` this writer's until it is released.

    Raises
    ------
    OutputError
        If another writer in this process has it.
    """
    with _lock:
        if path.resolve() in _claimed:
            raise OutputError(path, "another writer in this process writes it; one member per stream can")
        _claimed.add(path.resolve())


def release(path: Path) -> None:
    """Let others write `path`."""
    with _lock:
        _claimed.discard(path.resolve())
