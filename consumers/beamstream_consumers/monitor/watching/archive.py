"""The archive: pictures of any message of any run, by their ids, and single pixels of them exactly.

The last frames are at hand, compressed as they came; others are read from the broker, wherever it has them. A few
finished pictures are kept, too.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from beamstream import Consumer
from beamstream.address import Address, SourceAddress
from beamstream.errors import BeamstreamError, MessageNotFoundError, StreamNotFoundError
from beamstream.frame import Frame
from beamstream_consumers.monitor.errors import NoPictureError, UnknownSourceError
from beamstream_consumers.monitor.pictures.history import Bounded
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.picture import Kind, Picture
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks, has_peaks, read_peaks
from beamstream_consumers.monitor.pictures.scene import Scene
from beamstream_consumers.monitor.requests import ExactPixel

from .desk import Desk, KeptFrame

PICTURES_BYTES = 256 << 20
"""What is kept of pictures that were asked for [bytes]: some ten of 4M pixels, with their levels."""

MAX_READERS = 8
"""Streams that are kept open."""


class Store(Protocol):
    """Where streams are."""

    def open(self, address: Address) -> Consumer:
        """Return a reader of a stream."""
        ...

    def made_ns(self, consumer: Consumer) -> int:
        """Return when a stream was made [ns since 1970]; what was kept of another one of its name is not of it."""
        ...

    def ids_beside(self, consumer: Consumer, message_id: int, by: int, *, only_hits: bool = False) -> list[int]:
        """Return the ids of up to `by` messages after (or before) one, the nearest first.

        With `only_hits` those whose metadata say that they are hits.
        """
        ...


class Reader:
    """A stream that is open for reading by id.

    Attributes
    ----------
    consumer : Consumer
        Reads it.
    created_ns : int
        When the stream was made.
    """

    def __init__(self, consumer: Consumer, created_ns: int) -> None:
        self.consumer = consumer
        self.created_ns = created_ns
        self.metadata = consumer.metadata
        self._lock = threading.Lock()

    def read(self, message_id: int) -> Frame:
        """Return a message, see `Consumer.read`; one thread at a time."""
        with self._lock:
            return self.consumer.read(message_id)


class StreamArchive:
    """Finds messages of the runs of the data sources that are watched.

    Parameters
    ----------
    desk : Desk
        What is shared.
    sources : mapping
        Name of a data source → its address, or the only stream that is shown of it.
    store : Store
        Where streams are.
    """

    def __init__(
        self,
        desk: Desk,
        sources: Mapping[str, SourceAddress | Address],
        store: Store,
    ) -> None:
        self._desk = desk
        self._sources = sources
        self._store = store
        self._lock = threading.Lock()
        self._readers: OrderedDict[Address, Reader] = OrderedDict()
        self._pictures: Bounded[tuple[str, Kind, str, int, int, int], Picture] = Bounded(PICTURES_BYTES)

    def close(self) -> None:
        """Let all streams go."""
        with self._lock:
            for reader in self._readers.values():
                reader.consumer.close()
            self._readers.clear()

    # --- pictures ------------------------------------------------------------------------------------------------

    def picture(self, source: str, kind: Kind, stream: str, message_id: int) -> Picture:
        """Return the picture of one message; see `Archive.picture`."""
        _check_kind(kind)
        reader = self.reader(source, stream)
        kept = self.message(source, kind, stream, message_id)
        frame = kept.frame
        if len(frame.shape) != 2:
            raise NoPictureError(f"message {message_id} of {frame.address}", "it is no image")
        scene = self.scene(source, stream, frame)
        key = (source, kind, stream, reader.created_ns, message_id, id(scene))
        made = self._pictures.get(key)
        if made is None:
            made = make_picture(
                frame.array(),
                scene,
                source=source,
                kind=kind,
                stream=stream,
                message_id=message_id,
                taken_ns=frame.header.timestamp_ns,
                said=kept.said,
            )
            self._pictures.put(key, made, 3 * made.image.nbytes)
        return made

    def message(self, source: str, kind: Kind, stream: str, message_id: int) -> KeptFrame:
        """Return a message and what the peak finder says of it, from what is at hand or from the broker.

        Raises
        ------
        BeamstreamError
            If it is gone, or never came.
        """
        is_hit = kind == "hit"
        reader = self.reader(source, stream)
        key = (source, is_hit, stream, reader.created_ns, message_id)
        kept = self._desk.history.get(key)
        if kept is not None and (kept.said is not None or is_hit):
            return kept
        try:
            frame = kept.frame if kept is not None else self._reader_of(source, kind, stream).read(message_id)
        except (StreamNotFoundError, MessageNotFoundError):
            if not is_hit:
                raise
            frame = reader.read(message_id)  # hits whose stream is not there: the frame has the same bytes
        found = KeptFrame(frame, self._said(source, stream, frame))
        self._desk.history.put(key, found, frame.header.payload_bytes + 4096)
        return found

    def _said(self, source: str, stream: str, frame: Frame) -> SaidPeaks | None:
        """Return what is said of a frame, None where nothing is, or nothing that can be read."""
        shape = frame.shape
        if len(shape) != 2:
            return None
        try:
            if has_peaks(frame.metadata):
                return read_peaks(frame.message_id, frame.metadata, (shape[0], shape[1]))
            peaks = self._derived(source, stream, "peaks").read(frame.message_id)
            return read_peaks(frame.message_id, peaks.metadata, (shape[0], shape[1]))
        except BeamstreamError:
            return None

    def scene(self, source: str, stream: str, frame: Frame) -> Scene:
        """Return the scene of a frame."""
        reader, shape = self.reader(source, stream), frame.shape
        address = self._address(source, stream)
        return self._desk.scenes.of(source, address, reader.created_ns, reader.metadata, (shape[0], shape[1]))

    # --- neighbours ----------------------------------------------------------------------------------------------

    def neighbour(self, source: str, kind: Kind, stream: str, message_id: int, by: int) -> int:
        """Return the id so many messages after or before one; see `Archive.neighbour`."""
        _check_kind(kind)
        consumer, only_hits = self._beside(source, kind, stream)
        if ids := self._store.ids_beside(consumer, message_id, by, only_hits=only_hits):
            return ids[-1]
        # It is the last one there is, or lies beyond it.
        here, back = message_id + (1 if by > 0 else -1), -1 if by > 0 else 1
        nearest = self._store.ids_beside(consumer, here, back, only_hits=only_hits)
        if not nearest:
            raise NoPictureError(str(consumer.address), "it has no messages")
        return nearest[0]

    def _beside(self, source: str, kind: Kind, stream: str) -> tuple[Consumer, bool]:
        """Return the stream whose messages are the neighbours, and whether only the hits among them are."""
        if kind != "hit":
            return self.reader(source, stream).consumer, False
        for what, only_hits in (("hits", False), ("peaks", True)):
            try:
                return self._derived(source, stream, what).consumer, only_hits
            except StreamNotFoundError:
                continue
        return self.reader(source, stream).consumer, True

    # --- pixels --------------------------------------------------------------------------------------------------

    def pixel(self, picture: Picture, x: int, y: int) -> ExactPixel:
        """Return what one pixel of a picture says; see `Archive.pixel`."""
        x, y = math.floor(x), math.floor(y)
        scene = self._scene_of(picture)
        height, width = picture.shape
        if not (0 <= x < width and 0 <= y < height):
            return ExactPixel(value=None, why="outside", raw=None, resolution_a=None)
        raw = None if scene is None else scene.raw_pixel(x, y)
        if scene is not None and scene.assembly is not None and raw is None:
            return ExactPixel(value=None, why="outside", raw=None, resolution_a=None)
        number = int(picture.image[y, x])
        masked = picture.mask is not None and bool(picture.mask[y, x])
        why = "masked" if masked else "no value" if number == picture.flag else None
        value = None if why else number * picture.scale + picture.offset
        resolution_a = None if scene is None or raw is None else scene.resolution_a(raw.slow, raw.fast)
        shown: dict[str, int | str] | None = None
        if raw is not None and scene is not None and scene.assembly is not None:
            shown = {"fs": raw.fast, "ss": raw.slow, "panel": raw.panel}
        return ExactPixel(value=value, why=why, raw=shown, resolution_a=resolution_a)

    def _scene_of(self, picture: Picture) -> Scene | None:
        """Return the scene of a picture; None where its run is gone."""
        return self._desk.scenes.seen(picture.source, picture.stream, picture.shape)

    # --- streams -------------------------------------------------------------------------------------------------

    def reader(self, source: str, stream: str) -> Reader:
        """Return the reader of a run.

        Raises
        ------
        UnknownSourceError, AddressError
            If the source is not watched, or that is no name.
        StreamNotFoundError, ServerError
            If there is no such stream, or the server cannot be asked.
        """
        return self._opened(self._address(source, stream))

    def _reader_of(self, source: str, kind: Kind, stream: str) -> Reader:
        return self._derived(source, stream, "hits") if kind == "hit" else self.reader(source, stream)

    def _derived(self, source: str, stream: str, what: str) -> Reader:
        address = self._address(source, stream)
        return self._opened(Address(address.beamtime, f"{address.source}-{what}", address.name))

    def _address(self, source: str, stream: str) -> Address:
        if source not in self._sources:
            raise UnknownSourceError(source, list(self._sources))
        where = self._sources[source]
        address = where.source_address if isinstance(where, Address) else where
        return Address(address.beamtime, address.source, stream)

    def _opened(self, address: Address) -> Reader:
        """Return an open reader; one of a stream that was made anew is opened anew."""
        with self._lock:
            reader = self._readers.pop(address, None)
            if reader is not None and not self._is_same(reader):
                reader.consumer.close()
                reader = None
            if reader is None:
                consumer = self._store.open(address)
                reader = Reader(consumer, self._store.made_ns(consumer))
            self._readers[address] = reader
            while len(self._readers) > MAX_READERS:
                _, oldest = self._readers.popitem(last=False)
                oldest.consumer.close()
            return reader

    def _is_same(self, reader: Reader) -> bool:
        try:
            return self._store.made_ns(reader.consumer) == reader.created_ns
        except StreamNotFoundError:
            return False


def _check_kind(kind: Kind) -> None:
    if kind not in ("frame", "hit"):
        raise NoPictureError(kind, "powders have no single messages; only the newest one is shown")
