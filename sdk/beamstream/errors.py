"""The error tree: everything beamstream raises on purpose stands under `BeamstreamError`.

Errors carry the data they speak of and build their message from it: what, measured value, limit, unit, and what to do
next. Exceptions of redis, zmq, msgpack, cbor2 and h5py never cross a folder; they become one of these.
"""

from __future__ import annotations

from collections.abc import Sequence


class BeamstreamError(Exception):
    """Root of the tree; catching it catches everything that is ours."""


def _some(numbers: Sequence[int], most: int = 8) -> str:
    """Name the first few of some numbers."""
    named = ", ".join(map(str, numbers[:most]))
    return named if len(numbers) <= most else f"{named} and {len(numbers) - most} more"


# --- misuse: the caller can mend it ------------------------------------------------------------------------------


class UsageError(BeamstreamError):
    """An argument, option or configuration that cannot be meant; the command line ends with status 2."""


class SizeError(UsageError):
    """A text that is no amount of memory."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(f"{text!r} is no amount of memory: {reason}; write e.g. 512MiB or 4GiB")


class AddressError(UsageError):
    """A text that is no stream address."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(
            f"{text!r} is no stream address: {reason}; write BEAMTIME/SOURCE/STREAM, "
            "e.g. 11012345/eiger/lysozyme_run_042"
        )


class ShapeError(UsageError):
    """An array whose shape or dtype does not fit what it is used for."""


class NotAnImageError(UsageError):
    """A message without shape and dtype was asked for its pixels."""

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        super().__init__(f"message {message_id} carries no shape and dtype; use its payload instead of array()")


class IncompleteDatasetError(UsageError):
    """A dataset of which parts are missing was asked for one array of all."""

    def __init__(self, message_id: int, missing_parts: Sequence[int], n_parts: int) -> None:
        self.message_id = message_id
        self.missing_parts = tuple(missing_parts)
        self.n_parts = n_parts
        super().__init__(
            f"message {message_id} lacks {_some(self.missing_parts)} of its {n_parts} parts; "
            "use the array() of each of its parts"
        )


class BatchTooLargeError(UsageError):
    """A batch of so many frames is over the limit of one."""

    def __init__(self, address: str, n_frames: int, frame_bytes: int, limit_bytes: int) -> None:
        self.address = address
        self.n_frames = n_frames
        self.frame_bytes = frame_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{address}: a batch of {n_frames} frames of {frame_bytes} bytes has {n_frames * frame_bytes} bytes, the "
            f"limit is {limit_bytes}; ask for at most {limit_bytes // max(1, frame_bytes)}, or raise limit_bytes"
        )


class DatasetStreamError(UsageError):
    """A stream of datasets was given to something that takes messages of one part only."""

    def __init__(self, address: str, n_parts: int, who: str) -> None:
        self.address = address
        self.n_parts = n_parts
        self.who = who
        super().__init__(
            f"{address}: its messages are datasets of {n_parts} parts, and {who} takes messages of one part; "
            f"let it read one part of each (--part 1 to {n_parts}), or read them whole with Consumer"
        )


# --- handlers ----------------------------------------------------------------------------------------------------


class RetryLaterError(BeamstreamError):
    """A handler cannot take frames now (disk full, another server away); the loop waits and asks it again."""


class CannotGoOnError(BeamstreamError):
    """A handler that is broken (its file, its device): the service ends, and its frames stay the group's, untried."""


class WorkerError(BeamstreamError):
    """The worker processes of a service cannot work; the message is that of the first one that said so."""


# --- bytes that are not what they say ----------------------------------------------------------------------------


class CorruptDataError(BeamstreamError):
    """Bytes that cannot be what they claim to be; nothing was allocated for them beyond their own length."""


class EntryError(CorruptDataError):
    """An index entry or stream metadata that does not follow PROTOCOL.md."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where} does not follow the protocol: {reason}")


class ChecksumError(CorruptDataError):
    """A payload that is not the one that was sent."""

    def __init__(self, message_id: int, expected: int, measured: int) -> None:
        self.message_id = message_id
        self.expected = expected
        self.measured = measured
        super().__init__(
            f"payload of message {message_id} has XXH3 {measured:016x}, its header says {expected:016x}; "
            "it was damaged on the way and is not delivered"
        )


class CodecError(CorruptDataError):
    """A compressed payload that cannot be decoded."""


class UnknownCodecError(CodecError):
    """A codec name that nobody here can decode."""

    def __init__(self, codec: str, known: Sequence[str]) -> None:
        self.codec = codec
        self.known = tuple(known)
        super().__init__(f"unknown codec {codec!r}; known: {', '.join(self.known)}")


class PayloadSizeError(CodecError):
    """A payload whose size, or the size it claims to unpack to, does not fit its shape and dtype."""

    def __init__(self, what: str, measured_bytes: int, expected_bytes: int) -> None:
        self.what = what
        self.measured_bytes = measured_bytes
        self.expected_bytes = expected_bytes
        super().__init__(f"{what}: {measured_bytes} bytes where {expected_bytes} bytes were expected")


class CorruptPayloadError(CodecError):
    """A compressed payload that breaks off or contradicts itself."""

    def __init__(self, codec: str, reason: str) -> None:
        self.codec = codec
        self.reason = reason
        super().__init__(f"corrupt {codec} payload: {reason}")


# --- the server --------------------------------------------------------------------------------------------------


class ServerError(BeamstreamError):
    """The broker's server cannot be used."""


class ServerUnavailableError(ServerError):
    """Nobody answers at the broker's address, or no longer."""

    def __init__(self, url: str, reason: str, waited_s: float = 0.0) -> None:
        self.url = url
        self.reason = reason
        self.waited_s = waited_s
        waited = f" after {waited_s:.1f} s of trying" if waited_s else ""
        super().__init__(
            f"no server answers at {url}{waited} ({reason}); "
            "start one with 'stream broker run' or name another with --broker"
        )


class ServerRefusedError(ServerError):
    """The server answered, but refuses the command (authentication, permission, version, configuration)."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"the server at {url} refuses: {reason}")


class BufferFullError(ServerError):
    """The server's memory is full and stayed full for as long as the producer may wait."""

    def __init__(self, url: str, waited_s: float, flaw: str = "") -> None:
        self.url = url
        self.waited_s = waited_s
        self.flaw = flaw
        advice = flaw or (
            "give it more memory, delete old streams ('stream ls', 'stream delete') or find the required group that "
            "lags ('stream group ls')"
        )
        super().__init__(f"the buffer at {url} is full and stayed full for {waited_s:.1f} s; {advice}")


class FetchError(ServerError):
    """The fetch service of a broker, which gives what lies on its disk or in its shared memory, could not be used."""


class FetchUnavailableError(FetchError, ServerUnavailableError):
    """Nobody gives what lies on the broker's host now; the messages are not lost, and asking again is safe."""

    def __init__(self, url: str, reason: str, waited_s: float = 0.0) -> None:
        self.url = url
        self.reason = reason
        self.waited_s = waited_s
        waited = f" after {waited_s:.1f} s of trying" if waited_s else ""
        FetchError.__init__(
            self,
            f"payloads that lie on the broker's host cannot be had from {url}{waited} ({reason}); start "
            "'stream broker run' there again, with --fetch tcp://0.0.0.0:5557 for other hosts; what is on its disk is "
            "read without that where --spill DIR is mounted under the same path",
        )


class FetchRefusedError(FetchError):
    """The fetch service does not answer such requests; the two sides are of different versions."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"the fetch service at {url} refuses: {reason}; bring both sides to the same version")


class FetchProtocolError(FetchError, CorruptDataError):
    """Something that should come from a fetch service and does not follow its protocol."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason} does not follow the fetch protocol; is this the endpoint of a broker's --fetch?")


class SharedMemoryError(ServerError):
    """The shared-memory tier could not be used."""


class SharedMemoryUnavailableError(SharedMemoryError, ServerUnavailableError):
    """The broker process that keeps the segments cannot be reached from here: it runs on another host, or has ended."""

    def __init__(self, url: str, reason: str, waited_s: float = 0.0) -> None:
        self.url = url
        self.reason = reason
        self.waited_s = waited_s
        waited = f" after {waited_s:.1f} s of trying" if waited_s else ""
        SharedMemoryError.__init__(
            self,
            f"shared memory cannot be had from {url}{waited} ({reason}); it needs 'stream broker run' on this host, "
            "without --shared-memory off; readers on other hosts need its --fetch tcp://0.0.0.0:5557; producers do "
            "without by --tier memory",
        )


class SharedMemoryElsewhereError(SharedMemoryUnavailableError):
    """Nobody on this host listens where the broker's segments are given out: it is another host's, or has ended."""


class SharedMemoryProtocolError(SharedMemoryError, CorruptDataError):
    """Something that should come from the process that keeps the segments, or from its clients, and makes no sense."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}; are both sides of the same version?")


# --- streams -----------------------------------------------------------------------------------------------------


class StreamError(BeamstreamError):
    """Something about one stream; `address` names it."""

    def __init__(self, address: str, message: str) -> None:
        self.address = address
        super().__init__(f"{address}: {message}")


class StreamNotFoundError(StreamError):
    """There is no such stream (yet)."""

    def __init__(self, address: str, nearest: Sequence[str] = ()) -> None:
        self.nearest = tuple(nearest)
        hint = f"; did you mean {', '.join(self.nearest)}?" if self.nearest else "; 'stream ls' shows what there is"
        super().__init__(address, f"no such stream{hint}")


class StreamExistsError(StreamError):
    """A stream that was to be new is already there."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "the stream is already there; delete it ('stream delete') or choose another name")


class PartsMismatchError(StreamError):
    """Two producers of a stream do not agree on the parts of its messages."""

    def __init__(self, address: str, n_parts: int, min_parts: int, wanted_parts: int, wanted_min: int) -> None:
        self.n_parts = n_parts
        self.min_parts = min_parts
        self.wanted_parts = wanted_parts
        self.wanted_min = wanted_min
        super().__init__(
            address,
            f"its messages have n_parts={n_parts}, min_parts={min_parts}, and this producer says "
            f"n_parts={wanted_parts}, min_parts={wanted_min}; all producers of a stream have to say the same",
        )


class NothingNewError(StreamError):
    """The stream exists and is open, but nothing came within the timeout."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(address, f"nothing new within {timeout_s:g} s")


class StreamFinishedError(StreamError):
    """The stream has ended and everything in it was delivered; `next_stream` names the one after it, if any."""

    def __init__(self, address: str, last_id: int, next_stream: str | None) -> None:
        self.last_id = last_id
        self.next_stream = next_stream
        after = f"; goes on in {next_stream}" if next_stream else ""
        super().__init__(address, f"finished with message {last_id}{after}")


class MessageNotFoundError(StreamError):
    """The stream holds no message of this id."""

    def __init__(self, address: str, message_id: int, reason: str) -> None:
        self.message_id = message_id
        super().__init__(address, f"no message {message_id}: {reason}")


class PayloadGoneError(StreamError):
    """The message is in the index, but its payload has left memory."""

    def __init__(self, address: str, message_id: int) -> None:
        self.message_id = message_id
        super().__init__(address, f"the payload of message {message_id} has left memory and was counted as dropped")


class GroupNotFoundError(StreamError):
    """The stream has no such consumer group (any more)."""

    def __init__(self, address: str, group: str, known: Sequence[str] = ()) -> None:
        self.group = group
        self.known = tuple(known)
        there = f"there are {', '.join(self.known)}" if self.known else "it has none"
        super().__init__(address, f"no group {group}; {there}")


class MembersAliveError(StreamError):
    """Something that would pull the messages from under living members was asked for."""

    def __init__(self, address: str, group: str, n_alive: int) -> None:
        self.group = group
        self.n_alive = n_alive
        super().__init__(
            address,
            f"group {group} has {n_alive} living member(s); stop them first ('stream group ls --members' names them), "
            "or say --force",
        )


# --- sending -----------------------------------------------------------------------------------------------------


class SendError(StreamError):
    """A message that was not taken into the stream."""


class QueueFullError(SendError):
    """The producer's own queue is full and stayed full for as long as `send` may wait."""

    def __init__(self, address: str, queued_bytes: int, limit_bytes: int, waited_s: float) -> None:
        self.queued_bytes = queued_bytes
        self.limit_bytes = limit_bytes
        self.waited_s = waited_s
        super().__init__(
            address,
            f"{queued_bytes} of {limit_bytes} bytes are queued and nothing left within {waited_s:.1f} s; "
            "the server is slower than the detector, or full",
        )


class MessageTooLargeError(SendError):
    """A message over the limit of one payload."""

    def __init__(self, address: str, payload_bytes: int, limit_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        self.limit_bytes = limit_bytes
        super().__init__(address, f"a payload of {payload_bytes} bytes is over the limit of {limit_bytes} bytes")


class IdConflictError(SendError):
    """Another payload is already in the stream under this id."""

    def __init__(self, address: str, message_id: int, part: int = 0) -> None:
        self.message_id = message_id
        self.part = part
        what = f"part {part} of message {message_id}" if part else f"message {message_id}"
        super().__init__(address, f"{what} is already there with another payload; the first one stays")


class StreamSealedError(SendError):
    """A message beyond the last id that the stream was finished with."""

    def __init__(self, address: str, message_id: int, last_id: int) -> None:
        self.message_id = message_id
        self.last_id = last_id
        super().__init__(address, f"message {message_id} comes after the stream was finished with {last_id}")


class ProducerClosedError(SendError):
    """`send` after `close`, or a message that was still unsent when the producer was closed."""

    def __init__(self, address: str) -> None:
        super().__init__(address, "the producer is closed")


class NotKeptError(StreamError):
    """A stream is to keep all, or keeps something else than a producer relies on."""


class NotOnDiskError(SendError):
    """A message of a stream that keeps all is in the stream, and not known to be on disk."""

    def __init__(self, address: str, message_id: int, waited_s: float, why: str) -> None:
        self.message_id = message_id
        self.why = why
        super().__init__(address, f"message {message_id} was not on disk after {waited_s:.1f} s: {why}")
