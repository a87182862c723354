"""A geometry from whatever there is: a ``.geom``, ``.poni`` or NeXus file, told apart by what is in it, or metadata."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamstream.errors import BeamstreamError
from beamstream.offline.hdf5.files import OpenFiles
from beamstream.offline.hdf5.tree import read_tree

from .crystfel_format import parse_geom
from .crystfel_writing import to_geom
from .description import Geometry
from .errors import GeometryFormatError, GeometryIncompleteError
from .nexus_format import parse_nexus, wavelength_a
from .poni_format import parse_poni

MAX_FILE_BYTES = 64 << 20
"""Longest text file [bytes]; that of an AGIPD has 100 kB."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

_PONI = re.compile(r"^\s*(poni_version|poni1|poni2|pixelsize1|distance|dist)\s*:", re.IGNORECASE | re.MULTILINE)
_GEOM = re.compile(r"^\s*[^\s;=/]+/\w+\s*=", re.MULTILINE)


def read_geometry(
    source: str | os.PathLike[str] | Mapping[str, Any],
    shape: tuple[int, int] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Geometry:
    """Read a geometry.

    Parameters
    ----------
    source : path or mapping
        A CrystFEL ``.geom`` file, a pyFAI ``.poni`` file, a NeXus file; or a stream's metadata.
    shape : (n_slow, n_fast), optional
        Shape of the frames [pixels]: needed where the source does not say it, and checked where it does.
    metadata : mapping, optional
        A stream's metadata, for what a file does not say itself: the wavelength, and what a ``.geom`` refers to.

    Returns
    -------
    Geometry
        Of frames of `shape`.

    Raises
    ------
    GeometryFormatError
        If it describes no possible detector, or is none of these files.
    GeometryIncompleteError
        If it does not say where the detector is, or how many pixels it has.
    GeometryShapeError
        If it describes frames of another shape.
    """
    if isinstance(source, Mapping):
        geometry = parse_nexus(source, shape=shape)
    else:
        path = Path(source)
        geometry = _parse(path, _read_text(path), shape, metadata)
    if geometry.wavelength_a is None and metadata is not None:
        geometry = geometry.at(wavelength_a=wavelength_a(metadata))
    if shape is not None:
        geometry.check(shape)
    return geometry


def geometry_text(path: Path) -> str:
    """Return a geometry file as a text that can be kept and sent, its name in the first line.

    Of a NeXus file, that is what CrystFEL would write.

    Raises
    ------
    GeometryFormatError
        If it is none.
    GeometryIncompleteError
        If it is a NeXus file that does not say all.
    """
    text = _read_text(path)
    if text is None:
        return to_geom(_parse(path, None, None, None), comment=path.name)
    with contextlib.suppress(GeometryIncompleteError):  # a .poni leaves the shape to the frames
        _parse(path, text, None, None)
    return f"{'#' if path.suffix == '.poni' else ';'} {path.name}\n{text}"


def _read_text(path: Path) -> str | None:
    """Return the text in a file; None where it is HDF5."""
    where = str(path)
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise GeometryFormatError(where, 0, "there is no such file")
        with path.open("rb") as file:
            is_hdf5 = file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
        if not is_hdf5 and path.stat().st_size > MAX_FILE_BYTES:
            reason = f"{path.stat().st_size} bytes; the limit of a text is {MAX_FILE_BYTES}"
            raise GeometryFormatError(where, 0, reason)
        return None if is_hdf5 else path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise GeometryFormatError(where, 0, str(error)) from error


def _parse(path: Path, text: str | None, shape: tuple[int, int] | None, metadata: Mapping[str, Any] | None) -> Geometry:
    """Return the geometry in a file of which `_read_text` has been read."""
    if text is None:
        return parse_nexus(_tree(path), str(path), shape)
    return parse_text(text, str(path), shape, metadata)


def parse_text(
    text: str,
    where: str,
    shape: tuple[int, int] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Geometry:
    """Return the geometry that a text describes, as CrystFEL or pyFAI write it; `where` is its name in messages.

    Raises
    ------
    GeometryFormatError, GeometryIncompleteError, GeometryShapeError
        As `read_geometry`.
    """
    if _GEOM.search(text):
        return parse_geom(text, where, metadata)
    if _PONI.search(text):
        return parse_poni(text, where, shape)
    raise GeometryFormatError(where, 0, "it is no CrystFEL .geom, pyFAI .poni or NeXus file")


def _tree(path: Path) -> dict[str, Any]:
    """Return the metadata in a NeXus file, images left out."""
    files = OpenFiles()
    try:
        file = files.file(path)
        return read_tree(file["/"], files, path, skip=("/entry/data",))
    except BeamstreamError as error:
        raise GeometryFormatError(str(path), 0, str(error)) from error
    finally:
        files.close()
