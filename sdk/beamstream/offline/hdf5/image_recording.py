"""What recordings in HDF5 files have in common: runs of images with consecutive ids, gaps between them.

Where the images are, and what is known of each beside its pixels, is for the formats to say: `nexus_recording`,
`eiger_recording`.
"""

from __future__ import annotations

import abc
import bisect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from beamstream.address import Address
from beamstream.dataset import make_frame
from beamstream.errors import CorruptDataError
from beamstream.frame import DECLINED, Frame, Gap, Header
from beamstream.offline.errors import RecordingFormatError
from beamstream.offline.recording import Item
from beamstream.receipt import Contents
from beamstream.state import StreamState

from .files import OpenFiles, reading
from .images import ImageDataset, LayoutError, StoredImage, merge_ranges, without

if TYPE_CHECKING:
    from .nexus_arrays import ArrayDataset

log = logging.getLogger(__name__)

MAX_MESSAGES = 100_000_000
"""Most messages of a recording: what a file claims beyond that is damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A dataset with images: its file, its name there, and which channel of it."""

    file: Path
    dataset: str
    channel: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRun:
    """Images with consecutive ids in one dataset.

    Attributes
    ----------
    first_id : int
        Message id of the first one.
    n_images : int
        How many.
    place : Place
        Where they are.
    position : int
        Of the first one in its dataset.
    """

    first_id: int
    n_images: int
    place: Place
    position: int = 0

    @property
    def last_id(self) -> int:
        """Message id of the last one."""
        return self.first_id + self.n_images - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is known of a message beside its pixels; without a checksum that of the payload is computed."""

    timestamp_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checksum: int | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a recording ended: the ids it should have, and why it has no more; `finished` False where nobody said."""

    last_id: int
    n_expected: int | None
    reason: str
    finished: bool = True


class ImageRecording(abc.ABC):
    """A stream of images in HDF5 files; see `beamstream.offline.Recording`.

    Parameters
    ----------
    path : Path
        The file that was opened.
    address : Address
        The stream.
    files : OpenFiles
        Closed with the recording.
    runs : list of ImageRun
        In the order of their ids.
    ending : Ending
        How it ended.
    gap_reason : str
        Why ids are missing.
    declined : sequence of (int, int)
        Ids for which no message was to come.
    """

    def __init__(
        self,
        path: Path,
        address: Address,
        files: OpenFiles,
        runs: list[ImageRun],
        ending: Ending,
        *,
        gap_reason: str,
        declined: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.path = path
        self.address = address
        self._files = files
        self._gap_reason = gap_reason
        self._ending = ending
        self._datasets: dict[Place, ImageDataset | ArrayDataset] = {}
        self._said_repacked = False
        self._runs = runs
        self._declined = merge_ranges(list(declined))
        self._first_ids = [run.first_id for run in runs]
        self._payload_bytes: int | None = None

    # --- for the formats -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def describe(self, message_id: int) -> Described:
        """Return what is known of a message that is there."""

    def late_ids(self) -> list[int]:
        """Return the ids of messages that came after their gap had been passed over."""
        return []

    @abc.abstractmethod
    def metadata(self) -> Mapping[str, Any]:
        """Return the stream metadata."""

    @property
    def runs(self) -> Sequence[ImageRun]:
        """Where the images are: runs of one dataset each, in the order of their ids."""
        return self._runs

    # --- what every recording has --------------------------------------------------------------------------------

    def items(self, start_id: int) -> Iterator[Item]:
        """Yield messages and gaps; what came late stands at the end, because nobody wrote down when it came."""
        late = self.late_ids()
        next_id = max(1, start_id)
        for first, last in without(self._ranges(next_id), [(one, one) for one in late]):
            if first > next_id:
                yield from self._gaps(next_id, first - 1)
            for message_id in range(first, last + 1):
                yield self._item(message_id)
            next_id = last + 1
        if self._ending.finished and next_id <= self._ending.last_id:
            yield from self._gaps(next_id, self._ending.last_id)
        for message_id in late:
            if message_id >= start_id:
                yield self._item(message_id)

    def _gaps(self, first_id: int, last_id: int) -> Iterator[Gap]:
        """Yield what of a range was declined, and what is missing."""
        missing = list(without([(first_id, last_id)], self._declined))
        found = [(first, last, self._gap_reason) for first, last in missing]
        found += [(first, last, DECLINED) for first, last in without([(first_id, last_id)], missing)]
        for first, last, reason in sorted(found):
            yield Gap(first_id=first, last_id=last, reason=reason)

    def _ranges(self, start_id: int) -> Iterator[tuple[int, int]]:
        for run in self._runs:
            if run.last_id >= start_id:
                yield max(start_id, run.first_id), run.last_id

    def _item(self, message_id: int) -> Item:
        try:
            return self._frame(message_id)
        except CorruptDataError as error:
            return error

    def find(self, message_id: int) -> Frame | None:
        """Read one message."""
        return None if self._run_of(message_id) is None else self._frame(message_id)

    def _run_of(self, message_id: int) -> ImageRun | None:
        at = bisect.bisect_right(self._first_ids, message_id) - 1
        run = self._runs[at] if at >= 0 else None
        return run if run is not None and message_id <= run.last_id else None

    def _frame(self, message_id: int) -> Frame:
        run = self._run_of(message_id)
        if run is None:
            raise RecordingFormatError(self.path, f"message {message_id} is not there")
        dataset = self.dataset(run.place)
        with reading(run.place.file):
            image = dataset.read(run.position + message_id - run.first_id)
        described = self.describe(message_id)
        header = Header(
            payload_bytes=len(image.payload),
            checksum=self._checksum(described, image),
            timestamp_ns=described.timestamp_ns,
            codec=image.codec,
            shape=dataset.image_shape,
            dtype=dataset.dtype.str,
            metadata=described.metadata,
        )
        return make_frame(
            self.address,
            message_id,
            header,
            [image.payload],
            late=described.late,
            entry_id=f"{message_id}-0",
        )

    @staticmethod
    def _checksum(described: Described, image: StoredImage) -> int:
        if described.checksum is not None and image.is_original:
            return described.checksum
        return xxhash.xxh3_64_intdigest(image.payload)

    def dataset(self, place: Place) -> ImageDataset | ArrayDataset:
        """Return the images at a place; raises `RecordingFormatError` where there are none that can be read."""
        file_is_open = self._files.is_open(place.file)
        known = self._datasets.get(place)
        if known is None or not file_is_open:
            try:
                with reading(place.file):
                    known = self.open_dataset(place)
            except LayoutError as error:
                raise RecordingFormatError(place.file, str(error)) from error
            self._datasets[place] = known
            self._say_repacked(known)
        return known

    def open_dataset(self, place: Place) -> ImageDataset | ArrayDataset:
        """Return what is at a place."""
        return ImageDataset(self._files.dataset(place.file, place.dataset), place.channel)

    def _say_repacked(self, dataset: ImageDataset | ArrayDataset) -> None:
        if dataset.codec is None and not self._said_repacked:
            self._said_repacked = True
            log.info(
                "%s: its images are stored with %s, which cannot be passed on as it is; "
                "they are unpacked, and packed as bslz4",
                self.path,
                dataset.packing,
            )

    def contents(self, *, verify: bool) -> Contents:
        """Return what is there; reads all of it where the file has no checksums, or they are to be verified."""
        contents = Contents()
        contents.declined = list(self._declined)
        payload_bytes = 0
        for message_id in self._ids():
            known = None if verify or not self._knows_sizes else self.known_checksum(message_id)
            if known is None:
                item = self._item(message_id)
                if not isinstance(item, Frame):
                    log.error("%s: message %d: %s", self.path, message_id, item)
                    continue
                known = item.header.checksum
                payload_bytes += item.header.payload_bytes
            contents.checksums[message_id] = known
        self._payload_bytes = payload_bytes or self._payload_bytes
        return contents

    @cached_property
    def _knows_sizes(self) -> bool:
        """Whether the files tell how long all payloads are without being read."""
        return all(self._stored_bytes(place) is not None for place in {run.place for run in self._runs})

    def known_checksum(self, message_id: int) -> int | None:
        """Return the checksum of a message where the file says it."""
        return None

    def _ids(self) -> Iterator[int]:
        for first, last in self._ranges(1):
            yield from range(first, last + 1)

    def last(self) -> Frame | None:
        """Read the last message that is whole."""
        for run in reversed(self._runs):
            for message_id in range(run.last_id, run.first_id - 1, -1):
                item = self._item(message_id)
                if isinstance(item, Frame):
                    return item
        return None

    def state(self) -> StreamState:
        """Draw up the state from what the files have; the bytes of what is packed anew are counted by `contents`."""
        ending = self._ending
        n_received = sum(run.n_images for run in self._runs)
        n_declined = sum(last - first + 1 for first, last in self._declined)
        highest = self._runs[-1].last_id if self._runs else 0
        last_id = max(highest, ending.last_id) if ending.finished else highest
        return StreamState(
            created_ns=self.describe(self._runs[0].first_id).timestamp_ns if self._runs else 0,
            next_id=last_id + 1,
            n_received=n_received,
            n_duplicate=0,
            n_retried=0,
            n_conflict=0,
            n_late=len(self.late_ids()),
            n_missing=last_id - n_received - n_declined,
            n_declined=n_declined,
            n_refused=0,
            n_dropped=0,
            n_held=0,
            total_bytes=self._total_bytes(),
            memory_bytes=0,
            released_id=last_id + 1,
            finished=ending.finished,
            last_id=last_id if ending.finished else 0,
            n_expected=ending.n_expected,
            reason=ending.reason if ending.finished else "",
            next_stream=None,
            keep="overflow",
            spilled_position=0,
            n_spilled=0,
        )

    def _total_bytes(self) -> int:
        if self._payload_bytes is None:
            sizes = [self._stored_bytes(place) for place in {run.place for run in self._runs}]
            self._payload_bytes = sum(size for size in sizes if size is not None)
        return self._payload_bytes

    def _stored_bytes(self, place: Place) -> int | None:
        dataset = self.dataset(place)
        with reading(place.file):
            return dataset.stored_bytes

    def close(self) -> None:
        """Let the files go."""
        self._datasets.clear()
        self._files.close()
