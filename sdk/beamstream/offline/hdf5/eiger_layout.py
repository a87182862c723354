"""Where the images of a detector's file writer are: in the file itself, in data files that it links to, or both.

| layout                          | images                                                                          |
|---------------------------------|---------------------------------------------------------------------------------|
| hdf5 nexus legacy nxmx          | links /entry/data/data_000001, … to data files, (n, n_slow, n_fast) each        |
| the same, nimages_per_file = 0  | /entry/data/data                                                                |
| hdf5 nexus v2024.2 nxmx         | one virtual dataset /entry/data/data, (n, n_channels, n_slow, n_fast)           |
| a data file by itself           | /entry/data/data or /data                                                       |

Links are taken in the order of their numbers, and a data file that is not there leaves a hole as long as it should be.
The same goes for the sources of a virtual dataset: HDF5 itself would give fill values in their place without a word.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream.offline.errors import ChannelError, RecordingFormatError

from .files import OpenFiles, find_linked, reading
from .image_recording import MAX_MESSAGES, ImageRun, Place
from .images import ImageDataset, LayoutError
from .virtual import Piece, find_sources

log = logging.getLogger(__name__)

DATA = "entry/data"
SINGLE = ("entry/data/data", "data")
"""Where a file may have its images as one dataset; the latter is how some facilities' own writers do it."""

MAX_LINKS = 100_000
"""Most data files of a master; one for each image of a long run."""

MAX_AXIS_LENGTH = 10_000_000
"""Longest axis beside the images that is read [elements]: 80 MB."""

_NUMBERED = re.compile(r"data_(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where images are.

    Attributes
    ----------
    runs : list of ImageRun
        What is there, in the order of the ids.
    last_id : int
        Last id that there should be, as far as links and datasets say.
    channel : str or None
        Name of the channel where the file has an axis of them.
    n_channels : int
        How many there are.
    ids : (n_images,) int64 or None
        The images' own numbers, from 0, where the file has them.
    """

    runs: list[ImageRun]
    last_id: int
    channel: str | None = None
    n_channels: int = 1
    ids: npt.NDArray[np.int64] | None = None

    def position(self, message_id: int) -> int:
        """Return which image of all this message is, from 0, as the axes beside the images count."""
        return message_id - 1 if self.ids is None else int(np.searchsorted(self.ids, message_id - 1))


def find_layout(path: Path, files: OpenFiles, channel: str | None, n_promised: int | None = None) -> Layout | None:
    """Return where the images of a file are; None where there are none.

    `n_promised` says how many there should be: how long data files are of which none is there.

    Raises
    ------
    RecordingFormatError
        If the file is damaged.
    ChannelError
        If there is no such channel.
    """
    file = files.file(path)
    with reading(path):
        data = file.get(DATA)
        links = numbered_links(data) if isinstance(data, h5py.Group) else []
    if links:
        if channel is not None:
            raise ChannelError(path, channel, ())
        return _linked(path, files, links, n_promised or 0)
    for name in SINGLE:
        with reading(path):
            node = file.get(name)
        if isinstance(node, h5py.Dataset) and len(node.shape or ()) in (2, 3, 4):
            return _single(path, files, node, channel)
    return None


def numbered_links(data: h5py.Group) -> list[tuple[int, str]]:
    """Return the names of the data files' links, in the order of their numbers."""
    found: list[tuple[int, str]] = []
    for name in data:
        if match := _NUMBERED.fullmatch(str(name)):
            found.append((int(match[1]), str(name)))
        if len(found) >= MAX_LINKS:
            break
    return sorted(found)


# --- legacy: a link for each data file -----------------------------------------------------------------------------


@dataclass(slots=True)
class _DataFile:
    """What one link leads to; `n_images` None where it leads nowhere."""

    number: int
    place: Place
    n_images: int | None = None
    first_id: int | None = None
    stored: Sequence[tuple[int, int]] = ()


def _linked(path: Path, files: OpenFiles, links: list[tuple[int, str]], n_promised: int) -> Layout:
    parts = [_data_file(path, files, number, name) for number, name in links]
    lengths = [part.n_images for part in parts if part.n_images]
    usual = max(lengths, default=-(-n_promised // len(parts)))  # all but the last have the same length
    runs: list[ImageRun] = []
    next_id, next_number = 1, 1
    for part in parts:
        next_id += max(0, part.number - next_number) * usual  # links that are not even there
        next_number = part.number + 1
        if part.n_images is None:
            next_id += usual
            continue
        if part.first_id is not None and next_id <= part.first_id <= MAX_MESSAGES:
            next_id = part.first_id
        elif part.first_id is not None:
            log.warning("%s says image_nr_low %d, which cannot be", part.place.file, part.first_id)
        runs += [
            ImageRun(first_id=next_id + first, n_images=last - first + 1, place=part.place, position=first)
            for first, last in part.stored
        ]
        next_id += part.n_images
        if next_id > MAX_MESSAGES:
            raise RecordingFormatError(path, f"it claims more than {MAX_MESSAGES} images")
    return Layout(runs=runs, last_id=next_id - 1)


def _data_file(path: Path, files: OpenFiles, number: int, name: str) -> _DataFile:
    """Look at what a link leads to."""
    with reading(path):
        link = files.file(path)[DATA].get(name, getlink=True)
    place = Place(file=path, dataset=f"{DATA}/{name}")
    if isinstance(link, h5py.ExternalLink):
        place = Place(file=find_linked(path, link.filename), dataset=link.path)
        if not place.file.exists():
            log.warning("%s: data file %s is missing; its images are stated as a gap", path, place.file)
            return _DataFile(number, place)
    try:
        dataset = files.dataset(place.file, place.dataset)
        with reading(place.file):
            images = ImageDataset(dataset)
            n_images, stored = images.n_images, images.present()
            low = dataset.attrs.get("image_nr_low")
    except (RecordingFormatError, LayoutError) as error:
        log.warning("%s: data file %s is left out: %s", path, place.file, error)
        return _DataFile(number, place)
    first_id = int(np.ravel(low)[0]) if isinstance(low, np.ndarray | np.integer) and np.size(low) else None
    return _DataFile(number, place, n_images, first_id, stored)


# --- one dataset ---------------------------------------------------------------------------------------------------


def _single(path: Path, files: OpenFiles, dataset: h5py.Dataset, wanted: str | None) -> Layout:
    with reading(path):
        shape = tuple(int(length) for length in dataset.shape)
        n_channels = shape[1] if len(shape) == 4 else 1
        names = _channel_names(dataset.parent, n_channels)
        channel = _choose_channel(path, names, wanted) if len(shape) == 4 else None
    if len(shape) != 4 and wanted is not None:
        raise ChannelError(path, wanted, ())
    n_images = shape[0] if len(shape) > 2 else 1
    if n_images > MAX_MESSAGES:
        raise RecordingFormatError(path, f"it claims {n_images} images; at most {MAX_MESSAGES} can be")
    with reading(path):
        pieces = find_sources(path, dataset, channel) if dataset.is_virtual else None
    if pieces is None:
        pieces = [Piece(0, n_images, Place(file=path, dataset=str(dataset.name), channel=channel))]
    with reading(path):
        first_id = _first_id(dataset)
        ids = _image_ids(dataset, n_images)
    runs: list[ImageRun] = []
    for piece in pieces:
        for first, last in _stored_of(path, files, piece):
            runs += _numbered_runs(piece, first, last, ids, first_id)
    runs = _one_after_the_other(path, runs)
    last_id = first_id + n_images - 1 if ids is None else int(ids.max(initial=0)) + 1
    name = names[channel] if channel is not None else None
    return Layout(runs=runs, last_id=last_id, channel=name, n_channels=n_channels, ids=ids)


def _one_after_the_other(path: Path, runs: list[ImageRun]) -> list[ImageRun]:
    """Put runs in order, and leave those out whose ids are there already."""
    kept: list[ImageRun] = []
    for run in sorted(runs, key=lambda run: run.first_id):
        if kept and run.first_id <= kept[-1].last_id:
            log.warning("%s has images %d to %d twice; the first ones count", path, run.first_id, run.last_id)
        else:
            kept.append(run)
    return kept


def _stored_of(path: Path, files: OpenFiles, piece: Piece) -> list[tuple[int, int]]:
    """Return the ranges of images of a piece that are stored, as the dataset counts them."""
    file = piece.place.file
    if not file.exists():
        log.warning("%s: data file %s is missing; its images are stated as a gap", path, file)
        return []
    try:
        dataset = files.dataset(file, piece.place.dataset)
        with reading(file):
            stored = ImageDataset(dataset, piece.place.channel).present()
    except (RecordingFormatError, LayoutError) as error:
        if file == path:
            raise RecordingFormatError(path, str(error)) from error
        log.warning("%s: data file %s is left out: %s", path, file, error)
        return []
    begin, end = piece.position, piece.position + piece.n_images
    shift = piece.begin - piece.position
    return [
        (max(first, begin) + shift, min(last + 1, end) - 1 + shift)
        for first, last in stored
        if first < end and last >= begin
    ]


def _numbered_runs(piece: Piece, first: int, last: int, ids: Any, first_id: int) -> list[ImageRun]:
    """Return images `first` to `last` as runs of consecutive ids."""
    if ids is None:
        ranges = [(first, last)]
    else:
        breaks = [int(place) + first + 1 for place in np.flatnonzero(np.diff(ids[first : last + 1]) != 1)]
        begins, ends = [first, *breaks], [*(one - 1 for one in breaks), last]
        ranges = list(zip(begins, ends, strict=True))
    return [
        ImageRun(
            first_id=first_id + begin if ids is None else int(ids[begin]) + 1,
            n_images=end - begin + 1,
            place=piece.place,
            position=piece.position + begin - piece.begin,
        )
        for begin, end in ranges
    ]


def _first_id(dataset: h5py.Dataset) -> int:
    """Return the id of a data file's first image, as it says itself."""
    low = dataset.attrs.get("image_nr_low")
    if isinstance(low, np.ndarray | np.integer) and np.size(low) and 1 <= int(np.ravel(low)[0]) <= MAX_MESSAGES:
        return int(np.ravel(low)[0])
    return 1


def _image_ids(dataset: h5py.Dataset, n_images: int) -> npt.NDArray[np.int64] | None:
    """Return the images' own numbers, from 0, where each is higher than the one before; None where there are none."""
    axis = dataset.parent.get("image_id")
    if not isinstance(axis, h5py.Dataset) or axis.shape != (n_images,) or axis.dtype.kind not in "iu" or not n_images:
        return None
    if n_images > MAX_AXIS_LENGTH:
        return None
    ids: npt.NDArray[np.int64] = axis[()].astype(np.int64)
    if np.all(np.diff(ids) > 0) and ids[0] >= 0 and ids[-1] < MAX_MESSAGES:
        return ids
    log.warning("%s: the numbers in image_id are no sequence; images are counted from 1", dataset.file.filename)
    return None


def _channel_names(data: h5py.Group, n_channels: int) -> list[str]:
    """Return the names of the channels, from the axis if it is there."""
    axis = data.get("channel")
    if isinstance(axis, h5py.Dataset) and axis.shape == (n_channels,) and h5py.check_string_dtype(axis.dtype):
        return [str(name) for name in axis.asstr(errors="replace")[()].tolist()]
    return [f"threshold_{number}" for number in range(1, n_channels + 1)]


def _choose_channel(path: Path, names: list[str], wanted: str | None) -> int:
    if wanted is None:
        if len(names) > 1:
            log.info("%s has the channels %s; this is %s, the others are read as %s#NAME",
                     path, ", ".join(names), names[0], path.name)  # fmt: skip
        return 0
    if wanted not in names:
        raise ChannelError(path, wanted, names)
    return names.index(wanted)
