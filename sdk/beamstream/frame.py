"""A message as readers get it, and the gap that stands where messages never came.

The payload stays as it was sent, compressed; `Frame.array` decompresses it once, when somebody wants pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .address import Address
from .errors import NotAnImageError
from .location import Location
from .records import maker

if TYPE_CHECKING:
    import numpy.typing as npt

Payload = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What describes one payload; travels in the index entry.

    Attributes
    ----------
    payload_bytes : int
        Length of the payload as it was sent [bytes].
    checksum : int
        XXH3-64 of the payload as it was sent.
    timestamp_ns : int
        When the producer got the message [ns since 1970, UTC].
    codec : str
        How the payload is packed: a name of `beamstream.codecs`.
    shape : tuple of int or None
        Shape of the unpacked array, slowest axis first; (n_slow, n_fast) for an image. None: not an array.
    dtype : str or None
        NumPy's name of the element with its byte order, e.g. ``<u2``. None: not an array.
    metadata : mapping
        What the producer says about this message: anything msgpack can carry.
    n_parts : int
        Of a dataset, how many parts it has once it is complete; 1 of what is no dataset.
    parts : tuple of Header
        Of a dataset, the parts that are there, in the order of their numbers; see `beamstream.dataset`.
    part : int
        Which part of a dataset this is, from 1; 0 of what is none.
    is_addition : bool
        These parts came after their dataset had been put into the index; the two count as one message.
    location : Location or None
        Where in shared memory the payload was put, if it was: for whoever fetches it; it may have gone from there.
    """

    payload_bytes: int
    checksum: int
    timestamp_ns: int
    codec: str = "none"
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_parts: int = 1
    parts: tuple[Header, ...] = ()
    part: int = 0
    is_addition: bool = False
    location: Location | None = field(default=None, compare=False, repr=False)

    @property
    def missing_parts(self) -> tuple[int, ...]:
        """Numbers of the parts that a dataset has not."""
        if len(self.parts) == self.n_parts or not self.parts:
            return ()
        there = {part.part for part in self.parts}
        return tuple(number for number in range(1, self.n_parts + 1) if number not in there)


new_header = maker(Header)
"""Makes a header from its fields in their order, for where messages come by the ten thousand; see `records`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message of a stream, as it is delivered.

    Attributes
    ----------
    address : Address
        The stream it belongs to.
    message_id : int
        The producer's number of it, consecutive from 1.
    header : Header
        Shape, dtype, codec, sizes, time, metadata.
    payload : bytes-like
        The bytes as they were sent, not copied; compressed as `header.codec` says.
    late : bool
        It came after its gap had been passed over.
    n_deliveries : int
        How often its group was given this message, this time included; 1 without a group.
    entry_id : str
        Its place in the index; what acknowledging refers to.
    place : int
        Its number among the messages of the stream in the order of the index, from 1, whatever ids are missing or late;
        0 where that is not known: in files, and of single messages that are read by their id.
    """

    address: Address
    message_id: int
    header: Header
    payload: Payload
    late: bool = False
    n_deliveries: int = 1
    entry_id: str = ""
    place: int = field(default=0, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process; a payload that is a view, of a buffer or of shared memory, becomes bytes."""
        payload = bytes(self.payload) if isinstance(self.payload, memoryview) else self.payload
        fields = (self.address, self.message_id, self.header, payload)
        return _remake, (*fields, self.late, self.n_deliveries, self.entry_id, self.place)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The producer's metadata of this message."""
        return self.header.metadata

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, slowest axis first; empty where the message is none."""
        return self.header.shape or ()

    @property
    def parts(self) -> tuple[Frame, ...]:
        """Of a dataset, its parts in the order of their numbers, each like a frame; empty of an ordinary message."""
        return ()

    @property
    def part(self) -> int:
        """Which part of a dataset this is, from 1; 0 of what is none."""
        return self.header.part

    @property
    def n_parts(self) -> int:
        """How many parts the message has once it is complete; 1 of an ordinary one, and of a part."""
        return self.header.n_parts

    @property
    def missing_parts(self) -> tuple[int, ...]:
        """Of a dataset, the numbers of the parts that are not here; empty of an ordinary message."""
        return self.header.missing_parts

    def array(self, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Unpack the pixels.

        Parameters
        ----------
        out : (n_slow, n_fast) array of the frame's dtype, C-contiguous, optional
            Where to put them; reusing one array saves the kernel's first touch of new memory.

        Returns
        -------
        (n_slow, n_fast) array of the frame's dtype
            `out` if it was given. Uncompressed payloads come as a read-only view of the payload itself otherwise.

        Raises
        ------
        NotAnImageError
            If the message carries no shape and dtype.
        ShapeError
            If `out` has another shape or dtype, or is not C-contiguous.
        CodecError
            If the payload is damaged, or its codec is unknown; checked before anything is allocated.
        """
        # Not every program that has to do with frames looks at pixels, and NumPy takes a while to import.
        import numpy as np

        from . import codecs

        header = self.header
        if header.shape is None or header.dtype is None:
            raise NotAnImageError(self.message_id)
        return codecs.decode(self.payload, header.codec, header.shape, np.dtype(header.dtype), out)


new_frame = maker(Frame)
"""Makes a frame from its fields in their order; see `new_header`."""


def _remake(*fields: Any) -> Frame:
    return new_frame(*fields)


DECLINED = "declined"
"""Reason of a gap where no message was to come."""

STATED = "stated"
"""Reason of a gap whose ids their producer knew to be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Ids without a message; stated, never skipped in silence.

    Attributes
    ----------
    first_id, last_id : int
        The ids, both included.
    reason : str
        ``declined``: the producer had nothing to send, and nothing is missing; ``stated``: the producer said that they
        are missing, so that nobody waits for them; ``patience``: they did not come in time; ``finished``: the producer
        ended the stream without them; ``held``: too much was waiting behind them; ``incomplete``: too few parts of a
        dataset came in time, and those that came follow as a late message; ``expired``: they came, and became older
        than the stream is kept before this reader came to them; ``lost``: they came, and the files do not have them any
        more.
    """

    first_id: int
    last_id: int
    reason: str

    @property
    def is_declined(self) -> bool:
        """Whether nothing is missing here: there was nothing to send."""
        return self.reason == DECLINED

    @property
    def n_messages(self) -> int:
        """How many ids these are."""
        return self.last_id - self.first_id + 1


def add_gap(gaps: MutableSequence[Gap], gap: Gap) -> None:
    """Append a gap; neighbours that their producer stated for one reason become one, however they were sent."""
    last = gaps[-1] if gaps else None
    if (
        last is not None
        and gap.reason in (DECLINED, STATED)
        and (last.reason, last.last_id + 1) == (gap.reason, gap.first_id)
    ):
        gaps[-1] = replace(last, last_id=gap.last_id)
    else:
        gaps.append(gap)
