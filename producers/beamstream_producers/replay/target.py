"""What is in the stream that a run is replayed into: what of it was sent before, or something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from beamstream.address import Address
from beamstream.errors import CorruptDataError, NotKeptError, PayloadGoneError, StreamNotFoundError
from beamstream.frame import Frame, Header
from beamstream.keep import Keep
from beamstream.offline import Recording
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.held import waiting_payload_ids
from beamstream.state import StreamState
from beamstream.streams import index_entries, stream_state

from .errors import OtherContentsError

PartId = tuple[int, int]
"""Message id, and the part's number; 0 where messages have no parts."""


@dataclass(slots=True)
class Target:
    """What is there.

    Attributes
    ----------
    address : Address
        The stream.
    checksums : dict of (int, int) to int
        XXH3-64 of each payload by message id and part.
    expired_id : int
        Up to this id messages have left the stream; they were there.
    state : StreamState or None
        Where the stream stands; None where there is none.
    """

    address: Address
    checksums: dict[PartId, int] = field(default_factory=dict)
    expired_id: int = 0
    state: StreamState | None = None

    def has(self, message_id: int, header: Header) -> bool:
        """Whether this payload is there.

        Raises
        ------
        OtherContentsError
            If another one is.
        """
        if message_id <= self.expired_id:
            return True
        known = self.checksums.get((message_id, header.part))
        if known is None:
            return False
        if known != header.checksum:
            raise OtherContentsError(str(self.address), f"holds another message {message_id} than the recording")
        return True

    def first_absent_id(self, n_parts: int) -> int:
        """Return the lowest id of which not all parts are there."""
        n_there = Counter(message_id for message_id, _ in self.checksums)
        message_id = self.expired_id + 1
        while n_there[message_id] >= n_parts:
            message_id += 1
        return message_id

    @property
    def n_messages(self) -> int:
        """How many messages are there."""
        return self.expired_id + len({message_id for message_id, _ in self.checksums if message_id > self.expired_id})


def look_at_target(server: Server, address: Address, recording: Recording, keep: Keep | None) -> Target:
    """Return what is in the stream, after comparing its first and last message with the recording.

    Raises
    ------
    OtherContentsError
        If it holds something else, or has ended without all of it.
    NotKeptError
        If it keeps something else than is asked for.
    """
    target = Target(address)
    try:
        state = stream_state(server, address)
    except StreamNotFoundError:
        return target
    if keep is not None and state.keep != keep:
        raise NotKeptError(
            str(address), f"the stream is there already and keeps {state.keep!r}; say --keep {state.keep}"
        )
    target.state, target.expired_id = state, state.expired_id
    for entry in index_entries(server, address):
        if entry.header is not None:
            target.checksums |= {
                (entry.message_id, one.part): one.checksum for one in entry.header.parts or [entry.header]
            }
    for message_id, checksum, *part in waiting_payload_ids(server, StreamKeys(address), inline=True):
        target.checksums[message_id, part[0] if part else 0] = checksum
    _compare(target, recording)
    return target


def _compare(target: Target, recording: Recording) -> None:
    """Compare the first and the last message that are there with those of the recording."""
    ids = [message_id for message_id, _ in target.checksums if message_id > target.expired_id]
    for message_id in {min(ids), max(ids)} if ids else ():
        try:
            frame = recording.find(message_id)
        except (CorruptDataError, PayloadGoneError):
            continue  # it will not be sent, so that it cannot be another one
        if frame is None:
            raise OtherContentsError(
                str(target.address), f"holds a message {message_id}, which the recording has not got"
            )
        for part in parts_of(frame):
            target.has(message_id, part.header)


def parts_of(frame: Frame) -> Iterator[Frame]:
    """Yield what of a message is sent by itself: its parts, or the message."""
    if frame.parts:
        yield from frame.parts
    else:
        yield frame
