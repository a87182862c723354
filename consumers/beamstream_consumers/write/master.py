"""The master of a recording in several data files: metadata, columns, receipt, and where the images are.

Of data files by blocks of ids it has links ``/entry/data/data_000001``, …, as detectors' own masters: XDS, DIALS and
albula know these. Of data files with any ids it has a virtual dataset ``/entry/data/data`` in the order of ids, which
needs nothing but HDF5 1.10. It is made anew each time, from data files that are finished.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from beamstream import Gap
from beamstream.errors import ShapeError
from beamstream.service import StreamEnd, StreamStart

from .arrays import NOTHING
from .columns import Columns
from .declined import DeclinedIds, merged
from .errors import output_errors
from .finished import BYTES_STORED
from .gathering import IMAGES, Index, Part, gather_columns, make_index, read_part
from .images import fill_value
from .nxmx import finish_times
from .receipt import Receipt, chain_over, missing_among, write_receipt
from .skeleton import MESSAGES, NOTES, complete, write_frame_of_file, write_metadata
from .storage import LIBRARY_BOUNDS

log = logging.getLogger(__name__)


def compose(
    path: Path,
    stream: StreamStart,
    data_files: Sequence[Path],
    end: StreamEnd,
    *,
    images_per_file: int | None = None,
    packed: bool = False,
    declined: Sequence[Gap] = (),
) -> None:
    """Make a master.

    Parameters
    ----------
    path : Path
        The file; what is there is replaced.
    stream, end : StreamStart, StreamEnd
        The stream.
    data_files : sequence of Path
        In the order of their numbers.
    images_per_file : int, optional
        How many ids each of them has; then they are linked to.
    packed : bool
        Only messages that are there have a row.
    declined : sequence of Gap
        Ids without a message by decision that no data file knows of.

    Raises
    ------
    RecordingConflictError
        If two data files have different messages under one id.
    ShapeError
        If they have different arrays.
    OutputError
        If a file cannot be read or written.
    """
    parts = [read_part(one, str(stream.address)) for one in data_files]
    shape, dtype = _common(parts)
    index = make_index(parts, end.last_id, packed=packed)
    if index.n_twice:
        log.info("%s: %d messages are in two data files; each counts once", path, index.n_twice)
    with output_errors(path), h5py.File(path, "w", libver=LIBRARY_BOUNDS, locking="best-effort") as file:
        write_frame_of_file(file, str(stream.address), first_id=1, packed=packed)
        write_metadata(file, stream, path)
        gather_columns(file, parts, index)
        if not parts:
            Columns(file[MESSAGES]).cut(len(index.part))
        linked = images_per_file is not None and len(shape) == 2  # of other arrays no program wants links
        if dtype is not None and not linked:
            _map_images(file, parts, index, shape, np.dtype(dtype), path)
        elif dtype is not None:
            _link_images(file, parts)
        elif index.ids.size:
            file[NOTES].attrs[NOTHING] = True
        _finish(file, path, stream, end, parts, index, shape)
        if linked:
            file["entry/data"].attrs["signal"] = "data_000001"
        _write_receipt(file[NOTES], parts, index, end, declined)
        file.flush()
        os.fsync(file.id.get_vfd_handle())


def _common(parts: Sequence[Part]) -> tuple[tuple[int, ...], str | None]:
    """Return shape and dtype of the arrays of all data files; None where there are none."""
    kinds = {(part.dataset[0][1:], part.dataset[1]): part.path for part in parts if part.dataset is not None}
    if len(kinds) > 1:
        told = "; ".join(f"{path.name}: {shape} {dtype}" for (shape, dtype), path in kinds.items())
        raise ShapeError(
            f"data files of one recording hold different arrays: {told}; move those away that are not of it"
        )
    for shape, dtype in kinds:
        return shape, dtype
    return (), None


def _link_images(file: h5py.File, parts: Sequence[Part]) -> None:
    """Link to each data file, as detectors' masters do."""
    for number, part in enumerate(parts, start=1):
        file["entry/data"][f"data_{number:06d}"] = h5py.ExternalLink(part.path.name, f"/{IMAGES}")


def _map_images(
    file: h5py.File, parts: Sequence[Part], index: Index, shape: tuple[int, ...], dtype: np.dtype, path: Path
) -> None:
    """Make a virtual dataset over all data files; each run of rows that lie together is one mapping."""
    space = (len(index.part), *shape)
    layout = h5py.VirtualLayout(shape=space, dtype=dtype, maxshape=space)
    sources = [
        None if part.dataset is None else h5py.VirtualSource(part.path.name, IMAGES, shape=part.dataset[0], dtype=dtype)
        for part in parts
    ]
    n_mappings = 0
    breaks = np.flatnonzero((np.diff(index.part) != 0) | (np.diff(index.row) != 1)) + 1
    bounds = [0, *breaks.tolist(), len(index.part)]
    for first, last in itertools.pairwise(bounds):
        source = sources[int(index.part[first])] if last > first and index.part[first] >= 0 else None
        if source is not None:
            row = int(index.row[first])
            layout[first:last] = source[row : row + last - first]
            n_mappings += 1
    dataset = file["entry/data"].create_virtual_dataset("data", layout, fillvalue=fill_value(dtype))
    first_part = next(part for part in parts if part.dataset is not None)
    with h5py.File(first_part.path, "r") as part_file:
        dataset.attrs.update({k: v for k, v in part_file[IMAGES].attrs.items() if not k.startswith("image_nr")})
    dataset.attrs["image_nr_low"] = np.uint64(1)
    dataset.attrs["image_nr_high"] = np.uint64(len(index.part))
    log.debug("%s: %d images in %d runs", path, len(index.ids), n_mappings)


def _finish(
    file: h5py.File,
    path: Path,
    stream: StreamStart,
    end: StreamEnd,
    parts: Sequence[Part],
    index: Index,
    shape: tuple[int, ...],
) -> None:
    """Add what readers of NeXus files look for, and when it was."""
    file[NOTES].attrs[BYTES_STORED] = sum(part.stored_bytes for part in parts)
    if not index.ids.size:
        return
    messages = file[MESSAGES]
    times = messages["timestamp"][()][index.part >= 0]
    complete(file["entry"], path, shape, int(times[0]), end.n_expected or stream.n_expected)
    finish_times(file["entry"], int(times.max()))


def _write_receipt(
    notes: h5py.Group, parts: Sequence[Part], index: Index, end: StreamEnd, declined: Sequence[Gap]
) -> None:
    known = merged(
        [one for part in parts for one in part.declined]
        + [(gap.first_id, gap.last_id) for gap in declined if gap.is_declined]
    )
    ranges = DeclinedIds(notes)
    for first, last in known:
        ranges.add(first, last)
    ranges.write()
    ids = index.ids
    last_id = max(end.last_id, int(ids[-1]) if len(ids) else 0)
    write_receipt(
        notes,
        Receipt(
            n_expected=end.n_expected,
            last_id=last_id,
            n_received=len(ids),
            missing=missing_among(ids, last_id, declined=known),
            checksum=chain_over(ids, index.checksums),
            reason=end.reason,
        ),
    )
