"""The parent's side of the bench's processes: started once, given jobs, ended with the block that they are used in."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

from . import worker
from .errors import WorkerFailedError
from .progress_board import BOARD_BYTES, ProgressBoard

ANSWER_TIMEOUT_S = 120.0
"""How long one answer may take beside what is measured [s]: whoever waits for a message gives up long before."""

END_TIMEOUT_S = 5.0
"""How long a process may take to end when its input has ended, before it is killed [s]."""

LOOK_EVERY_S = 0.5
"""How often the server is looked at while an answer is waited for [s]."""

LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 16 * 1024
_PIECE_BYTES = 1 << 20


class Member:
    """One process.

    Parameters
    ----------
    name : str
        What errors call it.
    board : int
        Descriptor of the board of progress.
    check : callable
        Raises where something else has failed that the process needs.
    patience_s : float
        How long one answer may take [s].
    """

    def __init__(self, name: str, board: int, check: Callable[[], None], patience_s: float) -> None:
        self.name = name
        self._patience_s = patience_s
        self._check = check
        self._heard = b""
        # Without a name: readable as long as we have it open.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        # Our own options are not the children's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", worker.__name__, str(board)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            pass_fds=(board,),
            env=environment,
            bufsize=0,
        )

    def tell(self, job: str, **arguments: Any) -> None:
        """Give it a job."""
        try:
            self._stdin.write(json.dumps({"do": job, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            raise self._failure() from None

    def hear(self) -> dict[str, Any]:
        """Return what it answers.

        Raises
        ------
        WorkerFailedError
            If it could not do the job, has ended, or says nothing.
        """
        waited_s = 0.0
        while b"\n" not in self._heard:
            if select.select([self._stdout], [], [], LOOK_EVERY_S)[0]:
                piece = os.read(self._stdout.fileno(), _PIECE_BYTES)
                if not piece:
                    raise self._failure()
                self._heard += piece
                continue
            self._check()
            waited_s += LOOK_EVERY_S
            if waited_s > self._patience_s:
                raise WorkerFailedError(self.name, f"it said nothing for {waited_s:.0f} s", "", self._log_lines())
        line, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailedError(self.name, answer["error"], answer["kind"])
        return answer

    def do(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Give it a job and return the answer."""
        self.tell(job, **arguments)
        return self.hear()

    def dismiss(self) -> None:
        """End it, whatever it does; comes back at once."""
        self._stdin.close()

    def close(self) -> None:
        """Wait until it has ended."""
        self.dismiss()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._log.close()

    def _failure(self) -> WorkerFailedError:
        try:
            how = f"it ended with status {self._process.wait(END_TIMEOUT_S)}"
        except subprocess.TimeoutExpired:
            how = "it does not listen any more"
        return WorkerFailedError(self.name, how, "", self._log_lines())

    def _log_lines(self) -> list[str]:
        size_bytes = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size_bytes - _LOG_TAIL_BYTES))
        return tail.decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout


class Crew:
    """A producer and its readers.

    Parameters
    ----------
    n_readers : int
        How many.
    check : callable
        Called while somebody is waited for; raises where that makes no sense any more.
    patience_s : float
        How long one answer may take [s].
    """

    def __init__(self, n_readers: int, check: Callable[[], None], patience_s: float) -> None:
        self._board = os.memfd_create("bench")
        os.truncate(self._board, BOARD_BYTES)
        self.board = ProgressBoard(self._board)
        self._members: list[Member] = []
        try:
            for name in ("producer", *(f"reader {number}" for number in range(1, n_readers + 1))):
                self._members.append(Member(name, self._board, check, patience_s))
        except BaseException:
            self.close()
            raise

    @property
    def producer(self) -> Member:
        """The one that sends."""
        return self._members[0]

    @property
    def readers(self) -> list[Member]:
        """Those that read; their places in the list are their slots on the board."""
        return self._members[1:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for member in self._members:
            member.dismiss()
        for member in self._members:
            member.close()
        self._members = []
        os.close(self._board)
