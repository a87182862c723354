"""Files of folders: which are there, and the bytes of one of them, with a limit.

Looking reads names and sizes only. Whether a file is whole is nothing that a name, a size or an event can tell.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import FileReadError, FileTooLargeError, FileVanishedError, FolderError
from .naming import ScanKey, read_name

MAX_FILE_BYTES = 128 * 2**20
"""Largest file that is read [bytes]: an uncompressed PILATUS3 6M has 25 MB, a 12M 50 MB."""

MAX_DEPTH = 8
"""How deep sub-folders are looked into."""

DEFAULT_PATTERN = "*.cbf"


class Signature(NamedTuple):
    """What tells that a file has changed."""

    n_bytes: int
    mtime_ns: int
    inode: int


NOWHERE = Signature(0, 0, 0)
"""That of a link that leads nowhere yet."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is there."""

    name: str
    scan: ScanKey
    number: int
    signature: Signature

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.scan.folder / self.name


class Folders:
    """The folders that are looked at.

    Parameters
    ----------
    folders : sequence of path
        Where files come.
    pattern : str
        Which names are looked at, e.g. ``scan_*.cbf``; hidden files never are.
    recursive : bool
        Whether sub-folders are looked into, symbolic links to folders excepted.

    Attributes
    ----------
    unnumbered : set of path
        Files that the pattern takes and that have no number at the end of their name.
    n_unreadable : int
        How often a folder could not be read.

    Raises
    ------
    FolderError
        If one is no folder.
    """

    def __init__(self, folders: Sequence[Path], pattern: str = DEFAULT_PATTERN, *, recursive: bool = False) -> None:
        self.paths = tuple(dict.fromkeys(_checked(folder) for folder in folders))
        self.pattern = pattern
        self._matches = re.compile(fnmatch.translate(pattern)).match
        self._keys: dict[tuple[Path, str], ScanKey] = {}
        self.recursive = recursive
        self.unnumbered: set[Path] = set()
        self.n_unreadable = 0
        self.trouble: OSError | None = None

    def look(self) -> Iterator[FoundFile | None]:
        """Yield the files that are there, in no order, and None for what is of no interest; folders may vanish."""
        self.trouble = None
        for folder in self.paths:
            yield from self._look_into(folder, MAX_DEPTH if self.recursive else 0)

    def _look_into(self, folder: Path, depth_left: int) -> Iterator[FoundFile | None]:
        below = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if depth_left and entry.is_dir(follow_symlinks=False):
                        below.append(folder / entry.name)
                    yield self._find(folder, entry.name, entry)
        except OSError as error:
            self.n_unreadable += 1
            self.trouble = error
        for one in sorted(below):
            yield from self._look_into(one, depth_left - 1)

    def find(self, path: Path) -> FoundFile | None:
        """Return a file if it is there and one of ours."""
        return self._find(path.parent, path.name, path)

    def _find(self, folder: Path, name: str, entry: os.DirEntry[str] | Path) -> FoundFile | None:
        if name.startswith(".") or not self._matches(name):
            return None
        said = read_name(name)
        if said is None:
            self.unnumbered.add(folder / name)
            return None
        signature = NOWHERE
        try:
            there = entry.stat()
        except OSError:
            if not entry.is_symlink():
                return None
        else:
            if stat.S_ISDIR(there.st_mode):
                return None
            signature = _signature(there)
        base, number = said
        scan = self._keys.setdefault((folder, base), ScanKey(folder, base))
        return FoundFile(name, scan, number, signature)


def read_file(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> tuple[bytes, Signature]:
    """Read a file, and what it was when reading began.

    Raises
    ------
    FileVanishedError
        If it is not there any more.
    FileTooLargeError
        If it is larger than `limit_bytes`; nothing is read then.
    FileReadError
        If it cannot be read, or is no file but a pipe or a device, which are not waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            there = os.fstat(descriptor)
            if not stat.S_ISREG(there.st_mode):
                raise FileReadError(path, "is no file")
            if there.st_size > limit_bytes:
                raise FileTooLargeError(path, f"has {there.st_size} bytes, the limit is {limit_bytes}")
            data = file.read(there.st_size)  # what is written meanwhile is found when it is looked at again
    except FileNotFoundError:
        if path.is_symlink():
            raise FileReadError(path, "is a link that leads nowhere") from None
        raise FileVanishedError(path, "is not there any more") from None
    except OSError as error:
        raise FileReadError(path, error.strerror or str(error)) from error
    return data, _signature(there)


def read_signature(path: Path) -> Signature:
    """Return what a file is now; raises `OSError` where it cannot be looked at."""
    return _signature(path.stat())


def _signature(there: os.stat_result) -> Signature:
    return Signature(there.st_size, there.st_mtime_ns, there.st_ino)


def _checked(folder: Path) -> Path:
    path = folder.expanduser().resolve()
    if path.is_file():
        raise FolderError(folder, "is a file; name its folder, and the file's scan with --pattern 'NAME_*.cbf'")
    if not path.is_dir():
        raise FolderError(folder, "there is no such folder; is the detector's disk mounted?")
    return path
