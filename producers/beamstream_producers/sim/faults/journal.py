"""What was done to the messages of each series, counted where they leave: nothing is taken from the plan.

| count             | what                                                                                             |
|-------------------|--------------------------------------------------------------------------------------------------|
| `taken`           | images exposed                                                                                   |
| `sent`            | of them, those that left, each once                                                              |
| `dropped`         | of them, those that never left, counted by the detector                                          |
| `held`            | of them, those kept for behind the next header; `stale` there                                    |
| `messages`        | everything that left: `starts`, `ends`, `sent`, `duplicated`, `stale` and `garbage`              |
| `stolen`          | of it, what the second client got; `stolen_images` of these were images                          |
| `before_header`   | images that left before the header of their series                                               |
| `after_end`       | images that left behind the end of their series                                                  |
| `out_of_order`    | images that left behind one with a higher number                                                 |
| `renumbered`      | images that left with a number beyond what was promised                                          |
| `stalled_s`       | how long nothing left [s]                                                                        |

So `taken` is `sent` + `dropped` + `held`, and what a receiver gets is `messages` - `stolen`. In the total, once the
detector is closed, what was held is either `stale` or dropped: `taken` is `sent` + `stale` + `dropped`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .plan import Extra

MAX_REPORTS = 10_000
"""How many series are remembered one by one; the total is of all."""

_NAMES = {"start": "starts", "end": "ends"}

COUNTS = (
    "taken", "sent", "dropped", "held", "messages", "starts", "ends", "duplicated", "stale", "garbage", "stolen",
    "stolen_images", "before_header", "after_end", "out_of_order", "renumbered", "aborted", "restarted",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A message that was handed to the network.

    Attributes
    ----------
    kind : str
        ``start``, ``image``, ``end`` or ``garbage``.
    series : int
        Counts the series of this run from 1; series ids may come again.
    image_id : int
        With which number; -1 for what is no image.
    stolen : bool
        Whether the second client got it.
    """

    kind: str
    series: int
    series_id: int
    image_id: int = -1
    extra: Extra = Extra.NO
    stolen: bool = False


@dataclass(slots=True)
class SeriesReport:
    """The counts of one series."""

    series_id: int
    n_images: int
    counts: Counter[str] = field(default_factory=Counter)
    stalled_s: float = 0.0
    highest_id: int = -1

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        counts = {name: self.counts[name] for name in COUNTS}
        return {"series": self.series_id, **counts, "stalled_s": round(self.stalled_s, 3)}


class Journal:
    """Counts; written by the sender's thread alone.

    Attributes
    ----------
    reports : deque of SeriesReport
        The series that are over, oldest first; the newest `MAX_REPORTS`.
    witness : callable or None
        Told of every message that leaves, for tests that want to know more than counts.
    """

    def __init__(self) -> None:
        self.reports: deque[SeriesReport] = deque(maxlen=MAX_REPORTS)
        self.witness: Callable[[Left], None] | None = None
        self.n_series = 0
        self._now: SeriesReport | None = None
        self._total = SeriesReport(0, 0)

    def begin(self, series_id: int, n_images: int) -> None:
        """Note that a series begins."""
        self.end()
        self.n_series += 1
        self._now = SeriesReport(series_id, n_images)

    def end(self) -> None:
        """Note that a series is over."""
        if self._now is not None:
            self.reports.append(self._now)
            self._total.counts += self._now.counts
            self._total.stalled_s += self._now.stalled_s
            self._now = None

    def count(self, name: str, number: int = 1) -> None:
        """Count something of the series that is under way, or else of all together."""
        (self._now or self._total).counts[name] += number

    def stall(self, duration_s: float) -> None:
        """Note that nothing left for so long [s]."""
        (self._now or self._total).stalled_s += duration_s

    def leave(self, left: Left) -> None:
        """Note that a message has left."""
        counts = (self._now or self._total).counts
        counts["messages"] += 1
        if left.stolen:
            counts["stolen"] += 1
        if left.kind == "image":
            self._leave_image(left, counts)
        else:
            counts[_NAMES.get(left.kind, left.kind)] += 1
        if self.witness is not None:
            self.witness(left)

    def drop(self, kind: str, extra: Extra) -> None:
        """Note that an image will never leave; one that has left, or will, is not missed."""
        if kind == "image" and extra is not Extra.COPY:
            self.count("dropped" if extra is Extra.NO else "stale_dropped")

    def total(self) -> dict[str, Any]:
        """Return the sums over all series, those included that `reports` has forgotten."""
        self.end()
        counts = self._total.counts
        n_dropped = counts["dropped"] + counts["stale_dropped"]
        total = self._total.as_dict() | {"dropped": n_dropped, "series": self.n_series}
        del total["held"]
        return total

    def _leave_image(self, left: Left, counts: Counter[str]) -> None:
        if left.stolen:
            counts["stolen_images"] += 1
        counts["sent" if left.extra is Extra.NO else "duplicated" if left.extra is Extra.COPY else "stale"] += 1
        now = self._now
        if now is None or left.extra is Extra.STALE:
            return
        if not counts["starts"]:
            counts["before_header"] += 1
        if counts["ends"]:
            counts["after_end"] += 1
        if left.image_id < now.highest_id:
            counts["out_of_order"] += 1
        if left.image_id >= now.n_images:
            counts["renumbered"] += 1
        else:
            now.highest_id = max(now.highest_id, left.image_id)
