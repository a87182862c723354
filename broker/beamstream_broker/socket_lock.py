"""One server at a time under a socket's name: a lock beside it, which the guardian holds until all is removed.

A broker that is started again at once, after it was killed, would otherwise meet the end of its predecessor: that
server, or its guardian, would remove the new server's socket for its own.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from .errors import SocketPathError

WAIT_S = 15.0
"""How long the end of a predecessor is waited for [s]; its guardian gives it 10 s at most."""

POLL_S = 0.02


def lock_socket(path: Path) -> int:
    """Return the descriptor of a lock on the name of a socket; whoever closes it last lets it go.

    Raises
    ------
    SocketPathError
        If there cannot be one, or another server keeps it.
    """
    try:
        descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SocketPathError(path, error.strerror or str(error)) from error
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise SocketPathError(path, "another broker has it, and does not end") from None
            time.sleep(POLL_S)
        else:
            return descriptor


def is_locked(path: Path) -> bool:
    """Whether a server of ours has the name of a socket."""
    try:
        descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
