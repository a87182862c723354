"""A server program that cannot outlive the command, however that ends."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

START_TIMEOUT_S = 20.0
"""How long a server may take until it is ready [s]."""

LOOK_EVERY_S = 0.01


class ProgramError(Exception):
    """A server did not start; the message has its last lines."""


@contextmanager
def running(command: Sequence[str], ready: Callable[[list[str]], T | None], *remove: Path) -> Iterator[T]:
    """Run a program under a guardian, which removes its files as well, from the moment that it is ready.

    `ready` is given its last lines until it returns something.
    """
    from beamstream_broker.guarded import GuardedChild

    child = GuardedChild(
        command=command,
        environment=os.environ,
        log=tempfile.TemporaryFile(),  # noqa: SIM115 (lives as long as the child)
        remove=remove,
    )
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (found := ready(child.read_log())) is None:
            how = child.describe_end()
            if how is not None or time.monotonic() > deadline_s:
                said = "\n".join(child.read_log())
                raise ProgramError(f"{command[0]}: {how or f'not ready within {START_TIMEOUT_S:g} s'}: {said}")
            time.sleep(LOOK_EVERY_S)
        yield found
    finally:
        child.close()
