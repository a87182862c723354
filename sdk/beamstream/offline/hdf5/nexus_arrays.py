"""Where the arrays of our own NeXus files are, and those that are no images as payloads.

A recording is one file, or a master over data files: by links, each with as many rows as the master counts for it, or
by a virtual dataset, of which each source is read where it lies.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream import codecs
from beamstream.codecs.arrays import why_not

from .eiger_layout import numbered_links
from .files import OpenFiles, find_linked, reading
from .image_recording import Place
from .images import LayoutError, StoredImage
from .virtual import Piece

log = logging.getLogger(__name__)

IMAGES = "entry/data/data"
MESSAGE_SHAPE = "message_shape"
NOTHING = "no_payload"

CACHED_BYTES = 8 << 20
"""How much of small arrays is read at once [bytes]."""


def find_pieces(path: Path, files: OpenFiles) -> list[Piece]:
    """Return which rows are where; none where messages have no payload, or nothing came."""
    file = files.file(path)
    with reading(path):
        data = file["entry/data"]
        links = numbered_links(data)
        dataset = data.get("data")
    if links:
        return _linked(path, files, links)
    if dataset is None:
        return []
    with reading(path):
        if dataset.is_virtual:
            pieces = [_source(path, mapping) for mapping in dataset.virtual_sources()]
            there = {place: _is_there(path, place) for place in {piece.place for piece in pieces}}
            return sorted((piece for piece in pieces if there[piece.place]), key=lambda piece: piece.begin)
        return [Piece(0, int(dataset.shape[0]), Place(file=path, dataset=IMAGES))]


def _linked(path: Path, files: OpenFiles, links: list[tuple[int, str]]) -> list[Piece]:
    pieces: list[Piece] = []
    for _, name in links:
        with reading(path):
            link = files.file(path)["entry/data"].get(name, getlink=True)
        place = Place(file=find_linked(path, link.filename), dataset=link.path)
        if not _is_there(path, place):
            continue
        dataset = files.dataset(place.file, place.dataset)
        with reading(place.file):
            first_row = int(dataset.attrs["image_nr_low"]) - 1
            pieces.append(Piece(first_row, int(dataset.shape[0]), place))
    return pieces


def _source(path: Path, mapping: Any) -> Piece:
    """Return one mapping of our own masters: rows that lie together, to rows that lie together."""
    low, high = (int(one[0]) for one in mapping.vspace.get_select_bounds())
    whole = mapping.src_space.get_select_type() == h5py.h5s.SEL_ALL
    position = 0 if whole else int(mapping.src_space.get_select_bounds()[0][0])
    place = Place(file=find_linked(path, mapping.file_name), dataset=mapping.dset_name)
    return Piece(low, high - low + 1, place, position)


def _is_there(path: Path, place: Place) -> bool:
    if place.file.exists():
        return True
    log.warning("%s: data file %s is missing; its messages are stated as a gap", path, place.file)
    return False


class ArrayDataset:
    """A dataset of arrays that are no images; has what `ImageDataset` has.

    Parameters
    ----------
    dataset : h5py.Dataset
        One array per row: a chunk each, or many to a chunk, unpacked.
    codec : str
        How payloads were packed.
    """

    def __init__(self, dataset: h5py.Dataset, codec: str) -> None:
        self._dataset = dataset
        self.codec = codec
        self.packing = codec
        said = dataset.attrs.get(MESSAGE_SHAPE)
        self._is_batched = said is not None
        shape = dataset.shape[1:] if said is None else np.atleast_1d(said).tolist()
        self.image_shape = tuple(int(length) for length in shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        if (reason := why_not(self.image_shape, self.dtype)) is not None:
            raise LayoutError(f"{dataset.name}: {reason}")
        if codec not in codecs.CODECS:
            raise LayoutError(f"{dataset.name}: codec {codec!r} is unknown")
        if math.prod(self.image_shape) != math.prod(dataset.shape[1:]):
            raise LayoutError(f"{dataset.name} has rows of shape {dataset.shape[1:]}, said are {self.image_shape}")
        if not self._is_batched and dataset.chunks != (1, *self.image_shape):
            raise LayoutError(f"{dataset.name} has chunks of {dataset.chunks}")
        row_bytes = max(1, math.prod(self.image_shape) * self.dtype.itemsize)
        self._n_together = max(1, min(4096, CACHED_BYTES // row_bytes))
        self._block: tuple[int, npt.NDArray[Any]] = (-1, np.empty(0))

    stored_bytes: int | None = None
    """How long the payloads are is not known before they are read."""

    def read(self, position: int) -> StoredImage:
        """Return the array at a position, packed as it was."""
        if not self._is_batched:
            _, data = self._dataset.id.read_direct_chunk((position, *(0 for _ in self.image_shape)))
            stored_as = "bslz4" if self.codec == "byte-offset" else self.codec
            if self.codec != "lz4-block":
                codecs.to_hdf5_chunk(data, stored_as, self.image_shape, self.dtype)  # its sizes are checked there
            return StoredImage(
                payload=codecs.from_hdf5_chunk(data, self.codec, self.dtype), codec=self.codec, is_original=False
            )
        number, place = divmod(position, self._n_together)
        if self._block[0] != number:
            first = number * self._n_together
            self._block = number, self._dataset[first : first + self._n_together]
        values = np.ascontiguousarray(self._block[1][place]).reshape(self.image_shape)
        return StoredImage(payload=bytes(codecs.encode(values, self.codec)), codec=self.codec, is_original=False)
