"""The receipt of a stream that lies in files; the same as the broker's, but for groups, of which files know nothing."""

from __future__ import annotations

import os

from beamstream.receipt import Receipt, draw_receipt

from .recording import open_recording


def path_receipt(where: str | os.PathLike[str], *, verify: bool = False) -> Receipt:
    """Draw up the receipt of the stream at a path.

    Parameters
    ----------
    where : str or path
        A folder with segments, a file, whatever `open_recording` knows.
    verify : bool
        Whether every payload is read and its checksum computed; what is damaged then counts as missing.

    Raises
    ------
    NoRecordingError
        If there is no stream.
    SegmentFormatError, SegmentReadError, RecordingFormatError
        If it cannot be read.
    """
    recording = open_recording(where)
    try:
        contents = recording.contents(verify=verify)  # first: of some files only this knows how many bytes there are
        return draw_receipt(recording.address, recording.state(), contents, [])
    finally:
        recording.close()
