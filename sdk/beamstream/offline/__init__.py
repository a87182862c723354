"""Streams that lie in files, read as if they were live: `OfflineReader`."""

from .errors import ChannelError, GroupNeedsBrokerError, NoRecordingError, RecordingFormatError
from .reader import OfflineReader
from .receipt import path_receipt
from .recording import Recording, open_recording

__all__ = [
    "ChannelError",
    "GroupNeedsBrokerError",
    "NoRecordingError",
    "OfflineReader",
    "Recording",
    "RecordingFormatError",
    "open_recording",
    "path_receipt",
]
