"""What a producer and a reader of the bench do, in a process of their own: the public `Producer` and `Consumer`.

Payloads are random bytes, some tens of megabytes of them, so that no cache holds them all. Every reader reads every
byte: the `Consumer` verifies the checksum. The time of the call of `send` travels in the message's own header; the
clock is the monotonic one, which all processes of a host share, moved to where the wall clock was when the bench began.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream import Consumer, Producer
from beamstream.keep import Keep

from .findings import GB
from .progress_board import ProgressBoard

POOL_BYTES = 64 << 20
"""Different payload bytes [bytes]: more than a cache holds."""

POOL_MESSAGES = (4, 256)
"""Fewest and most different payloads."""

MIN_MESSAGES = 10
"""Fewest messages that are sent, however long they take."""

FOLLOW_TIMEOUT_S = 30.0
"""How long a message or room for one is waited for before something must be wrong [s]."""

LOOK_EVERY_S = 0.0002
"""How often the readers are looked at while they are as far behind as they may be [s]."""


def takes_tier() -> bool:
    """Whether this version's `Producer` can be told where payloads lie."""
    return "tier" in signature(Producer).parameters


def open_producer(stream: str, broker: str, keep: Keep, tier: str | None, failures: list[str]) -> Producer:
    """Make a stream; why messages failed is added to a list.

    Parameters
    ----------
    tier : str or None
        Where its payloads lie; None: where they usually do.
    """
    options: dict[str, Any] = {"tier": tier} if tier is not None and takes_tier() else {}
    return Producer(
        stream,
        broker=broker,
        keep=keep,
        block_timeout_s=FOLLOW_TIMEOUT_S,
        retry_timeout_s=FOLLOW_TIMEOUT_S,
        on_failure=lambda _, error: failures.append(str(error)),
        **options,
    )


def make_payloads(size: int) -> list[bytes]:
    """Return different payloads of one size."""
    fewest, most = POOL_MESSAGES
    rng = np.random.default_rng(7)
    return [rng.bytes(size) for _ in range(min(most, max(fewest, POOL_BYTES // size)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How messages are sent.

    Attributes
    ----------
    seconds : float
        For how long [s].
    rate_hz : float
        The pace [messages per second]; 0 for as fast as readers follow.
    most_messages : int
        Not more than these.
    window_messages : int
        How far the slowest group may be behind.
    groups : sequence of sequence of int
        The readers' slots on the board, by group; empty where nobody follows.
    clock_offset_ns : int
        What is added to the monotonic clock [ns].
    """

    seconds: float
    rate_hz: float
    most_messages: int
    window_messages: int
    groups: Sequence[Sequence[int]]
    clock_offset_ns: int


def send(producer: Producer, payloads: Sequence[bytes], board: ProgressBoard, how: Sending) -> dict[str, Any]:
    """Send messages, end the stream, and tell how that went."""
    interval_ns = GB / how.rate_hz if how.rate_hz else 0.0
    fewest = min(MIN_MESSAGES, how.most_messages)
    clock_ns, offset_ns, n_payloads = time.monotonic_ns, how.clock_offset_ns, len(payloads)
    n_sent, n_allowed, behind_ns = 0, 0 if how.groups else how.most_messages, 0
    cpu_s = time.process_time()
    began_ns = now_ns = clock_ns()
    ends_ns = began_ns + int(how.seconds * GB)
    while n_sent < how.most_messages and (now_ns < ends_ns or n_sent < fewest):
        if n_sent >= n_allowed:
            n_allowed = board.of_slowest(how.groups) + how.window_messages
            if n_sent >= n_allowed:
                time.sleep(LOOK_EVERY_S)
                continue
        now_ns = clock_ns()
        if interval_ns:
            due_ns = began_ns + int(n_sent * interval_ns)
            if now_ns < due_ns:
                time.sleep((due_ns - now_ns) / GB)
                now_ns = clock_ns()
            behind_ns = max(behind_ns, now_ns - due_ns)
        n_sent += 1
        producer.send(n_sent, payloads[n_sent % n_payloads], timestamp_ns=now_ns + offset_ns)
    producer.flush()
    done_ns = clock_ns()
    cpu_s = time.process_time() - cpu_s
    counts = producer.counts
    producer.finish()
    return {
        "n_sent": n_sent - counts.n_failed,
        "n_failed": counts.n_failed,
        "n_held_back": counts.n_held_back,
        "began_ns": began_ns,
        "done_ns": done_ns,
        "behind_s": behind_ns / GB,
        "cpu_s": cpu_s,
    }


def open_consumer(stream: str, broker: str, group: str) -> Consumer:
    """Join a group that holds its messages until it has read them."""
    return Consumer(
        stream,
        broker=broker,
        group=group,
        required=True,
        wait_for_stream=True,
        timeout_s=FOLLOW_TIMEOUT_S,
        retry_timeout_s=FOLLOW_TIMEOUT_S,
    )


def read(
    consumer: Consumer, board: ProgressBoard, slot: int, clock_offset_ns: int, after_id: int | None
) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Read a stream to its end; tell how that went, and the delays of the messages after an id [ns]."""
    clock_ns, delays_ns, n = time.monotonic_ns, list[int](), 0
    first_measured = after_id if after_id is not None else 2**62
    cpu_s = time.process_time()
    began_ns = last_ns = clock_ns()
    for frame in consumer:
        last_ns = clock_ns()
        n += 1
        board.set(slot, n)
        if frame.message_id > first_measured:
            delays_ns.append(last_ns + clock_offset_ns - frame.header.timestamp_ns)
    cpu_s = time.process_time() - cpu_s
    counts = consumer.counts
    return {
        "n_read": n - counts.n_redelivered,
        "n_bytes": counts.n_bytes,
        "began_ns": began_ns,
        "last_ns": last_ns,
        "cpu_s": cpu_s,
    }, np.array(delays_ns, np.int64)
