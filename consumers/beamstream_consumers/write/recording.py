"""Messages in one HDF5 file that is being written: made, continued, finished.

Either it is the whole recording of a stream, with metadata and receipt, or a part of it: a data file, of which a master
is made in the end (`master`). Nothing in it is newer than HDF5 1.10; it survives the death of its writer at any moment
(`storage`), so that a new one goes on where it stopped.

| path                       | what                                                                       |
|----------------------------|----------------------------------------------------------------------------|
| /entry/data/data           | arrays, images as the bytes that were received                             |
| /entry/beamstream          | the receipt, and what this file is: address, first id, packed or not       |
| /entry/beamstream/messages | message_id, timestamp, checksum, received, late, and what messages said    |
| /entry/beamstream/metadata | stream metadata outside its ``entry``; of a whole recording only           |
| …/beamstream/completed     | paths that the writer added for NeXus and nobody said                      |
| /entry/result_1            | lists of peaks, where messages have them                                   |
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from beamstream import Frame, Gap
from beamstream.service import StreamEnd, StreamStart

from .arrays import Arrays, arrays_like, begin_arrays, open_arrays
from .columns import Columns
from .declined import DeclinedIds, merged, read_declined
from .errors import OutputExistsError, RecordingConflictError, VerificationError, output_errors
from .finished import report_of, stream_address
from .journal import is_blank
from .ledger import Ledger
from .nxmx import finish_times
from .receipt import Receipt, chain_over, missing_among, write_receipt
from .skeleton import MESSAGES, NOTES, complete, write_frame_of_file, write_metadata
from .storage import Storage, open_storage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a file is to be.

    Attributes
    ----------
    first_id : int
        The id in its first row.
    packed : bool or None
        Rows in the order of arrival, not by id; None: by id, until the first ids turn out to be declined.
    room : int or None
        Most rows of a part.
    is_part : bool
        A data file, without metadata and receipt.
    """

    first_id: int = 1
    packed: bool | None = False
    room: int | None = None
    is_part: bool = False


class Recording:
    """A file that is being written.

    Use `create` or `resume`. It is locked against others for as long as it is open.
    """

    def __init__(self, path: Path, file: h5py.File, storage: Storage, n_expected: int | None, shape: Shape) -> None:
        self.path = path
        self.shape = shape
        self._file = file
        self._storage = storage
        self._guard = output_errors(path, storage)
        self._n_expected = n_expected
        self._entry = file["entry"]
        self._notes = file[NOTES]
        self._is_packed = bool(self._notes.attrs.get("packed", False))
        self._columns = Columns(file[MESSAGES], self._entry)
        self._declined = DeclinedIds(self._notes)
        self._arrays: Arrays | None = open_arrays(self._entry)
        self._checksums: dict[int, int] = {}
        blocks = self._columns.blocks("message_id", "received")
        self.ledger = Ledger(shape.first_id, packed=self._is_packed, blocks=blocks)
        self.is_dirty = False

    @classmethod
    def create(cls, path: Path, stream: StreamStart, shape: Shape | None = None) -> Recording:
        """Make the file and write the stream's metadata into it.

        Raises
        ------
        OutputError
            If that is not possible, e.g. because another process writes it.
        """
        shape = shape or Shape()
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file, storage = open_storage(path, new=True)
            try:
                write_frame_of_file(file, str(stream.address), first_id=shape.first_id, packed=bool(shape.packed))
                if not shape.is_part:
                    write_metadata(file, stream, path)
                recording = cls(path, file, storage, stream.n_expected, shape)
                recording.sync(to_disk=False)
            except BaseException:
                # Half a header is nothing that could be continued.
                path.unlink(missing_ok=True)
                file.close()
                storage.close(is_whole=True)
                raise
            return recording

    @classmethod
    def resume(cls, path: Path, stream: StreamStart, shape: Shape | None = None) -> Recording:
        """Go on with a file that a writer before left.

        Raises
        ------
        OutputExistsError
            If it holds another stream, or the same in another layout.
        OutputError
            If it cannot be opened: damaged, or another process writes it.
        """
        shape = shape or Shape()
        with output_errors(path):
            if is_blank(path):
                return cls.create(path, stream, shape)
            file, storage = open_storage(path, new=False)
            try:
                address = stream_address(file)
                if address != str(stream.address):
                    raise OutputExistsError(path, f"holds {address or 'no stream of ours'}")
                said = file[NOTES].attrs
                packed = bool(said.get("packed", False))
                if said.get("first_id", 1) != shape.first_id or shape.packed not in (None, packed):
                    raise OutputExistsError(path, "is of another layout: go on with the options that it was begun with")
                log.info("%s is continued", path)
                return cls(path, file, storage, stream.n_expected, shape)
            except BaseException:
                file.close()
                storage.close()
                raise

    @property
    def n_received(self) -> int:
        """How many different messages are in the file."""
        return self.ledger.n_received

    def add(self, frame: Frame) -> bool:
        """Write one message; return whether it was new.

        Raises
        ------
        MessageIdError, ShapeError, NotAnImageError, CodecError
            If the message cannot stand in this file; the file is as before.
        RecordingConflictError
            If the file holds another message under this id.
        OutputError
            If the file cannot be written.
        """
        message_id, header = frame.message_id, frame.header
        checksum = header.checksum
        row = self.ledger.place(message_id)
        if self._storage.is_behind:
            with self._guard:
                self._storage.catch_up()
        if self.holds(message_id, checksum):
            return False
        arrays = self._arrays
        if arrays is None:
            with output_errors(self.path):
                arrays = self._begin(frame)
        prepared = arrays.prepare(frame)
        own = {
            "message_id": message_id,
            "timestamp": header.timestamp_ns,
            "checksum": checksum,
            "received": 1,
            "late": int(frame.late),
        }
        with self._guard:
            arrays.write(row, prepared)
        self._columns.put(row, own, header.metadata)
        self.ledger.enter(message_id, row)
        self._checksums[message_id] = checksum
        self.is_dirty = True
        return True

    def holds(self, message_id: int, checksum: int) -> bool:
        """Return whether this very message is in the file.

        Raises
        ------
        RecordingConflictError
            If another one is, under its id.
        """
        row = self.ledger.find(message_id)
        if row is None:
            return False
        held = self._checksums.get(message_id)
        if held is None:
            with output_errors(self.path):
                held = self._columns.cell("checksum", row)
        if held != checksum:
            raise RecordingConflictError(self.path, message_id, held, checksum)
        return True

    def pass_over(self, gap: Gap) -> None:
        """Take note of ids that never came, of those that were declined."""
        if gap.is_declined:
            if self.shape.packed is None and not self._is_packed and self.ledger.n_rows == 0:
                self._notes.attrs["packed"] = self._is_packed = True
                self.ledger = Ledger(self.shape.first_id, packed=True)
            self._declined.add(gap.first_id, gap.last_id)
            self.is_dirty = True

    def sync(self, *, to_disk: bool) -> None:
        """Make what was written so far the state that the file is found in, and with `to_disk` force it to the disk."""
        with self._guard:
            self._put_down()
            self._file.flush()
            self._storage.commit(to_disk=to_disk)
        self.is_dirty = False

    def _put_down(self) -> None:
        """Hand to HDF5 what waits in memory."""
        if self._arrays is not None:
            self._arrays.flush()
        self._columns.write(self.ledger.n_rows)
        self._declined.write()
        self._checksums.clear()

    def verify(self) -> int:
        """Read every payload back and compare its checksum with the received one; return how many were compared.

        Raises
        ------
        VerificationError
            If one is another.
        """
        arrays, n_compared, first = self._arrays, 0, 0
        if arrays is None:
            return 0
        self.sync(to_disk=True)
        with output_errors(self.path):
            for ids, checksums, flags in self._columns.blocks("message_id", "checksum", "received"):
                for row in np.flatnonzero(flags).tolist():
                    payload = arrays.payload(first + row)
                    if payload is None:
                        continue
                    measured = xxhash.xxh3_64_intdigest(payload)
                    if measured != int(checksums[row]):
                        raise VerificationError(self.path, int(ids[row]), int(checksums[row]), measured)
                    n_compared += 1
                first += len(ids)
        return n_compared

    def close(self, end: StreamEnd | None) -> dict[str, Any]:
        """Close the file and return the report of a whole recording, which gets its receipt; a part has none.

        `end` None leaves a file that is complete as far as it goes, and can be continued.
        """
        n_rows = self._n_rows(end)
        with self._guard:
            self._put_down()
            self._columns.cut(n_rows)
            if self._arrays is not None:
                self._arrays.cut(n_rows)
                self._arrays.number(self.shape.first_id)
        report = {} if self.shape.is_part else self._write_receipt(end)
        self.sync(to_disk=True)
        for name, reason in self._columns.left_out.items():
            log.warning("%s: what messages say as %r became no column: %s", self.path, name, reason)
        self.let_go()
        return report

    def _write_receipt(self, end: StreamEnd | None) -> dict[str, Any]:
        with self._guard:
            receipt = self._receipt(end)
            if end and receipt.n_received:
                finish_times(self._entry, max(int(times.max()) for (times,) in self._columns.blocks("timestamp")))
            write_receipt(self._notes, receipt)
            return report_of(receipt, self._arrays.stored_bytes if self._arrays else 0)

    def let_go(self) -> None:
        """Close the file as it is; it has to be committed."""
        with self._guard:
            self._file.close()
            self._storage.commit(to_disk=False)
            self._storage.close(is_whole=True)

    def _n_rows(self, end: StreamEnd | None) -> int:
        """Return how many rows the file has in the end."""
        if self._is_packed or end is None:
            return self.ledger.n_rows
        n_rows = max(self.ledger.n_rows, end.last_id - self.shape.first_id + 1)
        return min(n_rows, self.shape.room) if self.shape.is_part and self.shape.room else n_rows

    def _begin(self, frame: Frame) -> Arrays:
        """Make what the first message needs, and everything that readers want beside it."""
        room = self.shape.room if self.shape.is_part else self._n_expected
        arrays = begin_arrays(self._entry, frame, None if self._is_packed else room)
        self._arrays = arrays
        if not self.shape.is_part:
            complete(self._entry, self.path, arrays.shape, frame.header.timestamp_ns, self._n_expected)
        return arrays

    def begin_like(self, path: Path) -> None:
        """Make the dataset of a part to which nothing came, like that of another one: readers count on it."""
        if self._arrays is not None:
            return
        with self._guard, h5py.File(path, "r") as file:
            self._arrays = arrays_like(self._entry, file["entry/data/data"])

    def _receipt(self, end: StreamEnd | None) -> Receipt:
        """Put together what the file holds."""
        last_id = max(self.ledger.last_id, end.last_id if end else 0)
        ids: npt.NDArray[np.int64] = self.ledger.ids()
        declined = merged(read_declined(self._notes))
        held = [
            (block_ids[flags != 0], checksums[flags != 0])
            for block_ids, checksums, flags in self._columns.blocks("message_id", "checksum", "received")
        ]
        held_ids = np.concatenate([one for one, _ in held] or [ids])
        held_checksums = np.concatenate([one for _, one in held] or [np.zeros(0, np.uint64)])
        return Receipt(
            n_expected=end.n_expected if end else self._n_expected,
            last_id=last_id,
            n_received=len(ids),
            missing=missing_among(ids, last_id, declined=declined),
            checksum=chain_over(held_ids, held_checksums),
            reason=end.reason if end else "open",
        )
