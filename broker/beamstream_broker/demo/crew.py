"""The demo's processes: started under guardians, watched, and ended in an order in which nothing is lost."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamstream_broker.errors import StageFailedError
from beamstream_broker.guarded import GuardedChild

from .stages import DETECTOR, DRAIN_ORDER, ENDING, SERVER

READY_TIMEOUT_S = 60.0
"""How long a process may take to say where it is [s]; it takes a second, on a busy machine several."""

DRAIN_TIMEOUT_S = 30.0
"""How long a process may take to hand on what it has once it is told to end [s]."""

GRACE_S = 5.0
"""How long a process may take to end by itself once what is before it has ended, before it is told to [s]."""

POLL_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class _Member:
    child: GuardedChild
    log_path: Path


class Crew:
    """Named child processes of `stream`.

    Parameters
    ----------
    log_directory : Path
        Where each one's output goes, a file per name.
    """

    def __init__(self, log_directory: Path) -> None:
        self.log_directory = log_directory
        self._members: dict[str, _Member] = {}

    def start(self, name: str, arguments: Sequence[str], broker: str | None = None) -> None:
        """Start `stream` with these arguments under a name."""
        # Our own options are not the children's: one metrics port cannot serve them all.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_")}
        if broker is not None:
            environment["STREAM_BROKER"] = broker
        log_path = self.log_directory / f"{name}.log"
        child = GuardedChild(
            command=[sys.executable, "-m", "beamstream.cli", *arguments],
            environment=environment,
            log=log_path.open("w+b"),
            terminate_timeout_s=DRAIN_TIMEOUT_S,
        )
        self._members[name] = _Member(child, log_path)

    def has_ended(self, name: str) -> bool:
        """Tell whether a process has ended, or was never started."""
        return name not in self._members or self._members[name].child.status is not None

    def check(self) -> None:
        """Raise if a process has ended that should not have, or otherwise than it should.

        Raises
        ------
        StageFailedError
            With its last log lines.
        """
        for name, member in self._members.items():
            status = member.child.status
            if status is not None and (status != 0 or name not in ENDING):
                how = member.child.describe_end() or ""
                raise StageFailedError(name, how, member.log_path, member.child.read_log())

    def await_json(self, name: str) -> dict[str, Any]:
        """Wait until a process has printed a line of JSON, and return it.

        Raises
        ------
        StageFailedError
            If any process fails before, or this one says nothing in time.
        """
        member = self._members[name]
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            for line in member.log_path.read_text("utf-8", "replace").splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n"):
                    said: dict[str, Any] = json.loads(line)
                    return said
            self.check()
            time.sleep(POLL_INTERVAL_S)
        how = f"it did not say within {READY_TIMEOUT_S:g} s where it is"
        raise StageFailedError(name, how, member.log_path, member.child.read_log())

    def drain(self) -> None:
        """End the detector and all that its frames go through, in order, so that nothing on the way is lost."""
        for names in DRAIN_ORDER:
            running = [self._members[name].child for name in names if not self.has_ended(name)]
            if DETECTOR not in names:
                _wait(running, GRACE_S)  # these end by themselves when what feeds them has ended
            _stop(running)

    def close(self) -> None:
        """End what still runs, the server last, and let go of the logs."""
        _stop(member.child for name, member in self._members.items() if name != SERVER)
        for member in self._members.values():
            member.child.close()

    def kill(self) -> None:
        """End all processes without asking."""
        for member in self._members.values():
            member.child.kill()


def _stop(children: Iterable[GuardedChild]) -> None:
    """End children at the same time, and wait until they have ended."""
    told = list(children)
    for child in told:
        child.ask_to_stop()
    for child in told:
        child.stop()


def _wait(children: Iterable[GuardedChild], timeout_s: float) -> None:
    """Wait until all have ended, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while any(child.status is None for child in children) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
