"""Streams that lie in files, read as if they were live: `OfflineReader`."""

from .errors import GroupNeedsBrokerError, NoRecordingError
from .reader import OfflineReader
from .receipt import path_receipt
from .recording import Recording, open_recording

__all__ = [
    "GroupNeedsBrokerError",
    "NoRecordingError",
    "OfflineReader",
    "Recording",
    "open_recording",
    "path_receipt",
]
