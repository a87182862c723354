"""`stream produce karabo`: the trains of a Karabo bridge (European XFEL), each array of them a stream.

A train is one ZeroMQ message of pairs of parts: a header, and what it announces. For each Karabo source come first its
properties, packed by msgpack, then its arrays as they lie in memory (protocol 2.2). Policy: array and properties bytes
are passed on untouched; what cannot be meant is counted by reason and costs only its own train.
"""

from __future__ import annotations

import fnmatch
import logging
import math
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgpack
import numpy as np
import typer
import zmq

from beamstream.cli.options import (
    DEFAULT_BUFFER,
    Broker,
    Buffer,
    KeepText,
    MetricsPort,
    Retain,
    TierText,
    To,
    parse_source,
)
from beamstream.errors import CorruptDataError, UsageError
from beamstream.keep import DEFAULT_KEEP
from beamstream.producer import DEFAULT_TIER
from beamstream.service import Event, Produced, StreamClosed, StreamOpened, parse_upkeep, run_source
from beamstream.stop import StopFlag

log = logging.getLogger(__name__)

# --- bytes in, items out ---------------------------------------------------------------------------------------------

MAX_PARTS = 4096
"""Most parts of a train: 16 modules with some hundred keys."""

MAX_HEADER_BYTES = 64 << 10
"""Largest header of one part [bytes]; real ones have some hundred."""

MAX_PROPERTIES_BYTES = 4 << 20
"""Largest properties of one source [bytes]: unpacked they take up to ten times that."""

MAX_ARRAY_BYTES = 4 * 2**30 - 1
"""Largest array [bytes]; what beamstream unpacks. 350 pulses of a whole AGIPD have 1.4 GB."""

MAX_NAME = 256
"""Longest name of a source or key [characters]."""

MAX_TRAIN_ID = 2**52
"""Largest train id: at 10 Hz, 14 million years."""

MAX_SCALARS = 256
"""Most properties that are shown as metadata; all of them are in the payload."""


class TrainError(CorruptDataError):
    """A message that does not follow the Karabo bridge protocol 2.2."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(f"a train is refused: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One array of a train, or the properties of one of its sources (`key` is empty)."""

    source: str
    key: str
    train_id: int
    timestamp_ns: int | None
    payload: memoryview
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def parse_train(parts: Sequence[bytes | memoryview]) -> list[Item]:
    """Read one message of a bridge.

    Raises
    ------
    TrainError
        If it does not follow the protocol.
    """
    if len(parts) == 1:
        raise TrainError("version", "it has one part, as in protocol 1.0; set the bridge to version 2.2")
    if len(parts) % 2 or not 0 < len(parts) <= MAX_PARTS:
        raise TrainError("parts", f"{len(parts)} parts, where pairs of header and content are needed")
    items: list[Item] = []
    origins: dict[str, tuple[int, int | None]] = {}
    for packed, content in zip(parts[::2], parts[1::2], strict=True):
        header = _unpack(packed, MAX_HEADER_BYTES)
        source = _text(header, "source")
        kind = header.get("content")
        if kind == "msgpack":
            origins[source] = _train_id(header), _timestamp_ns(header)
            properties = _unpack(content, MAX_PROPERTIES_BYTES)
            if properties:
                items.append(_item(source, "", origins[source], content, metadata=_scalars(properties)))
        elif kind == "array":
            if source not in origins:
                raise TrainError("field", f"an array of {source} comes before its properties")
            shape, dtype = _array_type(header, memoryview(content).nbytes)
            items.append(_item(source, _text(header, "path"), origins[source], content, shape=shape, dtype=dtype))
        else:
            raise TrainError("field", f"content {kind!r:.40} is neither msgpack nor array")
    return items


def _item(source: str, key: str, origin: tuple[int, int | None], content: bytes | memoryview, **fields: Any) -> Item:
    train_id, timestamp_ns = origin
    fields["metadata"] = {**fields.get("metadata", {}), "train_id": train_id}
    return Item(
        source=source, key=key, train_id=train_id, timestamp_ns=timestamp_ns, payload=memoryview(content), **fields
    )


def _unpack(packed: bytes | memoryview, limit_bytes: int) -> dict[str, Any]:
    n_bytes = memoryview(packed).nbytes
    if n_bytes > limit_bytes:
        raise TrainError("limit", f"{n_bytes} bytes of msgpack, the limit is {limit_bytes}")
    try:
        tree = msgpack.unpackb(packed)  # lists and maps are at most as long as there are bytes
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise TrainError("msgpack", f"no msgpack: {error!r:.80}") from error
    if not isinstance(tree, dict):
        raise TrainError("msgpack", f"a {type(tree).__name__} where a map is needed")
    return tree


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise TrainError("field", f"{name} {value!r:.40} is no name")
    return value


def _origin(header: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = header.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _train_id(header: Mapping[str, Any]) -> int:
    train_id = _origin(header).get("timestamp.tid")
    if type(train_id) is not int or not 0 <= train_id <= MAX_TRAIN_ID:
        raise TrainError("train_id", f"timestamp.tid {train_id!r:.40} is no train id")
    return train_id


def _timestamp_ns(header: Mapping[str, Any]) -> int | None:
    """Return the time of a source in whole nanoseconds; it comes as text of seconds and attoseconds."""
    times = [_origin(header).get(f"timestamp.{name}") for name in ("sec", "frac")]
    texts = [text for text in times if isinstance(text, str) and re.fullmatch(r"[0-9]{1,18}", text)]
    if len(texts) < 2:
        return None
    time_ns = int(texts[0]) * 10**9 + int(texts[1]) // 10**9
    return time_ns if time_ns < 2**63 else None


def _scalars(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that are single numbers or short text, for `stream tail` and quick looks."""
    small = {name: value for name, value in properties.items() if isinstance(name, str) and _is_scalar(value)}
    return dict(list(small.items())[:MAX_SCALARS])


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < MAX_NAME)


def _array_type(header: Mapping[str, Any], n_bytes: int) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of an array, if its bytes are just those."""
    name, axes = header.get("dtype"), header.get("shape")
    if not isinstance(name, str) or not re.fullmatch(r"[<>=|]?[a-z]{1,8}[0-9]{0,2}", name):
        raise TrainError("dtype", f"dtype {name!r:.40} is no number")
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise TrainError("dtype", f"dtype {name!r:.40} is no number") from error
    if dtype.kind not in "biufc" or dtype.itemsize not in (1, 2, 4, 8):
        raise TrainError("dtype", f"dtype {name} is no number of 1, 2, 4 or 8 bytes")
    if not isinstance(axes, list) or len(axes) > 32 or not all(type(n) is int and n >= 0 for n in axes):
        raise TrainError("shape", f"shape {axes!r:.40} is none")
    if math.prod(axes) * dtype.itemsize != n_bytes:
        raise TrainError("size", f"{n_bytes} bytes, where {axes} of {name} have {math.prod(axes) * dtype.itemsize}")
    return tuple(axes) or (1,), dtype.str


# --- items in, events out --------------------------------------------------------------------------------------------

MAX_AHEAD = 36_000
"""How far a train may be ahead of the last one of its run: an hour at 10 Hz."""

MAX_STREAMS = 128
"""Most streams of a run: 16 modules with 8 arrays each."""

MAX_STREAM_NAME = 128
"""Longest name of a stream [characters]."""

PATIENCE_S = 0.1
"""How long a gap stays open [s]: trains come in order, so one that was left out will not come. Connectors that are told
the first train may share a bridge, and each has some of the trains: there it is the default."""


class Runs:
    """Makes runs of trains: the first train is message 1 of every stream, so that streams can be joined by id.

    A train far from the last one is set aside until the next one says whether a new run has begun.

    Parameters
    ----------
    run : str, optional
        What the streams of a run begin with; may use {first_train}.
    first_train : int, optional
        The train that is message 1; default: the first that comes.
    select : sequence of str
        Which arrays: patterns of ``SOURCE:KEY``, properties are ``SOURCE:``.
    n_trains : int, optional
        After how many trains a run ends.
    """

    def __init__(
        self,
        run: str = "run_{first_train}",
        first_train: int | None = None,
        select: Sequence[str] = ("*",),
        n_trains: int | None = None,
    ) -> None:
        self._template = run
        self._continues = first_train is not None
        self._select = tuple(select)
        self._n_trains = n_trains
        self._first: int | None = first_train
        self._last: int | None = None
        self._aside: list[Item] = []
        self._streams: dict[str, tuple[str, str]] = {}
        self._last_of: dict[str, int] = {}
        self.counts: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        """Whether all trains that were wanted are in."""
        return self._n_trains is not None and self.counts["trains"] >= self._n_trains

    def take(self, items: list[Item]) -> Iterator[Event]:
        """Yield the events of one train."""
        if not items:
            self.counts["trains_empty"] += 1
            return
        train_id = items[0].train_id
        if self._last is None:
            if train_id < (self._first or 0):
                self.counts["trains_before_first"] += 1
                return
            self._begin_run(train_id if self._first is None else self._first, train_id)
        if self._is_near(train_id):
            yield from self._take_train(items)
        elif self._aside and 0 < train_id - self._aside[0].train_id <= MAX_AHEAD:
            aside, self._aside = self._aside, []
            yield from self._end_run()
            self._begin_run(aside[0].train_id, aside[0].train_id)
            self._continues = False
            yield from self._take_train(aside)
            yield from self._take_train(items)
        else:
            self._forget_aside()
            self._aside = items

    def _begin_run(self, first: int, last: int) -> None:
        self._first, self._last = first, last

    def _is_near(self, train_id: int) -> bool:
        if self._first is None or self._last is None:
            return False
        return self._first <= train_id <= self._last + MAX_AHEAD

    def end(self) -> Iterator[Event]:
        """Yield the ends of what is open."""
        self._forget_aside()
        yield from self._end_run()

    def _forget_aside(self) -> None:
        self.counts["trains_implausible"] += bool(self._aside)
        self._aside = []

    def _take_train(self, items: list[Item]) -> Iterator[Event]:
        self.counts["trains"] += 1
        self._last = max(self._last or 0, items[0].train_id)
        for item in items:
            if not any(fnmatch.fnmatchcase(f"{item.source}:{item.key}", pattern) for pattern in self._select):
                self.counts["not_selected"] += 1
            else:
                yield from self._take_item(item)

    def _take_item(self, item: Item) -> Iterator[Event]:
        first = self._first or 0
        if not self._is_near(item.train_id):
            self.counts["items_implausible"] += 1
            return
        if 0 in (item.shape or ()):
            self.counts["arrays_empty"] += 1
            return
        name = self._name(item)
        if name not in self._streams:
            if len(self._streams) >= MAX_STREAMS:
                self.counts["streams_too_many"] += 1
                return
            self._streams[name] = item.source, item.key
            yield StreamOpened(
                stream=name,
                metadata={"karabo": {"source": item.source, "key": item.key, "first_train": first}},
                n_expected=self._n_trains,
                new=not self._continues,
                patience_s=None if self._continues else PATIENCE_S,
            )
        if self._streams[name] != (item.source, item.key) or item.train_id <= self._last_of.get(name, -1):
            self.counts["repeated"] += 1
            return
        self._last_of[name] = item.train_id
        self._last = max(self._last or 0, item.train_id)
        self.counts["arrays" if item.key else "properties"] += 1
        yield Produced(
            stream=name,
            message_id=item.train_id - first + 1,
            payload=item.payload,
            shape=item.shape,
            dtype=item.dtype,
            timestamp_ns=item.timestamp_ns,
            metadata=item.metadata,
        )

    def _name(self, item: Item) -> str:
        """Return the stream of an array: an address has letters, digits, '.', '_' and '-' only."""
        run = self._template.format(first_train=self._first)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", ".".join(filter(None, (run, item.source, item.key))))
        if len(name) <= MAX_STREAM_NAME:
            return name
        return f"{name[: MAX_STREAM_NAME - 9]}-{zlib.crc32(name.encode()):08x}"

    def _end_run(self) -> Iterator[Event]:
        promised = self._n_trains is not None and not self.is_done
        for name in self._streams:
            last_id = (self._last or 0) - (self._first or 0) + 1
            yield StreamClosed(stream=name, last_id=last_id, reason="incomplete" if promised else "complete")
        self._streams, self._last_of = {}, {}


# --- the socket ------------------------------------------------------------------------------------------------------

SOCKETS = {"REQ": zmq.REQ, "SUB": zmq.SUB, "PULL": zmq.PULL}
"""Our end of a bridge that is REP (each train to one who asks), PUB (to all) or PUSH (dealt round)."""

HELD_TRAINS = 4
"""Most trains that wait in the socket; each may have a gigabyte."""

QUIET_S = 10.0
"""After how long without any train the log says what to check [s]."""

POLL_S = 0.1
"""How long one look at the socket waits [s]; the loop wants to hear something every 0.2 s."""


class BridgeSocket:
    """One end of a bridge; a request that nobody can answer any more is made again."""

    def __init__(self, endpoint: str, kind: str) -> None:
        if kind not in SOCKETS:
            raise UsageError(f"--socket {kind!r} is none of {', '.join(SOCKETS)}")
        self._endpoint = endpoint
        self._kind = kind
        self._context = zmq.Context()
        try:
            self._connect()
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"cannot connect to {endpoint!r}: {error.strerror}; write tcp://HOST:PORT") from error

    def _connect(self) -> None:
        self._socket = self._context.socket(SOCKETS[self._kind])
        self._socket.linger = 0
        self._socket.rcvhwm = HELD_TRAINS
        self._socket.maxmsgsize = MAX_ARRAY_BYTES
        if self._kind == "SUB":
            self._socket.subscribe(b"")
        self._lost = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._asked = False
        self._socket.connect(self._endpoint)

    def receive(self, timeout_s: float, *, ask: bool = True) -> list[memoryview] | None:
        """Return the parts of the next train, None if there is none within `timeout_s` [s]."""
        is_lost = self._lost.poll(0)  # looked at first: what came before that is still taken
        if self._kind == "REQ" and not self._socket.poll(0):
            if is_lost:
                log.warning("lost %s; asking again when it is back", self._endpoint)
                self._disconnect()
                self._connect()
            if ask and not self._asked:
                self._socket.send(b"next")
                self._asked = True
        if not self._socket.poll(int(1000 * timeout_s)):
            return None
        self._asked = False
        return [frame.buffer for frame in self._socket.recv_multipart(zmq.NOBLOCK, copy=False)]

    def _disconnect(self) -> None:
        self._socket.disable_monitor()
        self._lost.close(linger=0)
        self._socket.close(linger=0)

    def close(self) -> None:
        """Give the socket back."""
        if not self._context.closed:
            self._disconnect()
            self._context.term()


# --- the source and its command --------------------------------------------------------------------------------------


class KaraboSource:
    """Brings in the trains of a bridge; a `beamstream.service.Source`.

    Parameters
    ----------
    endpoint : str
        Of the bridge, ``tcp://host:port``.
    kind : "REQ", "SUB" or "PULL"
        Our end of it.
    runs : Runs, optional
        What becomes of the trains.
    """

    name = "karabo"

    def __init__(self, endpoint: str, kind: str = "REQ", runs: Runs | None = None) -> None:
        self._runs = runs or Runs()
        self._counts: Counter[str] = Counter()
        self._socket = BridgeSocket(endpoint, kind)
        self._quiet = (
            f"nothing came from {endpoint} for {QUIET_S:.0f} s: does the bridge run there, and is it the other end of "
            f"{kind} (REP for REQ, PUB for SUB, PUSH for PULL)?"
        )
        self._quiet_since_s = time.monotonic()

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield what trains become, until `stop` is set or enough are in."""
        while not stop.is_set() and not self._runs.is_done:
            parts = self._socket.receive(POLL_S)
            if parts is None:
                self._look_around()
                yield None
            else:
                yield from self._take(parts)
        for _ in range(HELD_TRAINS):
            parts = None if self._runs.is_done else self._socket.receive(POLL_S, ask=False)
            if parts is not None:
                yield from self._take(parts)
        yield from self._runs.end()

    def _take(self, parts: list[memoryview]) -> Iterator[Event]:
        self._counts["received"] += 1
        try:
            items = parse_train(parts)
        except TrainError as error:
            self._counts["rejected"] += 1
            self._counts[f"rejected_{error.kind}"] += 1
            if self._counts[f"rejected_{error.kind}"] == 1:
                log.warning("%s; further ones are counted", error)
            return
        yield from self._runs.take(items)

    def _look_around(self) -> None:
        if not self._counts["received"] and self._quiet and time.monotonic() - self._quiet_since_s >= QUIET_S:
            log.warning("%s", self._quiet)
            self._quiet = ""

    def counters(self) -> Mapping[str, int]:
        """Return what was counted, by reason."""
        return {**dict(self._counts), **dict(self._runs.counts)}

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The bridge: tcp://HOST:PORT.", show_default=False)]
Socket = Annotated[str, typer.Option(metavar="REQ|SUB|PULL", help="For a bridge that is REP, PUB or PUSH.")]
Run = Annotated[str, typer.Option(metavar="TEXT", help="What the streams of a run begin with.")]
FirstTrain = Annotated[
    int | None, typer.Option(metavar="ID", min=0, help="The train that is message 1.", show_default="the first to come")
]
Trains = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N trains.", show_default="never")]
Select = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE:KEY", help="Only these arrays; * stands for any.", show_default="all"),
]


def karabo(
    endpoint: Endpoint,
    to: To,
    socket: Socket = "REQ",
    run: Run = "run_{first_train}",
    first_train: FirstTrain = None,
    trains: Trains = None,
    select: Select = None,
    broker: Broker = None,
    keep: KeepText = DEFAULT_KEEP,
    retain: Retain = None,
    buffer: Buffer = DEFAULT_BUFFER,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Bring in the trains of a Karabo bridge; each array of each source becomes a stream.

    Examples:

    stream produce karabo tcp://bridge:1234 --to 900123/spb --trains 600

    stream produce karabo tcp://bridge:1234 --to 900123/spb --select '*/DET/*:image.data' --first-train 1830000000
    """
    runs = Runs(check_run(run), first_train, select or ("*",), trains)
    source = KaraboSource(endpoint, socket, runs)
    try:
        status = run_source(
            source,
            parse_source(to),
            broker=broker,
            metrics_port=metrics_port,
            upkeep=parse_upkeep(keep, retain, buffer, tier),
        )
    finally:
        source.close()
    raise typer.Exit(status)


def check_run(text: str) -> str:
    """Return a template for the names of runs if it is one, else raise `UsageError`."""
    try:
        name = text.format(first_train=0)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(f"--run {text!r} may use {{first_train}} only") from error
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}", name):
        raise UsageError(f"--run {text!r} is no name; letters, digits, '.', '_' and '-', at most 40")
    return text
