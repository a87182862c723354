"""What `soak.py` lets run: a producer, readers that join, sleep, leave and are killed, and a visitor; each a process.

Each is told what to do through a pipe, stream by stream, and tells through it what it saw, once a second. Which ids a
reader was given it writes down before it acknowledges, in a file of one byte for each id: so that it is there, too, if
the reader is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Consumer, Frame, Producer
from beamstream.errors import NothingNewError, ServerUnavailableError, StreamFinishedError
from beamstream.groups import delete_group
from beamstream.protocol.client import Server
from beamstream.streams import stream_state
from broker_process import ProofError

MAX_MESSAGES = 1 << 22
"""Most messages of one stream: files of ids are as long as that, and take no room where nothing was written."""

EDGES_S = np.geomspace(1e-5, 1e2, 281)
"""Edges of the classes into which delays are counted [s]: forty for a factor of ten, 6 % each."""

MEMBERS = {"pair": 2, "sleeper": 1, "leaver": 1}
"""The groups, and how many readers each has; all are required."""

N_PAYLOADS = 8
TELL_EVERY_S = 1.0
LOOK_EVERY_S = 0.02
MEMBER_TIMEOUT_S = 1.0
"""After so long what a killed reader held goes to another one [s]."""

OPEN_TIMEOUT_S = 60.0
VISIT_S = 2.0
"""How long a visitor stays [s]."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "soak_processes",
        "soak_findings",
        "beamstream.offline",
        "beamstream.producer",
        "beamstream.consumer",
        "beamstream.spilled",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What a producer is told: one stream.

    Attributes
    ----------
    n : int
        How many messages; 0: as many as go in `seconds`, behind `n_warm` for which there is no clock.
    rate_hz : float
        Messages a second; 0: as fast as they are taken.
    """

    stream: str
    keep: str
    tier: str
    size: int
    n: int = 0
    n_warm: int = 0
    rate_hz: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader is told: one stream, as a member of which group.

    Attributes
    ----------
    sleep_until : int
        Join, and sleep until the stream has so many messages.
    leave_every_s : float
        After so long leave the group, and join it again as another member [s]; 0: stay.
    """

    stream: str
    group: str
    sleep_until: int = 0
    leave_every_s: float = 0.0


class Worker:
    """One of the processes, as the soak sees it."""

    def __init__(self, name: str, work: Any, *arguments: Any) -> None:
        self.name = name
        self.link, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=work, args=(*arguments, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    def tell(self, order: Any) -> None:
        """Say what to do; None: end."""
        with contextlib.suppress(OSError):
            self.link.send(order)

    def heard(self) -> list[tuple[str, Any]]:
        """Return what it has told since the last time."""
        told = []
        try:
            while self.link.poll():
                told.append(self.link.recv())
        except (EOFError, OSError):
            raise ProofError(f"{self.name} ended with status {self._process.exitcode}; it says why above") from None
        return told

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self._process.kill()
        self._process.join()
        self.link.close()

    def end(self) -> None:
        """Let it end."""
        self.tell(None)
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.link.close()


class Tally:
    """Counts messages and their delays, and tells them once a second."""

    def __init__(self, link: Connection, group: str) -> None:
        self._link = link
        self._group = group
        self._delays_s: list[float] = []
        self._n_bytes = 0
        self._told_at = time.monotonic()

    def add(self, frame: Frame) -> None:
        """Count a message that is here now."""
        self._delays_s.append((time.time_ns() - frame.header.timestamp_ns) / 1e9)
        self._n_bytes += frame.header.payload_bytes
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Tell what was counted since the last time."""
        if self._delays_s:
            counts, _ = np.histogram(np.clip(self._delays_s, EDGES_S[0], EDGES_S[-1]), EDGES_S)
            self._link.send(("read", (time.monotonic(), self._group, len(self._delays_s), self._n_bytes, counts)))
        self._delays_s, self._n_bytes, self._told_at = [], 0, time.monotonic()


def ids_path(folder: Path, stream: str, group: str, name: str) -> Path:
    """Return where a reader writes down which ids it was given."""
    return folder / f"{stream.replace('/', '_')}.{group}.{name}"


def count_ids(folder: Path, stream: str, group: str) -> npt.NDArray[np.int64]:
    """Return how often each id was given to the members of a group; [0] is id 1."""
    counts = np.zeros(MAX_MESSAGES, np.int64)
    for path in folder.glob(ids_path(folder, stream, group, "*").name):
        counts += np.fromfile(path, np.uint8)
    return counts


def ignore_signals() -> None:
    """Leave Ctrl-C to the soak itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def produce(url: str, link: Connection) -> None:
    """Open the streams that are named, and fill each when told to."""
    ignore_signals()
    payloads: list[bytes] = []
    while (order := link.recv()) is not None:
        if not payloads:
            payloads = [os.urandom(order.size) for _ in range(N_PAYLOADS)]
        with _open(url, order) as producer:
            link.send(("open", order.stream))
            link.recv()  # all groups have joined
            for message_id in range(1, order.n_warm + 1):
                producer.send(message_id, payloads[message_id % N_PAYLOADS])
            warm_s = time.monotonic()
            n, behind_s, took_s = _send(producer, order, payloads)
            producer.finish(n)
            counts = producer.counts
            sent = {"n": n, "behind_s": behind_s, "took_s": took_s, "n_failed": counts.n_failed,
                    "n_held_back": counts.n_held_back, "warm_s": warm_s}  # fmt: skip
        link.send(("sent", sent))


def _open(url: str, order: Sending) -> Producer:
    """Open a stream; a broker that is busy with its disk for some seconds is waited for."""
    ends_at = time.monotonic() + OPEN_TIMEOUT_S
    while True:
        try:
            return Producer(
                order.stream, broker=url, keep=order.keep, tier=order.tier, n_expected=order.n or None,
                block_timeout_s=None, retry_timeout_s=None,
            )  # fmt: skip
        except ServerUnavailableError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(LOOK_EVERY_S)


def _send(producer: Producer, order: Sending, payloads: list[bytes]) -> tuple[int, float, float]:
    """Send one stream; returns how many, how far behind its pace it was at most [s], and how long it took [s]."""
    began, n, behind_s = time.monotonic(), order.n_warm, 0.0
    while n < order.n if order.n else time.monotonic() - began < order.seconds and n < MAX_MESSAGES:
        if order.rate_hz:
            left_s = began + (n - order.n_warm) / order.rate_hz - time.monotonic()
            behind_s = max(behind_s, -left_s)
            if left_s > 0:
                time.sleep(left_s)
        n += 1
        producer.send(n, payloads[n % N_PAYLOADS])
    producer.flush()
    return n, behind_s, time.monotonic() - began


def read(url: str, folder: Path, name: str, link: Connection) -> None:
    """Read the streams that are named to their ends."""
    ignore_signals()
    while (order := link.recv()) is not None:
        path = ids_path(folder, order.stream, order.group, name)
        with path.open("wb") as file:
            file.truncate(MAX_MESSAGES)
        seen = np.memmap(path, np.uint8, "r+")
        lost: dict[str, int] = {}
        joins, is_over = 0, False
        while not is_over:
            is_over = _read(url, order, seen, Tally(link, order.group), link, lost, joins)
            joins += 1
        seen.flush()
        link.send(("done", {"stream": order.stream, "group": order.group, "joins": joins, **lost}))


def _read(
    url: str, order: Reading, seen: Any, tally: Tally, link: Connection, lost: dict[str, int], joins: int
) -> bool:
    """Be one member; whether the stream is over."""
    until_s = time.monotonic() + order.leave_every_s if order.leave_every_s else float("inf")
    with Consumer(
        order.stream, broker=url, group=order.group, required=True, member_timeout_s=MEMBER_TIMEOUT_S
    ) as consumer:
        if not joins:
            link.send(("joined", order.stream))
        if order.sleep_until:
            _sleep(url, consumer, order.sleep_until)
            link.send(("awake", order.stream))
        is_over = True
        for frame in consumer:
            seen[frame.message_id - 1] += 1
            tally.add(frame)
            if time.monotonic() > until_s:
                is_over = False
                break
        counts = consumer.counts
        for what in ("skipped", "corrupt", "missing", "redelivered", "dead"):
            lost[what] = lost.get(what, 0) + getattr(counts, f"n_{what}")
    tally.tell()
    return is_over


def _sleep(url: str, consumer: Consumer, n: int) -> None:
    server = Server(url)
    while stream_state(server, consumer.address).n_received < n:
        time.sleep(LOOK_EVERY_S)
    server.close()


def visit(url: str, link: Connection) -> None:
    """Join as a new group for a while, read what comes, leave, and begin anew, until told of another stream."""
    ignore_signals()
    order, n_visits = link.recv(), 0
    while order is not None:
        server, n_frames, n_holes, began_at = Server(url), 0, 0, n_visits
        while not link.poll():
            n_visits += 1
            found, holes, is_over = _visit(url, str(order), f"visitor{n_visits}")
            n_frames, n_holes = n_frames + found, n_holes + holes
            if is_over:
                break
        server.close()
        link.send(("visited", {"stream": order, "visits": n_visits - began_at, "frames": n_frames, "holes": n_holes}))
        order = link.recv()
        if order == "":  # this stream is over
            order = link.recv()


def _visit(url: str, stream: str, group: str) -> tuple[int, int, bool]:
    """Read for a while; returns how many messages came, how many of them not behind the one before, and the end."""
    n, n_holes, last_id, is_over = 0, 0, 0, False
    until_s = time.monotonic() + VISIT_S
    with Consumer(stream, broker=url, group=group, start="newest", required=True) as consumer:
        while not is_over and time.monotonic() < until_s:
            try:
                frame = consumer.next(until_s - time.monotonic())
            except NothingNewError:
                continue
            except StreamFinishedError:
                is_over = True
                continue
            consumer.acknowledge(frame)
            n_holes += bool(last_id) and frame.message_id != last_id + 1
            n, last_id = n + 1, frame.message_id
    server = Server(url)
    delete_group(server, consumer.address, group)
    server.close()
    return n, n_holes, is_over
