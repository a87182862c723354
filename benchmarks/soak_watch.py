"""What `soak.py` writes down once a second: memory and descriptors of all processes, segments, the disk; and judges."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import BeamstreamError
from beamstream.presence import read_presence
from beamstream.protocol.client import Server

WATCH_EVERY_S = 1.0

GROWTH_SHARE, GROWTH_BYTES = 0.10, 24 << 20
"""How much more memory may be used in the second half than in the first: a tenth, and some MiB [bytes]."""

SLOWER_SHARE, SLOWER_S = 0.5, 2e-3
"""How much longer messages may take in the second half: by a half, and some ms [s]; for the 99th percentile twice."""


def memory_of(pid: int) -> dict[str, int]:
    """Return a process's memory [bytes] and its descriptors; nothing where it is gone.

    ``anonymous`` is its own; ``resident`` has, besides, what it has mapped, shared memory too.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        n_descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return {}
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if "VmRSS" not in fields:  # it has ended, and nobody has waited for it yet
        return {}
    return {
        "resident": int(fields["VmRSS"][0]) * 1024,
        "anonymous": int(fields["RssAnon"][0]) * 1024,
        "descriptors": n_descriptors,
    }


def segments_of(pids: Iterable[int]) -> dict[int, int]:
    """Return the segments of shared memory that some processes have: inode to what it takes [bytes].

    A mapping in Python keeps a descriptor, so that those are among them that are mapped only.
    """
    found = {}
    for pid in pids:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if str(descriptor.readlink()).startswith("/memfd:beamstream-"):
                    status = descriptor.stat()
                    found[status.st_ino] = status.st_blocks * 512
        except OSError:
            continue  # it ended just now, or closed one
    return found


def shmem_bytes() -> int:
    """Return what shared memory takes of the whole machine [bytes]; others' is in it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Shmem:"):
            return int(line.split()[1]) * 1024
    return 0


class Watch:
    """Looks once a second, in a thread of its own.

    Parameters
    ----------
    processes : callable
        Says which processes there are: name to process id.
    """

    def __init__(self, url: str, folder: Path, processes: Callable[[], Mapping[str, int]]) -> None:
        self._server = Server(url)
        self._folder = folder
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.samples: list[dict[str, Any]] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()

    def _run(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            try:
                self.samples.append(self._look())
            except (BeamstreamError, OSError):
                continue  # something has just ended

    def _look(self) -> dict[str, Any]:
        info = self._server.call("INFO", "memory").decode()
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        presence = read_presence(self._server)
        pids = self._processes()
        segments = segments_of(pids.values())
        return {
            "at_s": time.monotonic(),
            "processes": {name: memory_of(pid) for name, pid in pids.items()},
            "server_used": int(fields["used_memory"]),
            "shmem": shmem_bytes(),
            "shared_taken": presence.shared_taken_bytes if presence else None,
            "segments": len(segments),
            "segment_bytes": sum(segments.values()),
            "on_disk": sum(path.stat().st_size for path in self._folder.rglob("*.seg*")),
        }


def percentile(counts: npt.NDArray[Any], edges: npt.NDArray[np.float64], share: float) -> float | None:
    """Return the upper edge of the class in which a share of all lies; None where there are none."""
    total = counts.sum()
    if not total:
        return None
    return float(edges[1 + int(np.searchsorted(np.cumsum(counts), share * total))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """A quantity in the first and in the second half of a soak: medians, and a straight line through all of it."""

    name: str
    first: float
    second: float
    slope_per_min: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether the second half is not above the first one by more than is allowed."""
        return self.second - self.first <= self.allowed


def compare_halves(
    name: str, times_s: Sequence[float], values: Sequence[float | None], allowed_share: float, allowed: float
) -> Halves | None:
    """Compare the halves of a quantity; None where one of them has nothing."""
    pairs = [(time_s, value) for time_s, value in zip(times_s, values, strict=True) if value is not None]
    if len(pairs) < 4:
        return None
    times, found = np.array(pairs).T
    middle = (times[0] + times[-1]) / 2
    if not (times <= middle).any() or not (times > middle).any():
        return None
    first, second = float(np.median(found[times <= middle])), float(np.median(found[times > middle]))
    slope = float(np.polyfit(times - times[0], found, 1)[0]) * 60
    return Halves(name=name, first=first, second=second, slope_per_min=slope, allowed=allowed_share * first + allowed)
