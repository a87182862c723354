"""The receipt of a stream: what was expected, what came, and one checksum over all of it.

The checksum chain is XXH3-64 over, in id order, each message id (8 bytes, little-endian) followed by the XXH3-64 of its
payload (8 bytes, little-endian); so it is the same whether it is computed from the index or from a written file. A
dataset's checksum is that of its header with all parts that came, also where some came later than others.
"""

from __future__ import annotations

import heapq
import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import xxhash

from .address import Address
from .dataset import merge
from .frame import Gap, Header
from .groups import GroupInfo, list_groups
from .protocol import EntryKind
from .protocol.client import Server
from .state import StreamState
from .streams import index_entries, stream_state

_LINK = struct.Struct("<QQ")


def chain(payloads: Iterable[tuple[int, int]]) -> int:
    """Compute the checksum chain over (message id, XXH3-64 of the payload), in any order; see the module's head."""
    digest = xxhash.xxh3_64()
    for message_id, checksum in sorted(payloads):
        digest.update(_LINK.pack(message_id, checksum))
    return digest.intdigest()


def missing_ranges(
    present: Iterable[int], last_id: int, first_id: int = 1, *, declined: Iterable[tuple[int, int]] = ()
) -> list[tuple[int, int]]:
    """Return the ranges of ids from `first_id` to `last_id` that are neither present nor declined, both ends included.

    Examples
    --------
    >>> missing_ranges([2, 3, 6], 8)
    [(1, 1), (4, 5), (7, 8)]
    >>> missing_ranges([2, 3, 6], 8, declined=[(4, 5)])
    [(1, 1), (7, 8)]
    """
    ranges = []
    expected = first_id
    settled = ((message_id, message_id) for message_id in sorted(present))
    for first, last in heapq.merge(settled, sorted(declined)):
        if first > expected:
            ranges.append((expected, first - 1))
        expected = max(expected, last + 1)
    if expected <= last_id:
        ranges.append((expected, last_id))
    return ranges


class Contents:
    """What came of a stream: the checksum of each message, and what is missing of datasets.

    Attributes
    ----------
    checksums : dict of int to int
        Checksum by message id; see `chain`.
    declined : list of (int, int)
        Ranges of ids that were declined, both ends included, in rising order.
    incomplete : dict of int to Header
        The datasets that are not complete, by message id.
    """

    def __init__(self) -> None:
        self.checksums: dict[int, int] = {}
        self.declined: list[tuple[int, int]] = []
        self.incomplete: dict[int, Header] = {}

    def add(self, message_id: int, header: Header) -> None:
        """Take in a message, or parts of a dataset that came later."""
        before = self.incomplete.pop(message_id, None)
        if before is not None:
            header = merge(before, [header])
        self.checksums[message_id] = header.checksum
        if header.missing_parts:
            self.incomplete[message_id] = header

    def add_gap(self, gap: Gap) -> None:
        """Take in a gap; what was declined is not missing."""
        if gap.is_declined:
            self.declined.append((gap.first_id, gap.last_id))

    @property
    def missing_parts(self) -> dict[int, int]:
        """How many datasets lack each part, by the part's number; parts that none lacks are left out."""
        counted = Counter(part for header in self.incomplete.values() for part in header.missing_parts)
        return dict(sorted(counted.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a stream.

    Attributes
    ----------
    state : str
        ``open``, ``complete``, ``incomplete`` or ``aborted``.
    expected : int
        Messages that the producer promised; the last id where it promised nothing.
    received, duplicated, late, dropped, expired : int
        Messages taken; sent again by a producer that did not know; come after their gap was given up; left memory
        before everybody had read them; became older than the stream is kept, and have left it.
    declined : int
        Ids without a message because there was nothing to send; they are expected, and not missing.
    missing : list of (int, int)
        Ranges of ids that never came, both ends included; of those up to where messages have left the stream only the
        number is known.
    n_missing : int
        How many never came.
    written : int or None
        Messages in the file that the writer's group reported; None where nobody wrote.
    file, file_checksum : str or None
        Where the file lies, and the checksum chain over what its writer put there, or read back if told to.
    payload_bytes : int
        Bytes of all payloads [bytes].
    checksum : str
        Checksum chain over all payloads, 16 hexadecimal digits; of those that have not left the stream.
    groups : list of GroupInfo
        Each group's delivery.
    n_parts : int
        How many parts each message has; 1 where they are no datasets.
    incomplete : int
        Datasets of which parts are missing.
    missing_parts : dict of int to int
        How many datasets lack each part, by the part's number.
    """

    address: str
    state: str
    expected: int
    received: int
    missing: list[tuple[int, int]]
    n_missing: int
    duplicated: int
    late: int
    dropped: int
    expired: int
    written: int | None
    file: str | None
    file_checksum: str | None
    payload_bytes: int
    checksum: str
    groups: list[GroupInfo]
    declined: int = 0
    n_parts: int = 1
    incomplete: int = 0
    missing_parts: dict[int, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether the stream has ended, no message and no part is missing, and what was written is what came."""
        written_right = self.written is None or (
            self.written == self.received and self.file_checksum in (None, self.checksum)
        )
        return self.state != "open" and self.n_missing + self.incomplete + self.dropped == 0 and written_right

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {**asdict(self), "clean": self.clean}


def make_receipt(server: Server, address: Address) -> Receipt:
    """Go through a stream's index and draw up its receipt.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream.
    """
    state = stream_state(server, address)
    contents = Contents()
    for entry in index_entries(server, address):
        if entry.kind is EntryKind.MESSAGE and entry.header is not None:
            contents.add(entry.message_id, entry.header)
        elif entry.gap is not None:
            contents.add_gap(entry.gap)
    return draw_receipt(address, state, contents, list_groups(server, address))


def draw_receipt(address: Address, state: StreamState, contents: Contents, groups: list[GroupInfo]) -> Receipt:
    """Draw up a receipt from what is known of a stream, online or from files.

    Parameters
    ----------
    address : Address
        The stream.
    state : StreamState
        Where it stands.
    contents : Contents
        What came.
    groups : list of GroupInfo
        Its groups.
    """
    highest = state.last_id if state.finished else state.next_id - 1
    expected = state.n_expected if state.n_expected is not None else highest
    kept = (message_id for message_id in contents.checksums if message_id > state.expired_id)
    missing = missing_ranges(kept, max(expected, highest), state.expired_id + 1, declined=contents.declined)
    received, n_missing = len(contents.checksums), sum(last - first + 1 for first, last in missing)
    if state.expired_id:  # of what has left only the numbers are known
        received, n_missing = state.n_received, state.n_missing + max(0, expected - highest)
    report = _writer_report(groups)
    return Receipt(
        address=str(address),
        state=state.word,
        expected=expected,
        received=received,
        missing=missing,
        n_missing=n_missing,
        duplicated=state.n_duplicate,
        late=state.n_late,
        dropped=state.n_dropped,
        declined=state.n_declined,
        n_parts=state.n_parts,
        incomplete=len(contents.incomplete),
        missing_parts=contents.missing_parts,
        expired=state.n_expired,
        written=report.get("n_written"),
        file=report.get("path"),
        file_checksum=report.get("checksum"),
        payload_bytes=state.total_bytes,
        checksum=f"{chain(contents.checksums.items()):016x}",
        groups=groups,
    )


def _writer_report(groups: Iterable[GroupInfo]) -> Mapping[str, Any]:
    for group in groups:
        if group.report and "n_written" in group.report:
            return group.report
    return {}


def receipt_json(receipt: Receipt) -> str:
    """Return a receipt as one line of JSON."""
    return json.dumps(receipt.as_dict())
