"""The journal beside a file that is being written: what brings the file to its last commit.

One record, written over for each commit: ``BSJRNL\\x01\\0``, the XXH3-64 of what follows, the file's length, the number
of pages; then the numbers of the pages (8 bytes each, little-endian as all of it), then the pages.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

PAGE_BYTES = 4096
"""How finely changes are kept [bytes]: a node of a B-tree has about two thousand, a chunk of a column eight."""

MAGIC = b"BSJRNL\x01\x00"
_HEAD = struct.Struct("<8sQQQ")
_NUMBER = struct.Struct("<Q")

Page = bytes | bytearray


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a journal holds.

    Attributes
    ----------
    length : int
        Length of the file [bytes].
    pages : mapping
        What its pages are, by their numbers.
    """

    length: int
    pages: Mapping[int, Page]


class Journal:
    """The journal of one file.

    Parameters
    ----------
    path : Path
        The file that it belongs to.
    new : bool
        Make it empty, which says that nothing was ever committed; otherwise it is opened if it is there.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        self._path = journal_path(path)
        self._descriptor = -1
        if new:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        elif self._path.exists():
            self._descriptor = os.open(self._path, os.O_RDWR)

    def read(self) -> Record | None:
        """Return what is in it; None where it was being written, and the file is as the commit before left it."""
        if self._descriptor < 0:
            return None
        head = os.pread(self._descriptor, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        magic, digest, length, n_pages = _HEAD.unpack(head)
        n_bytes = n_pages * (PAGE_BYTES + _NUMBER.size)
        if magic != MAGIC or n_bytes > os.fstat(self._descriptor).st_size:
            return None
        content = os.pread(self._descriptor, n_bytes, _HEAD.size)
        if xxhash.xxh3_64_intdigest(head[16:] + content) != digest:
            return None
        numbers = struct.unpack_from(f"<{n_pages}Q", content)
        pages = content[n_pages * _NUMBER.size :]
        return Record(
            length=length,
            pages={number: pages[i * PAGE_BYTES : (i + 1) * PAGE_BYTES] for i, number in enumerate(numbers)},
        )

    def write(self, length: int, numbers: Sequence[int], pages: Sequence[Page], *, to_disk: bool) -> None:
        """Write a record over the one before; `pages` are whole."""
        content = b"".join((struct.pack(f"<{len(numbers)}Q", *numbers), *pages))
        tail = _HEAD.pack(MAGIC, 0, length, len(numbers))[16:]
        digest = xxhash.xxh3_64_intdigest(tail + content)
        record = _HEAD.pack(MAGIC, digest, length, len(numbers)) + content
        if self._descriptor >= 0:
            write_all(self._descriptor, record)
        else:
            # An empty journal says that nothing was ever committed, so it gets its name with its first record in it.
            unnamed = self._path.with_name(self._path.name + ".new")
            self._descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            write_all(self._descriptor, record)
            unnamed.replace(self._path)
        if to_disk:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let it go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def delete(self) -> None:
        """Delete it: its file was closed well."""
        self._path.unlink(missing_ok=True)


def write_all(descriptor: int, data: Page, offset: int = 0) -> None:
    """Write bytes, in as many pieces as it takes."""
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def write_pages(descriptor: int, pages: Mapping[int, Page]) -> None:
    """Write pages where they belong, neighbours together."""
    run: list[Page] = []
    begin = end = -1
    for number in sorted(pages):
        if number != end:
            write_all(descriptor, b"".join(run), begin * PAGE_BYTES)
            run, begin, end = [], number, number
        run.append(pages[number])
        end += 1
    write_all(descriptor, b"".join(run), begin * PAGE_BYTES)


def journal_path(path: Path) -> Path:
    """Return where the journal of a file is."""
    return path.with_name(path.name + ".journal")


def is_blank(path: Path) -> bool:
    """Whether the writer of a file was killed before its first commit, so that nothing is in it."""
    journal = journal_path(path)
    return path.stat().st_size == 0 or (journal.exists() and journal.stat().st_size == 0)
