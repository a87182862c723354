"""The parent's side of `guardian`: a child process that cannot outlive us, and its log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from . import guardian

TERMINATE_TIMEOUT_S = 5.0
"""How long a child may take to end after SIGTERM before it is killed [s]; a server without persistence takes 10 ms."""

GUARDIAN_TIMEOUT_S = 5.0
"""How much longer the guardian may take to remove what is to be removed before it is killed itself [s]."""

LOG_TAIL_LINES = 12
"""How many of the last log lines go into an error message."""

_LOG_TAIL_BYTES = 16 * 1024


class GuardedChild:
    """A child process under a guardian; it is running from the moment the object exists.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    environment : mapping
        All of its environment.
    log : binary file
        What takes its output; stays open, and is read, until `close`.
    standard_input : str
        What the child reads.
    remove : sequence of Path
        Files and directories that are removed when it has ended.
    terminate_timeout_s : float
        How long it may take to end when it is told to, before it is killed [s].
    hold : int, optional
        A descriptor that the guardian keeps open until everything is removed, e.g. of a lock.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: IO[bytes],
        standard_input: str = "",
        remove: Sequence[Path] = (),
        terminate_timeout_s: float = TERMINATE_TIMEOUT_S,
        hold: int | None = None,
    ) -> None:
        self._remove = tuple(remove)
        self._log = log
        self._timeout_s = terminate_timeout_s + GUARDIAN_TIMEOUT_S
        self._guardian = subprocess.Popen(
            [sys.executable, "-P", "-m", guardian.__name__, *map(str, remove)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            pass_fds=() if hold is None else (hold,),
            bufsize=0,  # nothing is left to be written when the pipe is closed
        )
        self._give_order(
            {
                "command": list(command),
                "input": standard_input,
                "parent_pid": os.getpid(),
                "terminate_timeout_s": terminate_timeout_s,
            }
        )

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian."""
        return self._guardian.pid

    @property
    def status(self) -> int | None:
        """The child's exit status, 128 + the number of the signal that ended it; None while it runs."""
        status = self._guardian.poll()
        return 128 - status if status is not None and status < 0 else status

    def describe_end(self) -> str | None:
        """Return how child or guardian ended; None while both run."""
        status = self._guardian.poll()
        if status is None:
            return None
        if status < 0:
            return f"its guardian process was killed by {_name_signal(-status)}"
        if status > 128:
            return f"it was killed by {_name_signal(status - 128)}"
        return f"it ended with exit status {status}"

    def read_log(self, n_lines: int = LOG_TAIL_LINES) -> list[str]:
        """Return the last lines of what child and guardian wrote."""
        size_bytes = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size_bytes - _LOG_TAIL_BYTES))
        return tail.decode(errors="replace").splitlines()[-n_lines:]

    def ask_to_stop(self) -> None:
        """Tell the child to end, and come back at once."""
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                self._guardian.stdin.write(guardian.STOP)
            self._guardian.stdin.close()

    def stop(self) -> None:
        """End the child and wait until nothing of it is left; may be called again, also after it ended by itself."""
        self.ask_to_stop()
        try:
            self._guardian.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        for path in self._remove:
            # Normally gone already; here for a guardian that was killed.
            guardian.remove(path)

    def kill(self) -> None:
        """End guardian and child at once."""
        self._guardian.kill()  # and with it, through the kernel, the child
        self._guardian.wait()

    def close(self) -> None:
        """Stop, and let go of the log."""
        self.stop()
        self._log.close()

    def _give_order(self, order: Mapping[str, object]) -> None:
        if self._guardian.stdin is not None:
            # One that has ended already did not read it; describe_end and the log say why.
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.write(json.dumps(order).encode() + b"\n")


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
