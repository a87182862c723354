"""What a finished file says: which stream it holds, which messages, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream import Frame

from .column_kinds import CHUNK_ROWS
from .errors import OutputError, RecordingConflictError, output_errors
from .ledger import Ledger
from .receipt import Receipt, read_receipt
from .skeleton import MESSAGES, NOTES

BYTES_STORED = "bytes_stored"
"""Attribute of a master: size of all arrays in its data files [bytes]."""


class FinishedRecording:
    """A file that was finished before: redelivered messages are compared with it, and nothing is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with output_errors(path), h5py.File(path, "r") as file:
            columns, notes = file[MESSAGES], file[NOTES]
            self._checksums: npt.NDArray[np.uint64] = columns["checksum"][()]
            ids, flags = columns["message_id"][()], columns["received"][()]
            blocks = ((ids[at : at + CHUNK_ROWS], flags[at : at + CHUNK_ROWS]) for at in range(0, len(ids), CHUNK_ROWS))
            said = notes.attrs
            self.ledger = Ledger(int(said.get("first_id", 1)), packed=bool(said.get("packed", False)), blocks=blocks)
            self.report: dict[str, Any] = {}
            if "reason" in notes:
                images = file["entry/data"].get("data")
                stored = said.get(BYTES_STORED, images.id.get_storage_size() if images else 0)
                self.report = report_of(read_receipt(notes), int(stored))

    def holds(self, frame: Frame) -> bool:
        """Return whether this very message is in the file.

        Raises
        ------
        RecordingConflictError
            If another one is, under its id.
        """
        row = self.ledger.find(frame.message_id)
        if row is None:
            return False
        held = int(self._checksums[row])
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
    notes = file.get(NOTES)
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
