"""What the file writer of a DECTRIS detector made, as a `Recording`; other NXmx masters are read the same way.

Image numbers count from 1, as message ids do. Times of single images are not in such files: they follow from the start
and the frame time. One recording is one channel; `path#threshold_2` names another one than the first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamstream.address import MAX_NAME_LENGTH, Address

from .eiger_layout import MAX_AXIS_LENGTH, Layout, find_layout
from .files import OpenFiles, reading
from .image_recording import Described, Ending, ImageRecording
from .tree import read_tree

log = logging.getLogger(__name__)

GAP_REASON = "lost"
"""Why ids are missing: their data file is not here, or was never written."""

DETECTOR = "entry/instrument/detector"
SPECIFIC = f"{DETECTOR}/detectorSpecific"
IMAGES = re.compile(r"data(_\d+)?")

CHANNEL_GROUP = "{}_channel"
"""Where a channel's threshold, mask and flat field are in the newer layout."""

LIFTED = ("pixel_mask", "flatfield", "threshold_energy", "saturation_value")
"""What belongs directly under the detector, and is in the group of the channel or of the maker's own things."""

_UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}

MAX_IMAGES = 100_000_000
"""Most images that a header is believed to promise."""


class EigerRecording(ImageRecording):
    """A master with its data files, or a data file by itself; see `open`."""

    def __init__(self, path: Path, files: OpenFiles, layout: Layout, n_expected: int | None) -> None:
        file = files.file(path)
        with reading(path):
            frame_times_s = [_number(file, f"{DETECTOR}/{name}") for name in ("frame_time", "count_time")]
            self._frame_time_s = next((one for one in frame_times_s if one and one > 0), 0.0)
            self._start_ns = _start_ns(file, path)
            self._times = _times(file)
        self._layout = layout
        last_id = min(layout.last_id, n_expected) if n_expected else layout.last_id
        last_id = max(last_id, layout.runs[-1].last_id if layout.runs else 0)
        n_there = sum(run.n_images for run in layout.runs)
        is_complete = n_there == max(last_id, n_expected or 0)
        ending = Ending(last_id=last_id, n_expected=n_expected, reason="complete" if is_complete else "incomplete")
        super().__init__(
            path,
            _address(path, layout.channel if layout.n_channels > 1 else None),
            files,
            layout.runs,
            ending,
            gap_reason=GAP_REASON,
        )

    @classmethod
    def open(cls, path: Path, files: OpenFiles, channel: str | None) -> EigerRecording | None:
        """Open a file; None where there are no images in it."""
        with reading(path):
            n_expected = _n_promised(files.file(path))
        layout = find_layout(path, files, channel, n_expected)
        return None if layout is None else cls(path, files, layout, n_expected)

    def describe(self, message_id: int) -> Described:
        """Return when the image was taken, and its number as the detector counts, from 0."""
        offset_ns = round((message_id - 1) * self._frame_time_s * 1e9)
        position = self._layout.position(message_id)
        if position < len(self._times):
            offset_ns = int(self._times[position])
        return Described(timestamp_ns=self._start_ns + offset_ns, metadata={"image_id": message_id - 1})

    @cached_property
    def _tree(self) -> dict[str, Any]:
        file = self._files.file(self.path)
        with reading(self.path):
            entry_group = file.get("entry")
            if not isinstance(entry_group, h5py.Group):
                return {}
            names = list(file["entry/data"]) if "entry/data" in file else []
            skip = {f"/entry/data/{name}" for name in names if IMAGES.fullmatch(name)}
            skip |= {f"/{DETECTOR}/data", "/entry/data@signal"}
            entry = read_tree(entry_group, self._files, self.path, skip)
        _lift(entry, self._layout.channel)
        return {"entry": entry}

    def metadata(self) -> Mapping[str, Any]:
        """Return the master's tree; mask and flat field of this channel are the detector's."""
        return self._tree


def _lift(entry: dict[str, Any], channel: str | None) -> None:
    """Put mask, flat field and threshold directly under the detector, where readers of stream metadata look."""
    instrument = entry.get("instrument")
    detector = instrument.get("detector") if isinstance(instrument, dict) else None
    if not isinstance(detector, dict):
        return
    own = detector.get(CHANNEL_GROUP.format(channel)) if channel else None
    for group in (own, detector.get("detectorSpecific")):
        if not isinstance(group, dict):
            continue
        for name in LIFTED:
            if name in group and name not in detector:
                for key in [key for key in group if key == name or key.startswith(f"{name}@")]:
                    detector[key] = group.pop(key)
    if channel:
        for name in [name for name in detector if name.endswith("_channel") and detector[name] is not own]:
            del detector[name]  # what is said of the other channels


def _n_promised(file: h5py.File) -> int | None:
    """Return how many images the detector was told to take: images times triggers."""
    n_images = _number(file, f"{SPECIFIC}/nimages")
    if n_images is None:
        return None
    n_promised = int(n_images) * int(_number(file, f"{SPECIFIC}/ntrigger") or 1)
    return n_promised if 0 < n_promised <= MAX_IMAGES else None


def _number(file: h5py.File, name: str) -> float | None:
    """Return a number; None where there is none, e.g. because it is a link to a file that is not here."""
    try:
        node = file.get(name)
        if isinstance(node, h5py.Dataset) and node.size == 1 and node.dtype.kind in "iuf":
            value = float(np.ravel(node[()])[0])
            return value if np.isfinite(value) else None
    except (OSError, RuntimeError, KeyError, ValueError):
        pass
    return None


def _start_ns(file: h5py.File, path: Path) -> int:
    """Return when the first image was taken [ns since 1970, UTC]; when the file was written where it does not say."""
    for name in ("entry/start_time", f"{SPECIFIC}/data_collection_date", f"{DETECTOR}/data_collection_date"):
        try:
            node = file.get(name)
            if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.itemsize > 1024:
                continue
            moment = datetime.fromisoformat(_text(np.ravel(node[()])[0]).strip("\0 "))
            # The detector writes the time of its own clock without a zone; ours are all UTC.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return int(moment.timestamp() * 1_000_000) * 1000
        except (OSError, RuntimeError, KeyError, ValueError, OverflowError, TypeError):
            continue
    log.info("%s does not say when it was taken; its own date is used", path)
    return path.stat().st_mtime_ns


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _times(file: h5py.File) -> Any:
    """Return when each image was taken after the first one, (n,) int64 [ns]; empty where the file does not say."""
    axis = file.get("entry/data/start_time")
    nothing = np.empty(0, np.int64)
    if not isinstance(axis, h5py.Dataset) or axis.ndim != 1 or axis.dtype.kind not in "iuf":
        return nothing
    if not 0 < axis.size <= MAX_AXIS_LENGTH:
        return nothing
    unit = _UNITS_NS.get(_text(axis.attrs.get("units", "")))
    if unit is None:
        return nothing
    times = axis[()].astype(np.float64) * unit
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0) or times[-1] - times[0] > 2**62:
        return nothing
    return np.rint(times - times[0]).astype(np.int64)


def _address(path: Path, channel: str | None) -> Address:
    """Return an address made of the file's name; such files belong to no stream."""
    stem = path.name.removesuffix(path.suffix).removesuffix("_master")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{stem}_{channel}" if channel else stem)
    name = name if name[:1].isalnum() or name[:1] == "_" else f"_{name}"
    return Address("files", "eiger", name[:MAX_NAME_LENGTH])
