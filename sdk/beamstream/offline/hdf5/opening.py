"""Which kind of HDF5 file a path is: our own, or one of a detector's file writer."""

from __future__ import annotations

import logging
from pathlib import Path

import h5py

from beamstream.consumer.parts import check_part
from beamstream.offline.errors import ChannelError

from .eiger_recording import EigerRecording
from .files import OpenFiles, reading
from .image_recording import ImageRecording
from .nexus_recording import NexusRecording, is_ours

log = logging.getLogger(__name__)


def open_images(path: Path, part: int | None, channel: str | None) -> ImageRecording | None:
    """Open an HDF5 file; None where there are no images in it. See `open_hdf5`."""
    files = OpenFiles()
    try:
        recording = _open(path, files, channel)
    except BaseException:
        files.close()
        raise
    if recording is None:
        files.close()
        log.warning("%s is an HDF5 file without images at /entry/data/data, /entry/data/data_000001 or /data", path)
        return None
    check_part(str(path), 1, part)
    return recording


def _open(path: Path, files: OpenFiles, channel: str | None) -> ImageRecording | None:
    file: h5py.File = files.file(path)
    with reading(path):
        ours = is_ours(file)
    if ours:
        if channel is not None:
            raise ChannelError(path, channel, ())
        return NexusRecording(path, files)
    return EigerRecording.open(path, files, channel)
