"""A small process between us and a child that must not outlive us; its arguments are paths to remove afterwards.

Why a process of its own: a child that is to die with its parent can ask the kernel for it
(``PR_SET_PDEATHSIG``), but that is tied to the *thread* that forked it, has to be asked for between fork and
exec, where a process with threads may run next to no code, and leaves files behind. So the parent, which may
have any number of threads, starts this guardian in a session of its own (Ctrl-C does not reach it) and holds
the other end of its standard input. The guardian has one thread, so it can safely use PDEATHSIG for the
child, and it removes what the child leaves. Whoever is killed, however:

* the parent: its end of the pipe closes; the guardian ends the child and removes the paths. A forked copy
  of the parent that still holds the pipe does not deceive it, it also looks at its own parent's id;
* the guardian: the kernel kills the child; the parent sees the guardian gone and removes the paths;
* the child: the guardian removes the paths and ends with the child's exit status, or 128 + the signal's
  number.

Only if parent and guardian are killed in the same instant do the paths stay.

Standard input is one line of JSON, the order. After it comes `STOP`: the child may take its time to end; or the end of
input without it: the parent has died, and the child, whose companions probably end too, gets less time. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STOP = b"stop\n"
"""What the parent says when it wants the child to end."""

ORPHAN_TIMEOUT_S = 5.0
"""How long a child may take to end at most when the parent has died, before it is killed [s]."""

PARENT_CHECK_INTERVAL_S = 1.0
"""How often the parent's id is looked at, for the case that a forked copy of the parent holds the pipe open
[s]."""

_PR_SET_PDEATHSIG = 1
_STDIN = 0


def main() -> int:
    """Do one order and return the exit status."""
    try:
        order = _read_order()
        return 0 if order is None else _guard(order)
    finally:
        for path in sys.argv[1:]:
            remove(Path(path))


def remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it; what is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _read_order() -> dict[str, Any] | None:
    """Return the order; None if the parent has gone before it was given."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(_STDIN, 65536)
        if not piece:
            return None
        line += piece
    order: dict[str, Any] = json.loads(line)
    return order


def _guard(order: dict[str, Any]) -> int:
    """Start the child and stay until it ends or has to end."""
    wakeup = _catch_signals()
    child = subprocess.Popen(
        order["command"],
        stdin=subprocess.PIPE,
        preexec_fn=_die_with(os.getpid()),  # safe: this process has one thread
    )
    _feed(child, order["input"].encode())
    while child.poll() is None:
        ready, _, _ = select.select([_STDIN, wakeup], [], [], PARENT_CHECK_INTERVAL_S)
        told = (_STDIN in ready and os.read(_STDIN, 64)) or (wakeup in ready and signal.SIGTERM in os.read(wakeup, 64))
        if told:
            _terminate(child, order["terminate_timeout_s"])
        elif _STDIN in ready or os.getppid() != order["parent_pid"]:
            _terminate(child, min(order["terminate_timeout_s"], ORPHAN_TIMEOUT_S))
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _catch_signals() -> int:
    """Turn SIGCHLD and SIGTERM into bytes in a pipe and return the end to read from."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer)
    return reader


def _die_with(guardian_pid: int) -> Callable[[], None]:
    """Return what the child does before it becomes the server: ask to be killed when the guardian is gone."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian_pid:  # killed between the fork and the line above
            os._exit(1)

    return ask_kernel


def _feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    """Give the child its standard input; one that ends without reading it has said why in the log."""
    if child.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(data)
        child.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()


def _terminate(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    """End the child, politely at first."""
    child.terminate()
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    sys.exit(main())
