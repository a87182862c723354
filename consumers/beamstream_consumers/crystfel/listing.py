"""Lists of events in files, as `indexamajig -i` takes them, and the geometry that goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beamstream.errors import UsageError
from beamstream.offline.hdf5.image_recording import ImageRecording
from beamstream.offline.recording import Recording, open_recording
from beamstream_consumers.detector_metadata import detector_of
from beamstream_consumers.geometry import Geometry, GeometryIncompleteError, MaskFile, read_geometry, to_geom
from beamstream_consumers.geometry.nexus_format import path_of_detector
from beamstream_consumers.kernels.sum_blocks import flag_value

MAX_EVENTS = 100_000_000
"""Most events of a list."""


ANY_BIT = 0xFFFF_FFFF
"""A NeXus mask is bad where any bit is set."""


class ListingError(UsageError):
    """Files that CrystFEL cannot read image by image."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is in some files.

    Attributes
    ----------
    lines : list of str
        One for each image that is there: ``file //position``.
    data : str
        The dataset that they are in.
    shape : (n_slow, n_fast)
        Shape of the images [pixels].
    dtype : str
        Of their pixels.
    """

    lines: list[str]
    data: str
    shape: tuple[int, int]
    dtype: str


def list_events(paths: list[Path]) -> Listing:
    """Return the images in NeXus files or a detector's own files.

    Parameters
    ----------
    paths : list of Path
        Files of `stream consume write`, or master files.

    Raises
    ------
    ListingError
        If they are something else, of different shapes, or there is no image in them.
    NoRecordingError, RecordingFormatError
        If they cannot be read.
    """
    lines: list[str] = []
    datasets: dict[str, Path] = {}
    shapes: dict[tuple[tuple[int, ...], str], Path] = {}
    for path in paths:
        recording = open_recording(path)
        try:
            lines += _lines(recording, path, datasets, shapes)
        finally:
            recording.close()
        if len(lines) > MAX_EVENTS:
            raise ListingError(path, f"more than {MAX_EVENTS} images")
    if not lines:
        raise ListingError(paths[0], "there is no image in it")
    for what, found in (("datasets", datasets), ("shapes", shapes)):
        if len(found) > 1:
            (first, one), (second, other), *_ = found.items()
            reason = f"its images have {second}, those of {one} have {first}; make a list for each ({what})"
            raise ListingError(other, reason)
    shape, dtype = next(iter(shapes))
    if len(shape) != 2:
        raise ListingError(paths[0], f"its messages have shape {shape}; CrystFEL reads images")
    return Listing(lines=lines, data=next(iter(datasets)), shape=(shape[0], shape[1]), dtype=dtype)


def geometry_of(path: Path, listing: Listing, geometry: Path | None, comment: str) -> str:
    """Return a ``.geom`` for the files of a list.

    Parameters
    ----------
    path : Path
        The first of them.
    listing : Listing
        What is in them.
    geometry : Path or None
        A geometry that is better than the file's own.
    comment : str
        Put at its beginning.

    Raises
    ------
    GeometryIncompleteError
        If neither says where the detector is.
    GeometryShapeError
        If it does not fit the images.
    """
    recording = open_recording(path)
    try:
        metadata = recording.metadata()
    finally:
        recording.close()
    described = read_geometry(geometry or metadata, listing.shape, metadata)
    for name, value in (("distance", described.distance_m), ("wavelength", described.wavelength_a)):
        if value is None and name not in described.locations:
            raise GeometryIncompleteError(described.origin, f"the {name}", "give a --geometry that does")
    return to_geom(_with_bad_pixels(described, path, metadata, listing), data=listing.data, comment=comment)


def _with_bad_pixels(geometry: Geometry, path: Path, metadata: Mapping[str, Any], listing: Listing) -> Geometry:
    """Return a geometry that says which pixels are bad: the file's own mask, and the flag value."""
    mask = detector_of(metadata).get("pixel_mask")
    if not geometry.masks and isinstance(mask, np.ndarray) and mask.shape == listing.shape:
        found = MaskFile(
            location=path_of_detector(metadata) + "/pixel_mask", file=str(path.absolute()), bad_bits=ANY_BIT
        )
        geometry = replace(geometry, masks=(found,))
    flag = flag_value(listing.dtype)
    if flag is None:
        return geometry
    panels = tuple(
        panel if panel.flags.equal else replace(panel, flags=replace(panel.flags, equal=(float(flag),)))
        for panel in geometry.panels
    )
    return replace(geometry, panels=panels)


def _lines(
    recording: Recording, path: Path, datasets: dict[str, Path], shapes: dict[tuple[tuple[int, ...], str], Path]
) -> Iterator[str]:
    """Yield the lines of one recording, and note datasets and shapes."""
    if not isinstance(recording, ImageRecording):
        raise ListingError(path, "CrystFEL reads HDF5 files of images; these are none")
    last = recording.last()
    if last is not None:
        shapes.setdefault((last.shape, str(last.header.dtype)), path)
    for run in recording.runs:
        datasets.setdefault(f"/{run.place.dataset.lstrip('/')}", run.place.file)
        file = run.place.file.absolute()
        if any(letter.isspace() for letter in str(file)):
            raise ListingError(file, "CrystFEL's lists cannot name files with blanks in their path; rename it")
        for position in range(run.position, run.position + run.n_images):
            yield f"{file} //{position}"
