"""HDF5 files that are read: opened without a lock that others would feel, a few at a time, their errors made ours."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from beamstream.offline.errors import RecordingFormatError

log = logging.getLogger(__name__)

MAX_OPEN_FILES = 16
"""Files kept open at a time; a long run of an Eiger has hundreds of data files."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what h5py and the file system raise into `RecordingFormatError`."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, IndexError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise RecordingFormatError(path, reason) from error


def open_file(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    RecordingFormatError
        If it cannot be opened: truncated, no HDF5, written by somebody now.
    """
    if not path.is_file():
        raise RecordingFormatError(path, "it is no regular file")  # opening a pipe would wait for ever
    with reading(path):
        return h5py.File(path, "r", locking="best-effort")


def find_linked(master: Path, name: str) -> Path:
    """Return where the file of an external link is: beside the master, as the link says, or of its name only.

    The last is for files that were moved together. A file that is nowhere is said to be where the link says.
    """
    said = master.parent / name
    candidates = (said, master.parent / Path(name).name)
    return next((one for one in candidates if one.is_file()), said)


class OpenFiles:
    """The files of one recording; the one that was not used for the longest time is closed for the next."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, h5py.File] = OrderedDict()

    def file(self, path: Path) -> h5py.File:
        """Return an open file; raises `RecordingFormatError` where it cannot be opened."""
        file = self._files.get(path)
        if file is None or not file:
            if len(self._files) >= MAX_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            file = self._files[path] = open_file(path)
        self._files.move_to_end(path)
        return file

    def is_open(self, path: Path) -> bool:
        """Whether what was taken from a file before can still be used."""
        return bool(self._files.get(path))

    def dataset(self, path: Path, name: str) -> h5py.Dataset:
        """Return a dataset; raises `RecordingFormatError` where there is none."""
        file = self.file(path)
        with reading(path):
            node: Any = file.get(name)
        if not isinstance(node, h5py.Dataset):
            raise RecordingFormatError(path, f"there is no dataset {name}")
        return node

    def close(self) -> None:
        """Close them all."""
        for file in self._files.values():
            file.close()
        self._files.clear()
