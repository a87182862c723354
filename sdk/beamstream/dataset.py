"""A dataset: a message in several parts under one id, as several detector modules send it.

Its header is made of its parts' headers: payload bytes are their sum, the time is the earliest, the checksum a
combination that the scripts can compute too. Each part has a payload of its own under a key of its own; the bytes of
all parts, one behind the other in the order of their numbers, are the dataset's payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from .address import Address
from .errors import ChecksumError, IncompleteDatasetError, NotAnImageError, ShapeError
from .frame import Frame, Header, Payload
from .location import Location

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_PARTS = 1024
"""Most parts of a message: more modules than any detector has; the header of each has 1 kB then."""

PayloadId = tuple[int, int] | tuple[int, int, int]
"""What names a payload within its stream: message id, XXH3-64, and the part's number where it is a part's."""

_OFFSET, _PRIME = 0x811C9DC5, 0x01000193
"""Those of the 32-bit FNV-1a hash."""


def combine_checksums(parts: Iterable[tuple[int, int]]) -> int:
    """Combine the checksums of parts, given as (part number, XXH3-64) in the order of their numbers.

    Two chains of 32 bits, because the scripts have no larger integers: upper and lower halves of the checksums, the
    part's number before each. A step is FNV-1a's, with a word in place of a byte.

    References
    ----------
    PROTOCOL.md, section 2.
    """
    upper = lower = _OFFSET
    for number, checksum in parts:
        upper = _step(_step(upper, number), checksum >> 32)
        lower = _step(_step(lower, number), checksum & 0xFFFFFFFF)
    return upper << 32 | lower


def _step(state: int, word: int) -> int:
    return (state ^ word) * _PRIME & 0xFFFFFFFF


def dataset_header(n_parts: int, parts: Iterable[Header], *, is_addition: bool = False) -> Header:
    """Make the header of a dataset from the headers of its parts, each with its number."""
    ordered = tuple(sorted(parts, key=lambda one: one.part))
    return Header(
        payload_bytes=sum(one.payload_bytes for one in ordered),
        checksum=combine_checksums((one.part, one.checksum) for one in ordered),
        timestamp_ns=min(one.timestamp_ns for one in ordered),
        n_parts=n_parts,
        parts=ordered,
        is_addition=is_addition,
    )


def header_of_part(header: Header, part: int) -> Header | None:
    """Return the header of one part of a dataset; None where that part is not there."""
    return next((one for one in header.parts if one.part == part), None)


def payload_ids(message_id: int, header: Header) -> list[PayloadId]:
    """Return what names the payloads of a message: one, or one for each part."""
    if header.parts:
        return [(message_id, one.checksum, one.part) for one in header.parts]
    return [(message_id, header.checksum, header.part) if header.part else (message_id, header.checksum)]


class Stored(NamedTuple):
    """A payload as its entry names it: by what it is, by where it was put in shared memory, and its length [bytes]."""

    payload_id: PayloadId
    location: Location | None
    n_bytes: int


def stored_payloads(message_id: int, header: Header) -> list[Stored]:
    """Return the payloads of a message that are not in its entry: one, or one for each part."""
    if not (header.parts or header.part):  # as nearly always
        return [Stored((message_id, header.checksum), header.location, header.payload_bytes)]
    return [
        Stored(payload_id, one.location, one.payload_bytes)
        for payload_id, one in zip(payload_ids(message_id, header), header.parts or (header,), strict=True)
    ]


def keyed_payload_ids(message_id: int, header: Header) -> list[PayloadId]:
    """Return what names those payloads of a message that lie under keys of their own, and not in shared memory."""
    return [one.payload_id for one in stored_payloads(message_id, header) if one.location is None]


def split_payload(header: Header, payload: Payload) -> list[memoryview]:
    """Return views of the payloads of a message's parts in the bytes of all of them; one view of what has no parts."""
    view = memoryview(payload)
    if not header.parts:
        return [view]
    ends = list(_running_sum(one.payload_bytes for one in header.parts))
    return [view[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def part_offset(header: Header, part: int) -> int:
    """Return where a part begins in the bytes of all parts [bytes]."""
    return sum(one.payload_bytes for one in header.parts if one.part < part)


def _running_sum(sizes: Iterable[int]) -> Iterator[int]:
    total = 0
    for size in sizes:
        total += size
        yield total


def make_frame(
    address: Address,
    message_id: int,
    header: Header,
    payloads: Sequence[Payload],
    *,
    late: bool = False,
    n_deliveries: int = 1,
    entry_id: str = "",
    place: int = 0,
) -> Frame:
    """Make a frame, or a dataset, of a header and the payload of each of its parts.

    Raises
    ------
    ChecksumError
        If a payload is not the one that was sent.
    """
    for part, payload in zip(header.parts or (header,), payloads, strict=True):
        measured = xxhash.xxh3_64_intdigest(payload)
        if measured != part.checksum:
            raise ChecksumError(message_id, part.checksum, measured)
    make: Callable[..., Frame] = Dataset if header.parts else Frame
    return make(
        address=address,
        message_id=message_id,
        header=header,
        payload=tuple(payloads) if header.parts else payloads[0],
        late=late,
        n_deliveries=n_deliveries,
        entry_id=entry_id,
        place=place,
    )


class Dataset(Frame):
    """A message in several parts; what is said of it is said in `Frame`, what differs, here.

    Parameters
    ----------
    payload : tuple of bytes-like
        The payloads of the parts that are there, in the order of their numbers.
    **fields : object
        As of a `Frame`.
    """

    __slots__ = ("_joined", "_payloads")

    _joined: bytes | None
    _payloads: tuple[Payload, ...]

    def __init__(self, *, payload: tuple[Payload, ...], **fields: Any) -> None:
        defaults: dict[str, Any] = {"late": False, "n_deliveries": 1, "entry_id": "", "place": 0}
        for name, value in {**defaults, **fields, "_payloads": payload, "_joined": None}.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Callable[..., Dataset], tuple[Any, ...]]:
        """Travel to another process as what it was made of; views of one buffer become bytes of their own."""
        names = ("address", "message_id", "header", "late", "n_deliveries", "entry_id", "place")
        fields = {name: getattr(self, name) for name in names}
        return _make_dataset, (tuple(bytes(payload) for payload in self._payloads), fields)

    @property
    def payload(self) -> bytes:
        """The bytes of all parts that are here, one behind the other; joined when first asked for."""
        if self._joined is None:
            object.__setattr__(self, "_joined", b"".join(self._payloads))
        return self._joined or b""

    @property
    def parts(self) -> tuple[Frame, ...]:
        """Its parts in the order of their numbers, each like a frame of its own; nothing is copied."""
        return tuple(
            Frame(
                address=self.address,
                message_id=self.message_id,
                header=header,
                payload=payload,
                late=self.late,
                n_deliveries=self.n_deliveries,
                entry_id=self.entry_id,
                place=self.place,
            )
            for header, payload in zip(self.header.parts, self._payloads, strict=True)
        )

    def array(self, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Unpack the pixels of all parts.

        Parameters
        ----------
        out : (n_parts, n_slow, n_fast) array of the parts' dtype, C-contiguous, optional
            Where to put them.

        Returns
        -------
        (n_parts, n_slow, n_fast) array of the parts' dtype

        Raises
        ------
        IncompleteDatasetError
            If a part is missing; zeros in its place could not be told from zeros that were measured.
        NotAnImageError
            If a part carries no shape and dtype.
        ShapeError
            If the parts are not all alike, or `out` does not fit.
        CodecError
            If a payload is damaged, or its codec is unknown.
        """
        import numpy as np

        first = self.header.parts[0]
        if self.missing_parts:
            raise IncompleteDatasetError(self.message_id, self.missing_parts, self.n_parts)
        if first.shape is None or first.dtype is None:
            raise NotAnImageError(self.message_id)
        for part in self.header.parts:
            if (part.shape, part.dtype) != (first.shape, first.dtype):
                raise ShapeError(
                    f"part {part.part} of message {self.message_id} is {part.shape} of {part.dtype}, part {first.part} "
                    f"{first.shape} of {first.dtype}: no one array holds them; use the array() of each of its parts"
                )
        shape = (self.n_parts, *first.shape)
        if out is None:
            out = np.empty(shape, first.dtype)
        elif out.shape != shape:
            raise ShapeError(f"an array of {out.shape} where message {self.message_id} has {shape}")
        for place, frame in enumerate(self.parts):
            frame.array(out=out[place])
        return out


def _make_dataset(payload: tuple[Payload, ...], fields: dict[str, Any]) -> Dataset:
    return Dataset(payload=payload, **fields)


def merge(header: Header, others: Iterable[Header]) -> Header:
    """Return the header of a dataset with parts that came later; of a part that is there twice the first one counts."""
    parts = {one.part: one for one in header.parts}
    for other in others:
        for one in other.parts:
            parts.setdefault(one.part, one)
    merged = dataset_header(header.n_parts, parts.values())
    return replace(merged, is_addition=header.is_addition)
