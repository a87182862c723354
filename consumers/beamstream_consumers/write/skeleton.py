"""What a file has beside its messages: the stream's metadata, and what readers of NeXus files look for.

Images make a file an NXmx; spectra, counters and columns alone an entry with an NXdata, whose axis is the time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from beamstream.service import StreamStart

from .errors import NodeError
from .nexus import write_tree
from .nxmx import Acquisition, complete_nxmx, iso_time

log = logging.getLogger(__name__)

RESERVED = ("/entry/data/data", "/entry/beamstream", "/entry/result_1")
"""What the stream metadata may not write."""

MESSAGES = "entry/beamstream/messages"
"""Where the columns are."""

NOTES = "entry/beamstream"
"""Where the receipt is, and what this file is."""


def write_frame_of_file(file: h5py.File, address: str, *, first_id: int, packed: bool) -> None:
    """Make the groups that every file has."""
    file.attrs["default"] = "entry"  # what viewers open first
    entry = nexus_group(file, "entry", "NXentry")
    nexus_group(entry, "data", "NXdata")
    notes = nexus_group(entry, "beamstream", "NXcollection")
    notes.attrs["address"] = address
    notes.attrs["first_id"] = first_id
    notes.attrs["packed"] = packed
    nexus_group(notes, "messages", "NXcollection")


def write_metadata(file: h5py.File, stream: StreamStart, path: Path) -> None:
    """Write the stream's metadata into a new file; what cannot be written is named there and in the log."""
    entry = file["entry"]
    notes = entry["beamstream"]
    others = dict(stream.metadata)
    header = others.pop("entry", {})
    if not isinstance(header, Mapping):
        others["entry"], header = header, {}
    rejected: list[NodeError] = write_tree(entry, header, RESERVED)
    if others:
        rejected += write_tree(nexus_group(notes, "metadata", "NXcollection"), others)
    notes["metadata_left_out"] = np.array([str(error) for error in rejected], dtype=h5py.string_dtype())
    for error in rejected:
        log.warning("%s: %s", path, error)


def complete(entry: h5py.Group, path: Path, shape: tuple[int, ...], start_ns: int, n_expected: int | None) -> None:
    """Add what readers of NeXus files look for, now that it is known what the messages are.

    `shape` is that of one message's array, () where they have none.
    """
    if len(shape) == 2:
        completed = complete_nxmx(
            entry, Acquisition(shape=(shape[0], shape[1]), start_ns=start_ns, n_expected=n_expected)
        )
        added, unknown = completed.added, completed.unknown
        if unknown:
            log.warning("%s: nobody said %s; written as unknown", path, ", ".join(unknown))
    else:
        added = _complete_series(entry, start_ns)
    entry["beamstream"]["completed"] = np.array(added, dtype=h5py.string_dtype())


def _complete_series(entry: h5py.Group, start_ns: int) -> list[str]:
    """Make what is no image an NXdata over time; return the paths that were added."""
    added = []
    entry.attrs["default"] = "data"
    if "start_time" not in entry:
        entry["start_time"] = iso_time(start_ns)
        added.append("/entry/start_time")
    data = entry["data"]
    if "data" in data:
        data.attrs["signal"] = "data"
        data.attrs["axes"] = np.array(["timestamp", *("." for _ in data["data"].shape[1:])], dtype=h5py.string_dtype())
    if "timestamp" not in data:
        data["timestamp"] = entry["beamstream/messages/timestamp"]  # a hard link
        added.append("/entry/data/timestamp")
    return added


def nexus_group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """Return a group of `parent`, made if it is not there."""
    group = parent.require_group(name)
    if "NX_class" not in group.attrs:
        group.attrs["NX_class"] = nx_class
    return group
