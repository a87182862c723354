"""Deleting files whose message is safe, in a thread of its own: a slow disk must not keep whoever sends."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from .files import Signature, read_signature

log = logging.getLogger(__name__)


class Remover:
    """Deletes files, one after the other; a context, which ends when all that it was given are deleted.

    Attributes
    ----------
    n_removed, n_kept : int
        Files that were deleted; that were not, because they have changed since they were sent, or cannot be deleted.
    """

    def __init__(self) -> None:
        self.n_removed = 0
        self.n_kept = 0
        self._waiting: queue.SimpleQueue[tuple[Path, Signature] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="remove files", daemon=True)

    def remove(self, path: Path, signature: Signature) -> None:
        """Delete a file, unless it is not the one any more that this was; returns at once."""
        self._waiting.put((path, signature))

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            path, signature = one
            try:
                if read_signature(path) != signature:
                    log.warning("%s has changed since it was sent, and is not deleted", path)
                    self.n_kept += 1
                    continue
                path.unlink()
                self.n_removed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                self.n_kept += 1
                log.warning("%s was sent and cannot be deleted: %s", path, error.strerror)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._thread.join()
