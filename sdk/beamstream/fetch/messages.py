"""What travels between a reader and a broker's fetch service. Pure: bytes in, records out, and back.

docs/reference/fetch-protocol.md specifies it; golden bytes are in tests/unit/fetch/test_messages.py. Every length is
checked against what is there before anything is made of it.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from beamstream.address import MAX_NAME_LENGTH, Address
from beamstream.dataset import PayloadId, Stored
from beamstream.errors import AddressError, FetchProtocolError
from beamstream.frame import Payload
from beamstream.location import Location

MAGIC = b"bsf"
VERSION = 2

TICKET_BYTES = 16
"""Length of what shows that a reader has the endpoint from the broker's server [bytes]: nobody guesses 128 bits."""

_START = struct.Struct(">3sBQ")
"""Magic, version, request id: stands at the head of every message of every version."""

_REQUEST = struct.Struct(">16sQHH")
"""Ticket, created_ns of the stream, length of the address, number of items; behind `_START`."""

_WANTED = struct.Struct(">QQHQIII")
"""Message id, XXH3-64 of the payload, number of the part where it is one of a dataset, else 0; then where in shared
memory it was put: segment, epoch, offset, length [bytes]; all four 0 where it was not."""

_REPLY = struct.Struct(">BHH")
"""Status, length of the reason, number of items; behind `_START`."""

_ANSWERED = struct.Struct(">BQ")
"""Status, payload bytes."""

MAX_ADDRESS_BYTES = 3 * MAX_NAME_LENGTH + 2
MAX_ITEMS = 1024
"""Most messages in one request: 38 KiB of request; a reader asks for 16 MiB at a time, so for fewer of those that are
not inline."""

MAX_REQUEST_BYTES = _START.size + _REQUEST.size + MAX_ADDRESS_BYTES + MAX_ITEMS * _WANTED.size
"""Longest request [bytes]; the socket refuses a longer one before it has room for it."""

MAX_REASON_BYTES = 512
"""Longest reason in a reply [bytes]."""

MAX_REPLY_BYTES = 32 << 20
"""Payload bytes in one reply [bytes], twice what a reader asks for at a time; the first payload may be larger."""


class ReplyStatus(enum.IntEnum):
    """What became of a request as a whole."""

    OK = 0
    UNKNOWN_VERSION = 1
    MALFORMED = 2
    WRONG_TICKET = 3
    UNKNOWN_STREAM = 4
    BUSY = 5


class ItemStatus(enum.IntEnum):
    """What became of one message of a request."""

    HERE = 0
    ABSENT = 1
    DAMAGED = 2
    LATER = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a reader asks for.

    Attributes
    ----------
    request_id : int
        The reader's number of it; comes back in the reply.
    ticket : bytes
        What the server's state of the stream holds beside the endpoint.
    created_ns : int
        When the stream was made [ns since 1970]: a name may come again after its stream was deleted.
    wanted : sequence of Stored
        What names the payloads, and where in shared memory they were put; the length counts only beside a place.
    """

    request_id: int
    ticket: bytes
    address: Address
    created_ns: int
    wanted: Sequence[Stored]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the service answers.

    Attributes
    ----------
    items : sequence of (ItemStatus, payload or None)
        In the order of the request; empty where the request failed as a whole.
    """

    request_id: int
    status: ReplyStatus
    reason: str = ""
    items: Sequence[tuple[ItemStatus, Payload | None]] = ()


class BadRequestError(Exception):
    """A request that cannot be answered, and what to say to whoever sent it; never leaves the service."""

    def __init__(self, request_id: int, status: ReplyStatus, reason: str) -> None:
        self.request_id = request_id
        self.status = status
        self.reason = reason
        super().__init__(reason)


def encode_request(request: Request) -> bytes:
    """Pack a request."""
    address = str(request.address).encode()
    return b"".join(
        (
            _START.pack(MAGIC, VERSION, request.request_id),
            _REQUEST.pack(request.ticket, request.created_ns, len(address), len(request.wanted)),
            address,
            *(_encode_wanted(one) for one in request.wanted),
        )
    )


def _encode_wanted(stored: Stored) -> bytes:
    message_id, checksum, *part = stored.payload_id
    place = (0, 0, 0, 0) if stored.location is None else (*stored.location, stored.n_bytes)
    return _WANTED.pack(message_id, checksum, part[0] if part else 0, *place)


def decode_request(data: bytes) -> Request:
    """Read a request.

    Raises
    ------
    BadRequestError
        If it is none, is one of another version, or asks for too much.
    """
    if len(data) < _START.size or data[: len(MAGIC)] != MAGIC:
        raise BadRequestError(0, ReplyStatus.MALFORMED, "it does not begin like a request")
    _, version, request_id = _START.unpack_from(data)
    if version != VERSION:
        raise BadRequestError(
            request_id, ReplyStatus.UNKNOWN_VERSION, f"version {version}; version {VERSION} is spoken here"
        )

    def flaw(reason: str) -> BadRequestError:
        return BadRequestError(request_id, ReplyStatus.MALFORMED, reason)

    if len(data) < _START.size + _REQUEST.size:
        raise flaw(f"{len(data)} bytes are too few")
    ticket, created_ns, address_bytes, n_items = _REQUEST.unpack_from(data, _START.size)
    if not 0 < n_items <= MAX_ITEMS:
        raise flaw(f"{n_items} items; 1 to {MAX_ITEMS} are possible")
    begin = _START.size + _REQUEST.size + address_bytes
    if address_bytes > MAX_ADDRESS_BYTES or len(data) != begin + n_items * _WANTED.size:
        raise flaw(f"{len(data)} bytes do not hold an address of {address_bytes} bytes and {n_items} items")
    try:
        address = Address.parse(data[_START.size + _REQUEST.size : begin].decode("ascii"))
    except (AddressError, UnicodeDecodeError) as error:
        raise flaw("the address is none") from error
    wanted = [_decode_wanted(fields) for fields in _WANTED.iter_unpack(data[begin:])]
    if None in wanted:
        raise flaw("an item has half a place in shared memory")
    return Request(
        request_id=request_id,
        ticket=ticket,
        address=address,
        created_ns=created_ns,
        wanted=[one for one in wanted if one],
    )


def _decode_wanted(fields: tuple[int, ...]) -> Stored | None:
    """Return what an item asks for; None where it makes no sense: payloads never begin where a segment does."""
    message_id, checksum, part, segment, epoch, offset, n_bytes = fields
    payload_id: PayloadId = (message_id, checksum, part) if part else (message_id, checksum)
    if offset:
        return Stored(payload_id, Location(segment, epoch, offset), n_bytes)
    return None if segment or epoch or n_bytes else Stored(payload_id, None, 0)


def encode_reply(reply: Reply) -> list[Payload]:
    """Pack a reply: its head, then a part for each payload, which is not copied."""
    reason = reply.reason.encode("utf-8")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    sizes = [0 if payload is None else memoryview(payload).nbytes for _, payload in reply.items]
    head = b"".join(
        (
            _START.pack(MAGIC, VERSION, reply.request_id),
            _REPLY.pack(reply.status, len(reason), len(reply.items)),
            reason,
            *(_ANSWERED.pack(status, size) for (status, _), size in zip(reply.items, sizes, strict=True)),
        )
    )
    return [head, *(payload for _, payload in reply.items if payload is not None)]


def decode_reply(parts: Sequence[Payload]) -> Reply:
    """Read a reply; the payloads in it are the parts themselves.

    Raises
    ------
    FetchProtocolError
        If it is none, or one of another version.
    """
    head = bytes(parts[0]) if parts else b""
    if len(head) < _START.size + _REPLY.size or head[: len(MAGIC)] != MAGIC:
        raise FetchProtocolError(f"a reply that begins with {head[:16]!r}")
    _, version, request_id = _START.unpack_from(head)
    if version != VERSION:
        raise FetchProtocolError(f"a reply of version {version}")
    status, reason_bytes, n_items = _REPLY.unpack_from(head, _START.size)
    begin = _START.size + _REPLY.size + reason_bytes
    if reason_bytes > MAX_REASON_BYTES or n_items > MAX_ITEMS or len(head) != begin + n_items * _ANSWERED.size:
        raise FetchProtocolError(f"{len(head)} bytes with a reason of {reason_bytes} bytes and {n_items} items")
    try:
        reason = head[_START.size + _REPLY.size : begin].decode("utf-8")
        answered = [(ItemStatus(one), size) for one, size in _ANSWERED.iter_unpack(head[begin:])]
        whole = ReplyStatus(status)
    except ValueError as error:
        raise FetchProtocolError(str(error)) from error
    return Reply(request_id=request_id, status=whole, reason=reason, items=_with_payloads(answered, parts[1:]))


def _with_payloads(
    answered: Sequence[tuple[ItemStatus, int]], payloads: Sequence[Payload]
) -> list[tuple[ItemStatus, Payload | None]]:
    promised = [size for status, size in answered if status is ItemStatus.HERE]
    there = [memoryview(payload).nbytes for payload in payloads]
    if promised != there:
        raise FetchProtocolError(f"{len(there)} payloads of {sum(there)} bytes, not {len(promised)} of {sum(promised)}")
    rest = iter(payloads)
    return [(status, next(rest) if status is ItemStatus.HERE else None) for status, _ in answered]


# --- endpoints ---------------------------------------------------------------------------------------------------

_LOOPBACK = re.compile(r"tcp://(?:127\.[0-9.]+|\[::1\]|localhost):\d+")

_ENDPOINT = re.compile(
    r"(?P<address>tcp://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):\d{1,5})#(?P<ticket>[0-9a-f]{32})"
)


def format_endpoint(address: str, ticket: bytes) -> str:
    """Write an endpoint as a stream's state holds it: where, and what to show there.

    Examples
    --------
    >>> format_endpoint("tcp://dcu-17:5557", bytes(16))
    'tcp://dcu-17:5557#00000000000000000000000000000000'
    """
    return f"{address}#{ticket.hex()}"


def parse_endpoint(text: str) -> tuple[str, bytes]:
    """Read an endpoint; returns its address and its ticket.

    Raises
    ------
    FetchProtocolError
        If it is none.
    """
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise FetchProtocolError(f"an endpoint {text!r:.80}")
    return match["address"], bytes.fromhex(match["ticket"])


def is_loopback(address: str) -> bool:
    """Whether only the host itself reaches an address.

    Examples
    --------
    >>> is_loopback("tcp://127.0.0.1:5557"), is_loopback("tcp://dcu-17:5557")
    (True, False)
    """
    return _LOOPBACK.fullmatch(address) is not None
