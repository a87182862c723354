"""A scan of CBF files in a folder, as a `Recording`: read as if it had been sent, without a broker.

Ids, metadata and payload bytes are those that `stream produce cbf` gives to the same files. There is no index: what a
file holds is known when it was read, so that a receipt reads all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xxhash

from beamstream.address import Address
from beamstream.consumer.parts import check_part
from beamstream.errors import CodecError, CorruptDataError, PayloadGoneError
from beamstream.frame import Frame, Gap, Header
from beamstream.offline.recording import Item
from beamstream.receipt import Contents
from beamstream.state import StreamState
from beamstream_producers.formats import cbf

from .errors import FileReadError, FileVanishedError, SeveralScansError
from .files import Folders, FoundFile, read_file
from .messages import make_message, make_stream_metadata, message_id
from .naming import ScanKey, address_name, read_name, stream_names
from .zones import VARIABLE, find_zone

BEAMTIME = "files"
"""First level of the address of what lies in a folder; the second is the folder's name."""


def open_cbf(path: Path, part: int | None) -> CbfRecording | None:
    """Open a folder with one scan, or the scan of a file; None where there is none.

    An entry point of `beamstream.recordings`. Time stamps are local times of `STREAM_TIMEZONE`, or of this machine.

    Raises
    ------
    SeveralScansError
        If the folder holds several.
    UsageError
        If another part than the first is asked for.
    """
    wanted: ScanKey | None = None
    if path.is_file():
        said = read_name(path.name) if path.suffix == ".cbf" else None
        if said is None:
            return None
        wanted = ScanKey(path.parent.resolve(), said[0])
    folder = path if wanted is None else wanted.folder
    scans: dict[ScanKey, list[FoundFile]] = {}
    for found in Folders([folder]).look() if folder.is_dir() else ():
        if found is not None and wanted in (None, found.scan):
            scans.setdefault(found.scan, []).append(found)
    if not scans:
        return None
    if len(scans) > 1:
        advice = "name a file of the one that is meant"
        raise SeveralScansError(str(path), sorted(scan.base for scan in scans), advice)
    if part is not None:
        check_part(str(path), 1, part)
    ((scan, files),) = scans.items()
    return CbfRecording(path, scan, files)


class CbfRecording:
    """The files of one scan.

    Parameters
    ----------
    path : path
        What was asked for.
    scan : ScanKey
        The scan.
    files : list of FoundFile
        Its files, one or more.
    """

    def __init__(self, path: Path, scan: ScanKey, files: list[FoundFile]) -> None:
        self.path = path
        self.address = Address(BEAMTIME, address_name(scan.folder.name), next(stream_names(scan)))
        self._scan = scan
        self._zone = find_zone(os.environ.get(VARIABLE))
        self._first_number = min(found.number for found in files)
        self._files: dict[int, FoundFile] = {}
        for found in sorted(files, key=lambda one: (one.number, one.name)):
            self._files.setdefault(message_id(found.number, self._first_number), found)
        self._sums: dict[int, tuple[int, int] | None] = {}
        self._metadata: Mapping[str, Any] | None = None

    def items(self, start_id: int) -> Iterator[Item]:
        """Yield messages, the gaps between their numbers, and what is wrong with those that are no images."""
        expected = max(1, start_id)
        for one, found in self._files.items():
            if one < expected:
                continue
            if one > expected:
                yield Gap(first_id=expected, last_id=one - 1, reason="finished")
            expected = one + 1
            yield self._item(one, found)

    def _item(self, one: int, found: FoundFile) -> Item:
        try:
            return self._frame(one, found)
        except (CorruptDataError, PayloadGoneError) as error:
            return error

    def _frame(self, one: int, found: FoundFile) -> Frame:
        self._sums[one] = None
        image = self._image(one, found)
        message = make_message(image, found, self._zone)
        header = Header(
            payload_bytes=len(image.payload),
            checksum=xxhash.xxh3_64_intdigest(image.payload),
            timestamp_ns=message.timestamp_ns,
            codec=message.codec,
            shape=message.shape,
            dtype=message.dtype,
            metadata=message.metadata,
        )
        self._sums[one] = header.checksum, header.payload_bytes
        return Frame(address=self.address, message_id=one, header=header, payload=image.payload)

    def _image(self, one: int, found: FoundFile) -> cbf.CbfImage:
        try:
            data, _ = read_file(found.path)
        except FileVanishedError as error:
            raise PayloadGoneError(str(self.address), one) from error
        except FileReadError as error:
            raise cbf.CbfError("file", str(error)) from error
        return cbf.decode(data)

    def contents(self, *, verify: bool) -> Contents:
        """Return what is there; every file that was not read yet is, whether that is asked for or not."""
        contents = Contents()
        for one, (checksum, n_bytes) in self._whole().items():
            contents.add(one, Header(payload_bytes=n_bytes, checksum=checksum, timestamp_ns=0))
        return contents

    def _whole(self) -> dict[int, tuple[int, int]]:
        """Return checksum and size of every image that is whole, by its id."""
        for one, found in self._files.items():
            if one not in self._sums:
                self._item(one, found)
        return {one: sums for one, sums in sorted(self._sums.items()) if sums is not None}

    def find(self, message_id: int) -> Frame | None:
        """Read one message."""
        found = self._files.get(message_id)
        return None if found is None else self._frame(message_id, found)

    def last(self) -> Frame | None:
        """Read the last message that is whole."""
        for one in reversed(self._files):
            if isinstance(item := self._item(one, self._files[one]), Frame):
                return item
        return None

    def metadata(self) -> Mapping[str, Any]:
        """Return the stream metadata that the first whole image gives; empty where none is whole."""
        if self._metadata is None:
            self._metadata = self._read_metadata()
        return self._metadata

    def _read_metadata(self) -> dict[str, Any]:
        for one, found in self._files.items():
            try:
                image = self._image(one, found)
                return make_stream_metadata(image, self._scan, self._first_number, self._zone)
            except (cbf.CbfError, CodecError, PayloadGoneError):
                continue
        return {}

    def state(self) -> StreamState:
        """Draw up the state: a folder has ended with its last file."""
        whole, last_id = self._whole(), max(self._files)
        return StreamState(
            created_ns=min(found.signature.mtime_ns for found in self._files.values()),
            next_id=last_id + 1,
            n_received=len(whole),
            n_duplicate=0,
            n_retried=0,
            n_conflict=0,
            n_late=0,
            n_missing=last_id - len(whole),
            n_refused=0,
            n_dropped=0,
            n_held=0,
            total_bytes=sum(n_bytes for _, n_bytes in whole.values()),
            memory_bytes=0,
            released_id=0,
            finished=True,
            last_id=last_id,
            n_expected=None,
            reason="complete" if len(whole) == last_id else "incomplete",
            next_stream=None,
            keep="all",
            spilled_position=0,
            n_spilled=0,
        )

    def close(self) -> None:
        """Let the files go; none is held."""
