"""Where the images of a virtual dataset really are.

HDF5 gives fill values in place of a source that is missing, without a word, and hands no chunks out through a virtual
dataset. So images are read where they lie.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from .files import find_linked
from .image_recording import Place
from .images import merge_ranges, without

log = logging.getLogger(__name__)

Corners = tuple[tuple[int, ...], tuple[int, ...]]
"""First and last index of a selection along each axis."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Images from `begin` on, as the dataset counts them, that lie together at `place` from `position` on."""

    begin: int
    n_images: int
    place: Place
    position: int = 0


def find_sources(path: Path, dataset: h5py.Dataset, channel: int | None) -> list[Piece] | None:
    """Return where the images of a virtual dataset are.

    Where a mapping is no plain range of whole images (modules, each with a file), all are read through the virtual
    dataset itself, but for those of which a source is missing. None where a mapping has no end: then nothing tells
    which images are missing.
    """
    found: list[tuple[int, int, bool, Piece | None]] = []
    for mapping in dataset.virtual_sources():
        try:
            corners = _corners(mapping.vspace.get_select_bounds())
        except (ValueError, RuntimeError):
            return None
        if channel is not None and not corners[0][1] <= channel <= corners[1][1]:
            continue
        file = path if mapping.file_name == "." else find_linked(path, mapping.file_name)
        piece = _piece(dataset, mapping, corners, file, channel)
        found.append((corners[0][0], corners[1][0], file.exists(), piece))
    pieces = [piece for *_, piece in found if piece is not None]
    if len(pieces) == len(found):
        return pieces
    for begin, end, is_there, _ in found:
        if not is_there:
            log.warning("%s: a source of images %d to %d is missing; they are left out", path, begin + 1, end + 1)
    missing = merge_ranges([(begin, end) for begin, end, is_there, _ in found if not is_there])
    covered = merge_ranges([(begin, end) for begin, end, *_ in found])
    place = Place(file=path, dataset=str(dataset.name), channel=channel)
    return [Piece(begin, end - begin + 1, place, begin) for begin, end in without(covered, missing)]


def _piece(dataset: h5py.Dataset, mapping: Any, corners: Corners, file: Path, channel: int | None) -> Piece | None:
    """Return a mapping of whole images to whole images, one after the other; None where it is something else."""
    low, high = corners
    whole = (dataset.shape[-2] - 1, dataset.shape[-1] - 1)
    if (low[-2:], high[-2:]) != ((0, 0), whole) or not _is_block(mapping.vspace, corners):
        return None
    n_images, first_channel = high[0] - low[0] + 1, low[1] if channel is not None else 0
    source: Corners
    if mapping.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        source = tuple(0 for _ in low), tuple(last - first for first, last in zip(low, high, strict=True))
    else:
        source = _corners(mapping.src_space.get_select_bounds())
        if tuple(mapping.src_space.shape[-2:]) != tuple(dataset.shape[-2:]) or not _is_block(mapping.src_space, source):
            return None
    source_low, source_high = source
    if (source_low[-2:], source_high[-2:]) != ((0, 0), whole) or source_high[0] - source_low[0] + 1 != n_images:
        return None
    source_channel = None
    if channel is not None:
        source_channel = channel - first_channel + (source_low[1] if len(source_low) == 4 else 0)
        if len(source_low) == 3 and high[1] != low[1]:
            return None
    place = Place(file=file, dataset=mapping.dset_name, channel=source_channel)
    return Piece(low[0], n_images, place, source_low[0])


def _corners(bounds: Any) -> Corners:
    low, high = bounds
    return tuple(int(one) for one in low), tuple(int(one) for one in high)


def _is_block(space: Any, corners: Corners) -> bool:
    """Whether a selection is all that is between its corners."""
    n_points = 1
    for first, last in zip(*corners, strict=True):
        n_points *= last - first + 1
    return int(space.get_select_npoints()) == n_points
