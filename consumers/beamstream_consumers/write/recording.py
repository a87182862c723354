"""One stream in one HDF5 file: images, columns, metadata and receipt, made, continued and finished.

The file is made in the format of HDF5 1.8 (superblock 0), with nothing newer than 1.10 in it. That is not only for old
readers: files in the newer format carry a mark «open for writing», and one whose writer was killed cannot be opened
any more without `h5clear`. A recording must survive its writer, so that a new one goes on where it stopped.

| path                       | what                                                                      |
|----------------------------|---------------------------------------------------------------------------|
| /entry/data/data           | images, the bytes that were received; also as NXdetector's ``data``       |
| /entry/beamstream          | the receipt, and the stream's address                                     |
| /entry/beamstream/messages | message_id, timestamp, checksum, received, late, and numbers messages said |
| /entry/beamstream/metadata | stream metadata outside its ``entry``                                     |
| …/beamstream/completed     | paths that the writer added for NXmx and nobody said                      |
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from beamstream import Frame
from beamstream.receipt import chain, missing_ranges
from beamstream.service import StreamEnd, StreamStart

from .claims import claim, release
from .columns import Columns
from .errors import (
    MessageIdError,
    NodeError,
    OutputExistsError,
    RecordingConflictError,
    VerificationError,
    output_errors,
)
from .finished import MESSAGES, report_of, stream_address
from .images import ImageChunk, ImageStack, image_chunk
from .nexus import array_bytes, write_tree
from .nxmx import Acquisition, complete_nxmx, finish_times
from .receipt import Receipt, write_receipt
from .reservation import Reservation, give_back

log = logging.getLogger(__name__)

MAX_MESSAGES = 100_000_000
"""Most messages in a file: 10 kHz for nearly three hours; above it an id is damage and not a position."""

LIBRARY_BOUNDS = ("earliest", "v110")
"""Oldest format that does, and nothing that HDF5 1.10 cannot read; see the module's own words."""

RESERVED = ("/entry/data/data", "/entry/beamstream")
"""What the stream metadata may not write."""

FIRST_RECEIVED = 1024
"""Room in the list of received messages to begin with; it doubles."""


class Recording:
    """A file that is being written.

    Use `create` or `resume`. It is locked against other writers for as long as it is open.
    """

    def __init__(self, path: Path, file: h5py.File, n_expected: int | None) -> None:
        self.path = path
        self._file = file
        self._n_expected = n_expected
        self._reservation = Reservation(path, file.id.get_vfd_handle())
        self._entry = file["entry"]
        self._columns = Columns(file[MESSAGES])
        self._images = ImageStack(file["entry/data/data"]) if "data" in file["entry/data"] else None
        self._received = np.zeros(FIRST_RECEIVED, dtype=np.bool_)
        self._checksums: dict[int, int] = {}
        self._highest_id = 0
        self._restore()

    @classmethod
    def create(cls, path: Path, stream: StreamStart) -> Recording:
        """Make the file and write the stream's metadata into it.

        Raises
        ------
        OutputError
            If that is not possible, e.g. because another process writes it.
        """
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _open(path, "w")
            try:
                Reservation(path, file.id.get_vfd_handle()).ensure(0, array_bytes(stream.metadata))
                rejected = _write_metadata(file, stream)
                recording = cls(path, file, stream.n_expected)
                recording.sync(to_disk=False)
            except BaseException:
                # Half a header is nothing that could be continued.
                path.unlink(missing_ok=True)
                _close(path, file)
                raise
            for error in rejected:
                log.warning("%s: %s", path, error)
            return recording

    @classmethod
    def resume(cls, path: Path, stream: StreamStart) -> Recording:
        """Go on with a file that a writer before left.

        Raises
        ------
        OutputExistsError
            If it holds another stream.
        OutputError
            If it cannot be opened: damaged, or another process writes it.
        """
        with output_errors(path):
            file = _open(path, "r+")
            address = stream_address(file)
            if address != str(stream.address):
                _close(path, file)
                raise OutputExistsError(path, f"holds {address or 'no stream of ours'}")
            log.info("%s is continued", path)
            return cls(path, file, stream.n_expected)

    @property
    def n_received(self) -> int:
        """How many different messages are in the file."""
        return int(np.count_nonzero(self._received))

    def add(self, frame: Frame) -> bool:
        """Write one message; return whether it was new.

        Raises
        ------
        MessageIdError, ShapeError, NotAnImageError, CodecError
            If the message cannot be an image of this file; the file is as before.
        RecordingConflictError
            If the file holds another frame under this id.
        OutputError
            If the file cannot be written.
        """
        index = self._index(frame.message_id)
        known = self._held(index)
        if known is not None and known != frame.header.checksum:
            raise RecordingConflictError(self.path, frame.message_id, known, frame.header.checksum)
        image = image_chunk(frame)
        self._reserve(frame.header.payload_bytes)
        with output_errors(self.path):
            if self._images is None:
                self._images = self._begin(image, frame.header.timestamp_ns)
            self._images.write(index, image)
            own = {
                "message_id": frame.message_id,
                "timestamp": frame.header.timestamp_ns,
                "checksum": frame.header.checksum,
                "received": 1,
                "late": int(frame.late),
            }
            self._columns.put(index, own, frame.metadata)
        self._received[index] = True
        self._checksums[index] = frame.header.checksum
        self._highest_id = max(self._highest_id, frame.message_id)
        return known is None

    def sync(self, *, to_disk: bool) -> None:
        """Hand everything to the operating system, and with `to_disk` to the disk."""
        self._reserve(0)
        with output_errors(self.path):
            self._columns.write(self._highest_id)
            self._checksums.clear()
            self._file.flush()
            self._reservation.forget()
            if to_disk:
                os.fsync(self._file.id.get_vfd_handle())

    def verify(self) -> int:
        """Read every payload back and compare its checksum with the received one; return how many were compared.

        Raises
        ------
        VerificationError
            If one is another.
        """
        images, n_compared = self._images, 0
        if images is None:
            return 0
        with output_errors(self.path):
            self.sync(to_disk=True)
            for ids, checksums, flags in self._columns.blocks("message_id", "checksum", "received"):
                for message_id, expected in zip(ids[flags != 0].tolist(), checksums[flags != 0].tolist(), strict=True):
                    payload = images.payload(message_id - 1)
                    if payload is None:
                        continue
                    measured = xxhash.xxh3_64_intdigest(payload)
                    if measured != expected:
                        raise VerificationError(self.path, message_id, expected, measured)
                    n_compared += 1
        return n_compared

    def close(self, end: StreamEnd | None) -> dict[str, Any]:
        """Write the receipt, close the file, and return the report.

        `end` None leaves a file that is complete as far as it goes, and can be continued.
        """
        self._reserve(0)
        with output_errors(self.path):
            last_id = max(self._highest_id, end.last_id if end else 0)
            self._columns.write(last_id)
            self._columns.cut(last_id)
            if self._images:
                self._images.cut(last_id)
            for name, reason in self._columns.left_out.items():
                log.warning("%s: what messages say as %r became no column: %s", self.path, name, reason)
            receipt = self._receipt(last_id, end)
            if end:
                self._finish(receipt)
            write_receipt(self._file["entry/beamstream"], receipt)
            report = report_of(receipt, self._images.stored_bytes if self._images else 0)
            self.sync(to_disk=True)
            _close(self.path, self._file)
        return report

    def _reserve(self, more_bytes: int) -> None:
        """See to it that what is written next cannot fail for want of room."""
        with output_errors(self.path):
            size_bytes = self._file.id.get_filesize()
        self._reservation.ensure(size_bytes, more_bytes)

    def _index(self, message_id: int) -> int:
        """Return the position of a message, and make room for it in the list of received ones."""
        if not 1 <= message_id <= MAX_MESSAGES:
            raise MessageIdError(message_id, MAX_MESSAGES)
        if message_id > len(self._received):
            room = min(MAX_MESSAGES, max(message_id, 2 * len(self._received)))
            self._received = np.concatenate((self._received, np.zeros(room - len(self._received), np.bool_)))
        return message_id - 1

    def _held(self, index: int) -> int | None:
        """Return the checksum of a message that is in the file already, None if it is not."""
        if not self._received[index]:
            return None
        if index in self._checksums:
            return self._checksums[index]
        return int(self._file[f"{MESSAGES}/checksum"][index])

    def _begin(self, image: ImageChunk, time_ns: int) -> ImageStack:
        """Make the images' dataset for the first frame, and everything NXmx wants beside it."""
        images = ImageStack.create(self._entry["data"], image, self._n_expected)
        acquisition = Acquisition(shape=image.shape, start_ns=time_ns, n_expected=self._n_expected)
        completed = complete_nxmx(self._entry, acquisition)
        self._entry["beamstream"]["completed"] = np.array(completed.added, dtype=h5py.string_dtype())
        if completed.unknown:
            log.warning("%s: nobody said %s; written as unknown", self.path, ", ".join(completed.unknown))
        return images

    def _restore(self) -> None:
        """Take from the file which messages are in it."""
        first = 0
        for (block,) in self._columns.blocks("received"):
            flags = block.astype(np.bool_)
            if flags.any():
                self._highest_id = first + int(np.flatnonzero(flags)[-1]) + 1
                self._index(first + len(flags))
                self._received[first : first + len(flags)] = flags
            first += len(flags)

    def _receipt(self, last_id: int, end: StreamEnd | None) -> Receipt:
        """Put together what the file holds."""
        if last_id:
            self._index(last_id)
        return Receipt(
            n_expected=end.n_expected if end else self._n_expected,
            last_id=last_id,
            n_received=self.n_received,
            missing=tuple(missing_ranges((np.flatnonzero(self._received[:last_id]) + 1).tolist(), last_id)),
            checksum=_chain(self._columns),
            reason=end.reason if end else "open",
        )

    def _finish(self, receipt: Receipt) -> None:
        """Say when it ended; the last timestamp is the end."""
        if receipt.n_received:
            end_ns = max(int(times.max()) for (times,) in self._columns.blocks("timestamp"))
            finish_times(self._entry, end_ns)


def _open(path: Path, mode: str) -> h5py.File:
    """Open a file that nobody else writes."""
    claim(path)
    try:
        return h5py.File(path, mode, libver=LIBRARY_BOUNDS, locking="best-effort")
    except BaseException:
        release(path)
        raise


def _close(path: Path, file: h5py.File) -> None:
    """Close a file; others can write it from now on."""
    try:
        file.close()
        if path.exists():
            give_back(path)
    finally:
        release(path)


def _write_metadata(file: h5py.File, stream: StreamStart) -> list[NodeError]:
    """Make the groups of a new file and write the stream's metadata into them; return what was left out."""
    entry = _nexus_group(file, "entry", "NXentry")
    _nexus_group(entry, "data", "NXdata")
    notes = _nexus_group(entry, "beamstream", "NXcollection")
    notes.attrs["address"] = str(stream.address)
    _nexus_group(notes, "messages", "NXcollection")
    others = dict(stream.metadata)
    header = others.pop("entry", {})
    if not isinstance(header, Mapping):
        others["entry"], header = header, {}
    rejected = write_tree(entry, header, RESERVED)
    if others:
        rejected += write_tree(_nexus_group(notes, "metadata", "NXcollection"), others)
    notes["metadata_left_out"] = np.array([str(error) for error in rejected], dtype=h5py.string_dtype())
    return rejected


def _nexus_group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Return a group of `parent`, made if it is not there."""
    group = parent.require_group(name)
    if "NX_class" not in group.attrs:
        group.attrs["NX_class"] = nx_class
    return group


def _chain(columns: Columns) -> int:
    """Return the checksum chain over the messages in the file."""
    blocks = columns.blocks("message_id", "checksum", "received")
    return chain(
        pair
        for ids, checksums, flags in blocks
        for pair in zip(ids[flags != 0].tolist(), checksums[flags != 0].tolist(), strict=True)
    )
