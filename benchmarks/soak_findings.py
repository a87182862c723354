"""What `soak.py` finds in what was written down: the second half against the first, lines for people, diagrams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from soak_plot import Panel
from soak_processes import EDGES_S, MEMBERS
from soak_watch import (
    GROWTH_BYTES,
    GROWTH_SHARE,
    SLOWER_S,
    SLOWER_SHARE,
    Halves,
    compare_halves,
    percentile,
)

POOL, TAKEN = "shared memory", "taken of it"
"""Lines of memory: segments that are there, and what messages lie in. The former is never given back, and need not be
flat but within the limit: it grows when one second needs more than all before."""


@dataclass(slots=True, kw_only=True)
class Record:
    """What was written down.

    Attributes
    ----------
    reads : list
        What readers told: when, group, messages, bytes, counts of delays by class.
    samples : list of dict
        What the watch saw, once a second.
    events : list of (float, float, str)
        What was done on purpose: from, to [s], what.
    rounds : list of dict
        What was found of each stream.
    """

    tier: str
    size: int
    readers: Collection[str]
    began_s: float
    reads: list[tuple[float, str, int, int, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)


def is_quiet(at_s: float, events: Sequence[tuple[float, float, str]]) -> bool:
    """Whether nothing was done on purpose in that second."""
    return not any(from_s <= at_s <= to_s + 1 for from_s, to_s, _ in events)


def latencies(record: Record) -> dict[str, dict[int, Any]]:
    """Return by group and second the counts of delays."""
    found: dict[str, dict[int, Any]] = {group: {} for group in MEMBERS}
    for at_s, group, _, _, counts in record.reads:
        second = int(at_s - record.began_s)
        found[group][second] = found[group].get(second, 0) + counts
    return found


def memory_lines(record: Record) -> dict[str, list[float | None]]:
    """Return the lines of memory, one value for each sample [bytes]."""
    lines: dict[str, list[float | None]] = defaultdict(list)
    for sample in record.samples:
        processes = sample["processes"]
        lines[POOL].append(sample["segment_bytes"])
        lines[TAKEN].append(sample["shared_taken"])
        lines["server"].append(processes["server"].get("resident"))
        for name in ("broker", "producer", "visitor"):
            lines[name].append(processes[name].get("anonymous"))
        readers = [one["anonymous"] for name, one in processes.items() if name in record.readers and one]
        lines["readers, each"].append(sum(readers) / len(readers) if readers else None)
    return dict(lines)


def judge(record: Record) -> list[Halves]:
    """Compare second and first half of everything that has to be flat."""
    times = [sample["at_s"] for sample in record.samples]
    quiet = [is_quiet(at_s, record.events) for at_s in times]

    def kept(line: Sequence[Any]) -> list[Any]:
        return [value if is_kept else None for value, is_kept in zip(line, quiet, strict=True)]

    found = [compare_halves(f"memory: {name}", times, kept(line), GROWTH_SHARE, GROWTH_BYTES)
             for name, line in memory_lines(record).items() if name != POOL]  # fmt: skip
    segments = [sample["segments"] for sample in record.samples]
    found.append(compare_halves("segments", times, kept(segments), GROWTH_SHARE, 2))
    descriptors = [sum(one.get("descriptors", 0) for one in sample["processes"].values()) for sample in record.samples]
    found.append(compare_halves("descriptors of all", times, kept(descriptors), GROWTH_SHARE, 20))
    for group, seconds in latencies(record).items():
        of_quiet = {
            second: counts for second, counts in seconds.items() if is_quiet(second + record.began_s, record.events)
        }
        for share, factor in ((0.5, 1), (0.99, 2)):
            values = [percentile(counts, EDGES_S, share) for counts in of_quiet.values()]
            name = f"delay: {group}, {share:.0%}"
            found.append(compare_halves(name, list(of_quiet), values, factor * SLOWER_SHARE, factor * SLOWER_S))
    return [one for one in found if one is not None]


def describe(record: Record, found: dict[str, Any], halves: list[Halves]) -> Iterator[str]:
    """Yield the lines that people read."""
    limit = "" if not found["limit_hz"] else f"; the limit is {found['limit_hz']:.0f} messages/s"
    gb_s = found["rate_hz"] * record.size / 1e9
    yield f"{found['seconds']:.0f} s at {found['rate_hz']:.0f} messages/s, {gb_s:.2f} GB/s, tier {record.tier}{limit}"
    n = sum(one["n"] for one in record.rounds)
    visits = sum(one["visits"] for one in record.rounds)
    joins = sum(one["joins_again"] for one in record.rounds)
    yield f"{len(record.rounds)} streams, {n} messages; readers joined {joins} times, {visits} visits of other groups"
    again = sum(sum(one["again"].values()) for one in record.rounds)
    yield f"{again} messages were delivered again: what the killed reader held, and who left"
    behind_s = max(one["behind_s"] for one in record.rounds)
    held = sum(one["n_held_back"] for one in record.rounds)
    yield f"the producer was {behind_s:.2f} s behind its pace at most, and held back {held} times"
    spilled = found["spilled"]
    if spilled is not None:
        yield f"of the spilled stream {spilled['on_disk']} of {spilled['n']} messages had left memory for the disk"
    n_unseen = sum(sample["shared_taken"] is None for sample in record.samples)
    yield f"the broker was not seen in {n_unseen} of {len(record.samples)} looks"
    for one in halves:
        unit, scale = ("MB", 1e6) if one.name.startswith("memory") else ("ms", 1e-3) if "delay" in one.name else ("", 1)
        word, change = (
            "flat" if one.is_flat else "GROWS",
            f"{one.first / scale:10.2f} -> {one.second / scale:10.2f} {unit:2}",
        )
        fit = f"allowed +{one.allowed / scale:.2f}; fit {one.slope_per_min / scale:+.3f} a minute"
        yield f"{word:5} {one.name:30} {change} ({fit})"


def panels(record: Record) -> list[Panel]:
    """Return the diagrams."""
    times = [sample["at_s"] - record.began_s for sample in record.samples]
    memory = {name: (times, [None if value is None else value / 1e6 for value in line])
              for name, line in memory_lines(record).items()}  # fmt: skip
    per_second: dict[str, dict[int, float]] = {group: defaultdict(float) for group in MEMBERS}
    for at_s, group, _, n_bytes, _ in record.reads:
        per_second[group][int(at_s - record.began_s)] += n_bytes / 1e9
    seconds = range(int(max(times, default=1)) + 1)
    rates = {group: (list(seconds), [found.get(one, 0.0) for one in seconds]) for group, found in per_second.items()}
    delays = {}
    for group, found in latencies(record).items():
        for share in (0.5, 0.99):
            line = [percentile(found[one], EDGES_S, share) if one in found else None for one in seconds]
            delays[f"{group}, {share:.0%}"] = (list(seconds), [None if one is None else 1e3 * one for one in line])
    of_all = (POOL, TAKEN)
    return [
        Panel(title="shared memory [MB]", lines={name: line for name, line in memory.items() if name in of_all}),
        Panel(title="a process's own memory [MB]", lines={n: line for n, line in memory.items() if n not in of_all}),
        Panel(title="delivered, by group [GB/s]", lines=rates),
        Panel(title="from send to delivery [ms]", lines=delays, is_logarithmic=True),
    ]
