"""What was measured, as records, and as JSON. Pure.

Times are seconds, sizes bytes, rates per second; whatever follows from others is a property and stands in the JSON too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from beamstream.payloads import INLINE_BYTES

VERSION = 1
"""Of the JSON; another one where a field changes its meaning."""

GB = 10**9
MILLION = 10**6

BUSY_SHARE = 0.25
"""Load before the bench, as a share of the processors, above which its figures are called those of a busy machine."""

Tier = Literal["inline", "memory", "shared", "disk"]
Part = Literal["live", "written", "read"]
"""``live``: readers follow the producer. ``written``: sent, and on disk. ``read``: a lagging reader, from segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where it was measured.

    Attributes
    ----------
    n_cpus : int
        Processors that this process may use.
    cpu : str
        Their name; empty where the kernel does not say.
    memory_bytes : int
        Memory of the machine or container [bytes].
    system, python, beamstream, server : str
        Kernel, interpreter, our version, kind and version of the server.
    load_before : float
        How many processes wanted a processor in the minute before, on average.
    """

    n_cpus: int
    cpu: str
    memory_bytes: int
    system: str
    python: str
    beamstream: str
    server: str
    load_before: float

    @property
    def was_busy(self) -> bool:
        """Whether others were at work, so that idle it would do better."""
        return self.load_before > BUSY_SHARE * self.n_cpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a part of the way does on its own.

    Attributes
    ----------
    name : str
        See `CEILINGS`.
    message_bytes : int or None
        Size of a message [bytes]; None where it plays no part.
    n_messages, n_bytes : int
        What went through.
    duration_s : float
        In which time [s].
    """

    name: str
    message_bytes: int | None
    n_messages: int
    n_bytes: int
    duration_s: float

    @property
    def messages_per_s(self) -> float:
        """Messages per second."""
        return self.n_messages / self.duration_s

    @property
    def bytes_per_s(self) -> float:
        """Bytes per second."""
        return self.n_bytes / self.duration_s

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "messages_per_s": self.messages_per_s, "bytes_per_s": self.bytes_per_s}


MEMCPY = "memcpy"
SOCKET = "socket pair"
REDIS = "redis-py SET/GET"
DISK_WRITE = "disk write, fsync"
DISK_READ = "disk read"
CEILINGS = (MEMCPY, SOCKET, REDIS, DISK_WRITE, DISK_READ)
"""One core copies; two processes over a Unix socket; a bare client against the same server; one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Processor time in user and kernel mode [s].

    Attributes
    ----------
    producer_s, server_s, readers_s : float
        Of the process that sends, of the server, of all readers together.
    broker_s : float or None
        Of the broker process beside the server; None where it is not ours.
    """

    producer_s: float
    server_s: float
    readers_s: float
    broker_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the call of `send` to the reader's loop, at a pace that is kept easily.

    Attributes
    ----------
    rate_hz : float
        The pace [messages per second].
    is_half : bool
        Whether that is half of what was measured just before; otherwise somebody asked for it.
    n_samples : int
        Deliveries that are counted.
    p50_s, p90_s, p99_s, max_s : float
        How long it took at most for 50, 90, 99 and 100 % of them [s].
    behind_s : float
        How far the producer fell behind its own pace at most [s].
    """

    rate_hz: float
    is_half: bool
    n_samples: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    behind_s: float


def summarise(samples_ns: npt.NDArray[np.int64], *, rate_hz: float, is_half: bool, behind_s: float) -> Latency:
    """Return the percentiles of delays.

    Parameters
    ----------
    samples_ns : (n,) int64
        Delays, at least one [ns].
    rate_hz, is_half, behind_s
        See `Latency`.
    """
    # Nearest rank: each figure is a delay that occurred, and p99 is one that 99 % did not exceed.
    shares = np.percentile(samples_ns, (50, 90, 99, 100), method="inverted_cdf") / GB
    p50_s, p90_s, p99_s, max_s = (float(share) for share in shares)
    return Latency(
        rate_hz=rate_hz,
        is_half=is_half,
        n_samples=len(samples_ns),
        p50_s=p50_s,
        p90_s=p90_s,
        p99_s=p99_s,
        max_s=max_s,
        behind_s=behind_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What went through one tier.

    Attributes
    ----------
    tier : str
        Where the payloads lay.
    part : str
        See `Part`.
    message_bytes : int
        Size of a message [bytes].
    n_groups, n_members : int
        How many groups read all of it, and by how many members each; 0 where nobody read.
    n_messages, n_bytes : int
        What was sent, and delivered to each group.
    duration_s : float
        From the first `send` to the last delivery, or until all is on disk; of what is read, from the first question
        to the last delivery [s].
    n_held_back : int
        How often the server was full and the producer had to try again.
    cpu : Cpu
        What that cost; of the processes that took part.
    latency : Latency or None
        None where nobody follows.
    """

    tier: Tier
    part: Part
    message_bytes: int
    n_groups: int
    n_members: int
    n_messages: int
    n_bytes: int
    duration_s: float
    n_held_back: int
    cpu: Cpu
    latency: Latency | None

    @property
    def messages_per_s(self) -> float:
        """Messages per second, as each group sees them."""
        return self.n_messages / self.duration_s

    @property
    def bytes_per_s(self) -> float:
        """Bytes per second, as each group sees them."""
        return self.n_bytes / self.duration_s

    @property
    def is_small(self) -> bool:
        """Whether messages cost, not bytes."""
        return is_small(self.message_bytes)

    @property
    def label(self) -> str:
        """What it is, for people, e.g. ``memory, 3 groups x 2``."""
        how = {"live": "", "written": ", written", "read": ", read"}[self.part]
        if not self.n_groups:
            return f"{self.tier}{how}"
        members = f" x {self.n_members}" if self.n_members > 1 else ""
        return f"{self.tier}{how}, {self.n_groups} group{'s' * (self.n_groups > 1)}{members}"

    def cpu_per_unit(self) -> dict[str, float | None]:
        """Return the CPU time per GB, of small messages per million [s].

        Of producer, server and broker per unit sent; of the readers per unit that one group reads.
        """
        units = self.n_messages / MILLION if self.is_small else self.n_bytes / GB
        return {
            "producer": self.cpu.producer_s / units,
            "server": self.cpu.server_s / units,
            "broker": None if self.cpu.broker_s is None else self.cpu.broker_s / units,
            "readers": self.cpu.readers_s / units / max(1, self.n_groups),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **asdict(self),
            "messages_per_s": self.messages_per_s,
            "bytes_per_s": self.bytes_per_s,
            "cpu_unit": "million messages" if self.is_small else "GB",
            "cpu_s_per_unit": self.cpu_per_unit(),
        }


def is_small(message_bytes: int) -> bool:
    """Whether messages of this size travel in the index."""
    return message_bytes <= INLINE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What was not measured, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of one run.

    Attributes
    ----------
    measured_at : str
        When it began, ISO 8601, UTC.
    host : Host
        Where.
    broker : str or None
        Whose server it was, without password; None: one of its own.
    memory_bytes : int
        What the server may use [bytes].
    seconds : float
        How long messages were sent for one figure [s].
    window_bytes : int
        How far the producer was ahead of the slowest group at most, of large frames [bytes].
    ceilings : sequence of Ceiling
    results : sequence of Result
    left : sequence of Left
    """

    measured_at: str
    host: Host
    broker: str | None
    memory_bytes: int
    seconds: float
    window_bytes: int
    ceilings: Sequence[Ceiling]
    results: Sequence[Result]
    left: Sequence[Left]

    @property
    def sizes(self) -> list[int]:
        """Sizes of the messages, smallest first [bytes]."""
        return sorted({result.message_bytes for result in self.results})

    def results_of(self, size: int) -> list[Result]:
        """Return the results with messages of one size."""
        return [result for result in self.results if result.message_bytes == size]

    def ceilings_of(self, size: int) -> list[Ceiling]:
        """Return what can be compared with messages of one size: the ceilings of that size, and those without one.

        Where messages cost, not bytes, those without one say nothing.
        """
        sizes = (size,) if is_small(size) else (None, size)
        fitting = [ceiling for ceiling in self.ceilings if ceiling.message_bytes in sizes]
        return sorted(fitting, key=lambda ceiling: CEILINGS.index(ceiling.name))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "version": VERSION,
            "measured_at": self.measured_at,
            "host": asdict(self.host),
            "broker": self.broker,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
            "window_bytes": self.window_bytes,
            "ceilings": [ceiling.as_dict() for ceiling in self.ceilings],
            "results": [result.as_dict() for result in self.results],
            "left_out": [asdict(left) for left in self.left],
        }


def frame_text(n_bytes: int) -> str:
    """Write the size of a message as people choose it.

    Examples
    --------
    >>> frame_text(1048576), frame_text(100_000), frame_text(200)
    ('1 MiB', '100 kB', '200 B')
    """
    for unit, factor in (("GB", 10**9), ("GiB", 2**30), ("MB", 10**6), ("MiB", 2**20), ("kB", 1000), ("KiB", 1024)):
        if n_bytes % factor == 0:
            return f"{n_bytes // factor} {unit}"
    return f"{n_bytes} B"
