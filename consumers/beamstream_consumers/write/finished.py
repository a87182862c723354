"""What a finished file says: which stream it holds, which messages, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream import Frame

from .errors import OutputError, RecordingConflictError, output_errors
from .receipt import Receipt, read_receipt

MESSAGES = "entry/beamstream/messages"
"""Where the columns are."""


class FinishedRecording:
    """A file that was finished before: redelivered messages are compared with it, and nothing is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with output_errors(path), h5py.File(path, "r") as file:
            columns = file[MESSAGES]
            self._received: npt.NDArray[np.bool_] = columns["received"][()].astype(np.bool_)
            self._checksums: npt.NDArray[np.uint64] = columns["checksum"][()]
            receipt = read_receipt(file["entry/beamstream"])
            images = file["entry/data"].get("data")
            self.report = report_of(receipt, images.id.get_storage_size() if images else 0)

    def holds(self, frame: Frame) -> bool:
        """Return whether this very message is in the file.

        Raises
        ------
        RecordingConflictError
            If another one is, under its id.
        """
        index = frame.message_id - 1
        if not 0 <= index < len(self._received) or not self._received[index]:
            return False
        held = int(self._checksums[index])
        if held != frame.header.checksum:
            raise RecordingConflictError(self.path, frame.message_id, held, frame.header.checksum)
        return True


def stream_of(path: Path) -> str | None:
    """Return the address of the stream that a file holds, None if it is no file of ours."""
    try:
        with output_errors(path), h5py.File(path, "r") as file:
            return stream_address(file)
    except OutputError:
        return None


def stream_address(file: h5py.File) -> str | None:
    """Return which stream an open file holds."""
    notes = file.get("entry/beamstream")
    address = notes.attrs.get("address") if isinstance(notes, h5py.Group) else None
    return address if isinstance(address, str) else None


def report_of(receipt: Receipt, stored_bytes: int) -> dict[str, Any]:
    """Return what the group's report says about the file."""
    return {
        "n_written": receipt.n_received,
        "n_missing": receipt.n_missing,
        "checksum": f"{receipt.checksum:016x}",
        "bytes_written": stored_bytes,
    }
