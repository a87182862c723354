"""A recording as a `Source`: the same ids, times, metadata and bytes, at the pace that is asked for.

What the recording lacks is not sent, so that the gaps are the same; its end is the recording's end. What is in the
stream already, from a replay that was stopped, is not sent again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from beamstream.errors import PayloadGoneError
from beamstream.frame import Frame, Gap
from beamstream.offline import Recording
from beamstream.service import Declined, Event, Produced, StreamClosed, StreamLeft, StreamOpened
from beamstream.state import StreamState
from beamstream.stop import StopFlag

from .header import frame_time_s
from .pace import Pace, Schedule
from .target import Target, parts_of

log = logging.getLogger(__name__)

COUNTED = ("replayed", "there_already", "missing", "gone", "damaged")
"""What is counted: sent; there before; of the recording not there, not kept, not readable."""

PATIENCE_S = 0.25
"""How long a gap stays open in a replayed stream [s]: what the recording lacks will not come."""

TURN_S = 0.1
"""Longest wait between two signs of life [s]; the loop wants to hear something every 0.2 s."""

SLEEP_S = 0.003
"""The last bit of a wait is slept through [s]: waiting for a signal at the same time is exact to a millisecond only."""

BEHIND_S = 1.0
"""How far behind its schedule a replay may be before the log says so [s]."""

SAY_EVERY_S = 10.0
"""How often it says so [s]."""


class ReplaySource:
    """Replays one recording into one stream; a `beamstream.service.Source`.

    Parameters
    ----------
    recording : Recording
        What is replayed; closed with the source.
    stream : str
        Name of the stream that it becomes.
    pace : Pace
        How fast.
    target : Target
        What is in that stream already.
    first_id, last_id : int, optional
        Only these messages, both included.
    """

    name = "replay"

    def __init__(
        self,
        recording: Recording,
        stream: str,
        pace: Pace,
        target: Target,
        *,
        first_id: int | None = None,
        last_id: int | None = None,
    ) -> None:
        self._recording = recording
        self._stream = stream
        self._pace = pace
        self._target = target
        self._first_id = first_id or 1
        self._last_id = last_id
        self._counts: Counter[str] = Counter()
        self._behind_said_at_s = 0.0
        self.is_left = False
        self._state: StreamState = recording.state()
        self._n_done, self._n_total = 0, self._how_many()

    def _how_many(self) -> int:
        """Return how many messages there are to replay; with a range, at most."""
        n_all = self._state.n_received + self._state.n_additions
        if self._first_id == 1 and self._last_id is None:
            return n_all
        last_id = self._state.next_id - 1 if self._last_id is None else self._last_id
        return max(0, min(n_all, last_id - self._first_id + 1))

    @property
    def n_damaged(self) -> int:
        """Messages of the recording that could not be read."""
        return self._counts["damaged"]

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield what the recording has, when it is due; leaves the stream open where it is stopped."""
        state = self._state
        is_whole = self._first_id == 1 and self._last_id is None
        yield StreamOpened(
            stream=self._stream,
            metadata=self._recording.metadata(),
            n_expected=state.n_expected if is_whole else None,
            n_parts=state.n_parts,
            min_parts=state.min_parts if state.n_parts > 1 else None,
            patience_s=PATIENCE_S,
        )
        yield from self._messages(stop)
        if stop.is_set():
            self.is_left = True
            log.info("stopped at message %d of %d; the same command goes on there", self._n_done, self._n_total)
            yield StreamLeft(stream=self._stream)
            return
        last_id, reason = self._ending()
        yield StreamClosed(stream=self._stream, last_id=last_id, reason=reason)

    def _ending(self) -> tuple[int, str]:
        """Return the last id and the reason of the end; a recording without one ends here, incomplete."""
        state = self._state
        last_id = state.last_id if state.finished else state.next_id - 1
        if self._last_id is not None:
            last_id = min(last_id, self._last_id)
        if not state.finished:
            log.warning("the recording has no end; the stream ends as incomplete with message %d", last_id)
        return last_id, state.reason if state.finished else "incomplete"

    def _messages(self, stop: StopFlag) -> Iterator[Event | None]:
        schedule: Schedule | None = None
        begun_ns = 0
        start_id = max(self._first_id, self._target.first_absent_id(self._state.n_parts))
        self._n_done = start_id - self._first_id
        for item in self._recording.items(start_id):
            if stop.is_set():
                return
            if not isinstance(item, Frame):
                yield self._note(item)
                continue
            if not self._is_wanted(item.message_id):
                continue
            parts = [part for part in parts_of(item) if not self._target.has(item.message_id, part.header)]
            if not parts:
                self._n_done += 1
                self._counts["there_already"] += 1
                continue
            if schedule is None:
                schedule, begun_ns = Schedule(self._pace, self._fixed_step_s(item)), time.monotonic_ns()
            due_ns = begun_ns + schedule.due_ns(item.header.timestamp_ns)
            yield from self._wait(due_ns, stop)
            if stop.is_set():
                return
            for part in parts:
                yield self._produced(part)
            self._n_done += 1
            self._counts["replayed"] += 1
        if schedule is not None and schedule.n_pauses_cut:
            log.warning("%d pause(s) of more than an hour in the recording were cut to one", schedule.n_pauses_cut)

    def _is_wanted(self, message_id: int) -> bool:
        return message_id >= self._first_id and (self._last_id is None or message_id <= self._last_id)

    def _note(self, item: object) -> Declined | None:
        """Count what is no message; return what is to be said of it."""
        if isinstance(item, Gap):
            last_id = item.last_id if self._last_id is None else min(item.last_id, self._last_id)
            first_id = max(item.first_id, self._first_id)
            if item.is_declined and first_id <= last_id:
                return Declined(stream=self._stream, first_id=first_id, last_id=last_id)
            self._counts["missing"] += max(0, last_id - first_id + 1)
        elif isinstance(item, PayloadGoneError):
            self._counts["gone"] += 1
        else:
            self._counts["damaged"] += 1
            log.error("a message of the recording is not replayed: %s", item)
        return None

    def _fixed_step_s(self, first: Frame) -> float | None:
        """Return the frame time [s] where the recording's own times cannot tell the pace; None where they can."""
        if self._pace.factor is None:
            return None
        last = self._recording.last()
        if last is None or last.message_id == first.message_id or last.header.timestamp_ns > first.header.timestamp_ns:
            return None
        step_s = frame_time_s(self._recording.metadata())
        if step_s is None:
            log.warning(
                "the recording does not say when its messages came; they are sent as fast as they are taken; "
                "--pace 500Hz says another rate"
            )
            return 0.0
        log.warning(
            "the recording does not say when its messages came; they are sent at the detector's frame time, %g s",
            step_s,
        )
        return step_s

    def _wait(self, due_ns: int, stop: StopFlag) -> Iterator[None]:
        """Wait until a message is due; say so where it is overdue."""
        while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0 and not stop.is_set():
            if left_s > SLEEP_S:
                stop.wait(min(left_s - SLEEP_S / 2, TURN_S))
                yield None
            else:
                time.sleep(left_s)
        if -left_s > BEHIND_S and not self._pace.is_max:
            now_s = time.monotonic()
            if now_s - self._behind_said_at_s >= SAY_EVERY_S:
                self._behind_said_at_s = now_s
                log.warning("%.1f s behind the schedule: the broker, or the recording's disk, is slower", -left_s)

    def _produced(self, frame: Frame) -> Produced:
        header = frame.header
        return Produced(
            stream=self._stream,
            message_id=frame.message_id,
            payload=frame.payload,
            shape=header.shape,
            dtype=header.dtype,
            codec=header.codec,
            timestamp_ns=header.timestamp_ns,
            metadata=header.metadata,
            part=header.part or None,
        )

    def counters(self) -> Mapping[str, int]:
        """Return what was counted; see `COUNTED`."""
        return {name: self._counts[name] for name in COUNTED}

    def progress(self) -> tuple[int, int]:
        """Return how many messages are done, and of how many."""
        return min(self._n_done, self._n_total), self._n_total

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()
