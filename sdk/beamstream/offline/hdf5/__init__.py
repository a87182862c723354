"""Streams that lie in HDF5 files: our own NeXus files, and what a detector's file writer made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .signature import split_channel, starts_like_hdf5

if TYPE_CHECKING:
    from pathlib import Path

    from .image_recording import ImageRecording

__all__ = ["open_hdf5"]


def open_hdf5(path: Path, part: int | None) -> ImageRecording | None:
    """Open an HDF5 file with images; None where it is none. An entry point of `beamstream.recordings`.

    Raises
    ------
    RecordingFormatError
        If it cannot be read.
    ChannelError
        If ``path#channel`` names a channel that is not there.
    UsageError
        If a part is asked for: its messages have none.
    """
    path, channel = split_channel(path)
    if not starts_like_hdf5(path):
        return None
    from .opening import open_images  # and with it NumPy and HDF5, for such files only

    return open_images(path, part, channel)
